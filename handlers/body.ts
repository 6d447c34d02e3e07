import { getDotPath, safeParse } from "valibot";
import { ApiError } from "../lib/errors.ts";
import type { Schema } from "../lib/route.ts";

/** Deeper JSON than this has no honest use here and is costly to walk. */
const deepest = 64;
/** Most characters that an error repeats of what was sent. */
const mostRepeated = 100;

/** Reads and validates a JSON body; every way it can be wrong is a 400 or 413 that says so. */
export async function readJsonBody(request: Request, schema: Schema, limit: number): Promise<unknown> {
  const bytes = await readLimited(request, limit);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    const reason = bytes.length === 0 ? "there is none" : parseProblem(cause);
    throw new ApiError("invalid_json", `The request body must be JSON: ${reason}.`, undefined, { cause });
  }
  refuseHostileShape(value, 0);
  // Every body here is an object; schemas alone would take a list for one.
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new ApiError("invalid_payload", "The request body must be a JSON object.");
  }
  return validate(schema, value, "body", "invalid_payload");
}

/** Validates a value against a schema; the message names the first field that is wrong and what was expected. */
export function validate(
  schema: Schema,
  value: unknown,
  what: string,
  code: "invalid_payload" | "invalid_query",
): unknown {
  const result = safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = getDotPath(issue);
  const where = path === null ? what : `${what}.${cut(path)}`;
  // The library's own messages end in the value, which may be long or secret, and messages are logged.
  const message = issue.message.replace(/ but received ".*$/s, " but received a text");
  throw new ApiError(code, `${where}: ${cut(message)}.`, {
    path: cut(path ?? ""),
    expected: cut(issue.expected ?? issue.message),
    received: cut(issue.received),
  });
}

function cut(text: string): string {
  return text.length > mostRepeated ? `${text.slice(0, mostRepeated)}…` : text;
}

/** What the parser says, without the piece of the text that it quotes: messages are logged. */
function parseProblem(cause: unknown): string {
  if (!(cause instanceof Error)) return "it does not parse";
  return cut(cause.message.replace(/, (?:\.\.\.)?".*" is not valid JSON$/s, " is out of place"));
}

/** Reads a body up to a limit, counting bytes as they come; Content-Length is only a short cut. */
async function readLimited(request: Request, limit: number): Promise<Uint8Array> {
  const declared = Number(request.headers.get("content-length"));
  if (declared > limit) throw tooLarge(limit);
  if (!request.body) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > limit) {
      void reader.cancel();
      throw tooLarge(limit);
    }
    chunks.push(value);
  }
  if (chunks.length === 1 && chunks[0]) return chunks[0];
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function tooLarge(limit: number): ApiError {
  return new ApiError(
    "body_too_large",
    `The request body is larger than the ${limit} bytes this endpoint takes.`,
    {
      maxBytes: limit,
    },
  );
}

/** `__proto__` as a key is how prototypes are poisoned, and endless nesting how stacks are. */
function refuseHostileShape(value: unknown, depth: number): void {
  if (value === null || typeof value !== "object") return;
  if (depth >= deepest) {
    throw new ApiError("invalid_payload", `The request body is nested deeper than ${deepest} levels.`);
  }
  if (Object.hasOwn(value, "__proto__")) {
    throw new ApiError("invalid_payload", 'The key "__proto__" is not allowed anywhere in a request body.');
  }
  for (const child of Object.values(value)) refuseHostileShape(child, depth + 1);
}
