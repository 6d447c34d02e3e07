import { getDotPath, safeParse } from "valibot";
import { ApiError } from "../lib/errors.ts";
import { insistOnPlainBody } from "../lib/http/content-encoding.ts";
import { readBody } from "../lib/http/request-body.ts";
import type { Share } from "../lib/quota.ts";
import type { Schema } from "../lib/route.ts";

/** Deeper JSON than this has no honest use here and is costly to walk. */
const deepest = 64;
/** Most characters that an error repeats of what was sent. */
const mostRepeated = 100;

/** A body in memory. */
export interface HeldBody {
  value: unknown;
  /** Gives its bytes back to the quota: it is not needed any more. */
  release(): void;
}

/**
 * Reads and validates a JSON body; every way it can be wrong is a 400 or 413 that says so, and a 429 when too many
 * bytes are held. They count from their arrival until they are released: an approval may take its time.
 */
export async function readJsonBody(
  request: Request,
  schema: Schema,
  maxBytes: number,
  share: Share,
): Promise<HeldBody> {
  const { release } = share;
  try {
    insistOnPlainBody(request);
    const take = (bytes: number): void => share.add(bytes);
    const bytes = await readBody(request, { maxBytes, tooLarge: () => tooLarge(maxBytes), take });
    return { value: parse(bytes, schema), release };
  } catch (error) {
    release();
    throw error;
  }
}

function parse(bytes: Uint8Array, schema: Schema): unknown {
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
