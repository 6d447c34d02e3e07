import { attachment } from "../http/content-disposition.ts";
import { ApiError } from "../errors.ts";
import { checkConditions, etagOf, lastModifiedOf, rangeStillApplies } from "../http/conditions.ts";
import { parseRange } from "../http/range.ts";
import { mediaTypeOf } from "../http/media-type.ts";
import type { Reply } from "../reply.ts";
import { StorageError, type ByteRange, type Entry, type ReadableStorage } from "../storage.ts";

/** A file that is replaced between the look at it and its opening is looked at again, so often. */
const attempts = 5;

/** What every route that answers with {@link download} is by. */
export const downloadRoute = {
  success: [200, 206, 304],
  requestHeaders: [
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
  ],
  answerHeaders: ["ETag", "Last-Modified", "Content-Disposition", "Accept-Ranges", "Content-Range"],
} as const;

/** What the endpoint has to say of a file. */
export interface DownloadRules {
  /** What is thrown when there is no such file, but perhaps something else. */
  missing(entry: Entry | null): ApiError;
  /** Throws when the caller may not have it. */
  check(entry: Entry): void;
}

/**
 * The answer to a GET or HEAD for the bytes of a file (I56): conditions, one byte range, a name that survives.
 * Throws `precondition_failed` and `range_not_satisfiable`.
 */
export async function download(
  request: Request,
  storage: Pick<ReadableStorage, "stat" | "read">,
  path: string,
  rules: DownloadRules,
): Promise<Reply> {
  for (let attempt = 1; ; attempt += 1) {
    const entry = await storage.stat(path);
    if (entry?.kind !== "file") throw rules.missing(entry);
    rules.check(entry);
    const plan = planAnswer(request, entry);
    if (plan.status === 304 || request.method === "HEAD")
      return { status: plan.status, headers: plan.headers, stream: null };
    const opened = await storage.read(path, plan.range ? { range: plan.range } : {});
    if (!opened) throw rules.missing(null);
    const reply = await answerWith(opened, { request, plan, rules }).catch(async (error: unknown) => {
      await opened.body.cancel();
      throw error;
    });
    if (reply) return reply;
    await opened.body.cancel();
    if (attempt >= attempts)
      throw new StorageError(
        "io",
        `${JSON.stringify(path)} is replaced again and again while it is being read.`,
      );
  }
}

/**
 * The answer with a file that was opened for a plan. What is said of it is what is true of the opened one: a log that
 * grows all the time is never the one that was looked at. Null when what was asked for is another part of it now.
 */
async function answerWith(
  opened: { entry: Entry; body: ReadableStream<Uint8Array> },
  { request, plan, rules }: { request: Request; plan: Answer; rules: DownloadRules },
): Promise<Reply | null> {
  const { entry, body } = opened;
  rules.check(entry);
  const now = planAnswer(request, entry);
  if (now.status === 304) {
    await body.cancel();
    return { status: 304, headers: now.headers, stream: null };
  }
  const { range } = plan;
  if (range === null) return now.range === null ? { status: 200, headers: now.headers, stream: body } : null;
  // Of a part that reaches further by now less may be sent, as long as it is said (RFC 9110, section 15.3.7).
  const isHeld = now.range !== null && now.range.start === range.start && now.range.end >= range.end;
  return isHeld ? { status: 206, headers: headersOf(entry, range), stream: body } : null;
}

interface Answer {
  status: 200 | 206 | 304;
  headers: Record<string, string>;
  range: ByteRange | null;
}

function planAnswer({ method, headers: requested }: Request, entry: Entry): Answer {
  const condition = checkConditions(requested, entry);
  if (condition === "failed") throw preconditionFailed(entry.path, entry);
  if (condition === "not_modified") return { status: 304, headers: validatorsOf(entry), range: null };
  // RFC 9110, 14.2: a range is of a GET alone.
  const isRanged = method === "GET" && rangeStillApplies(requested, entry);
  const range = isRanged ? parseRange(requested.get("range"), entry.size) : null;
  if (range === "unsatisfiable") throw unsatisfiable(entry);
  return { status: range ? 206 : 200, headers: headersOf(entry, range), range };
}

function validatorsOf(entry: Entry): Record<string, string> {
  return {
    etag: etagOf(entry),
    "last-modified": lastModifiedOf(entry),
    "cache-control": "private, no-cache",
  };
}

function headersOf(entry: Entry, range: ByteRange | null): Record<string, string> {
  const name = entry.path.slice(entry.path.lastIndexOf("/") + 1);
  const headers: Record<string, string> = {
    ...validatorsOf(entry),
    "content-type": mediaTypeOf(name),
    "content-disposition": attachment(name),
    "x-content-type-options": "nosniff",
    "accept-ranges": "bytes",
    "content-length": String(range ? range.end - range.start + 1 : entry.size),
  };
  if (range) headers["content-range"] = `bytes ${range.start}-${range.end}/${entry.size}`;
  return headers;
}

function unsatisfiable(entry: Entry): ApiError {
  return new ApiError(
    "range_not_satisfiable",
    `The range lies outside the ${entry.size} bytes of this file.`,
    { size: entry.size },
    { headers: { "content-range": `bytes */${entry.size}` } },
  );
}

/** The 404 of a path in a workspace where no file is; `entry` is what is there instead. */
export function fileNotFound(path: string, entry: Entry | null = null): ApiError {
  const name = JSON.stringify(path);
  const messages = {
    dir: `${name} is a directory, not a file; the catalog of a file session lists what is in it.`,
    other: `${name} is a pipe, a device or a socket, not a file.`,
    file: `There is no file ${name} in this workspace.`,
  };
  return new ApiError("file_not_found", messages[entry?.kind ?? "file"]);
}

/** A condition of the request does not hold; the answer says what the file is at now (null: it does not exist). */
export function preconditionFailed(path: string, entry: Entry | null): ApiError {
  const state = entry ? `exists at revision ${entry.revision}` : "does not exist";
  return new ApiError(
    "precondition_failed",
    `The file ${state}, which the conditions of the request (If-Match and the like) do not allow.`,
    { path, currentRevision: entry?.revision ?? null },
    entry ? { headers: { etag: etagOf(entry) } } : {},
  );
}
