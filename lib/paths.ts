import { ApiError } from "./errors.ts";

/** The parts of a request target: the path as sent (dot segments resolved), its segments as sent, and the query with its `?`. */
export class Target {
  readonly path: string;
  readonly search: string;
  #segments: readonly string[] | null = null;

  constructor(path: string, search: string) {
    this.path = path;
    this.search = search;
  }

  /** The path cut at its slashes; made when it is asked for, as most requests are found by their whole path. */
  get segments(): readonly string[] {
    return (this.#segments ??= this.path.slice(1).split("/"));
  }
}

const dotSegment = /(^|\/)(\.|%2e){1,2}(\/|$)/i;

/** Takes the target out of an absolute request URL without parsing what needs no parsing. */
export function targetOf(url: string): Target {
  const authority = url.indexOf("//");
  let start = url.indexOf("/", authority + 2);
  if (start < 0) start = url.length;
  let end = url.indexOf("#", start);
  if (end < 0) end = url.length;
  let query = url.indexOf("?", start);
  if (query < 0 || query > end) query = end;
  let path = url.slice(start, query) || "/";
  if (path.includes(".") || path.includes("%2")) {
    if (dotSegment.test(path)) path = new URL(`http://localhost${path}`).pathname;
  }
  return new Target(path, url.slice(query, end));
}

/** Percent-decodes one path segment; a malformed escape is the client's mistake (I15). */
export function decodeSegment(segment: string): string {
  return decodeEscapes(segment, "path");
}

/**
 * Refuses a query with a malformed escape (I15). Parsers of queries take it for text, or put replacement characters
 * in its place: a path in it would then be another one than the client meant.
 */
export function checkQueryEscapes(search: string): void {
  decodeEscapes(search, "query");
}

function decodeEscapes(text: string, what: "path" | "query"): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new ApiError(
      "invalid_path",
      `The ${what} holds a malformed percent escape; write a literal % as %25.`,
      undefined,
      { cause },
    );
  }
}

/**
 * Normalises a workspace-relative path sent by a client (wire contract, section 9): blanks around it, leading
 * slashes, one `./` and empty parts go; `.` and `..` parts, NUL and nothing at all are refused.
 * The prefix `workspace/` is left to the caller, which knows whether a directory of that name exists (I41).
 */
export function normalizeRelativePath(input: string): string {
  const trimmed = input.trim();
  if (trimmed === "")
    throw new ApiError("invalid_path", "The path is empty; name a file below the workspace.");
  if (trimmed.includes("\0")) throw new ApiError("invalid_path", "The path holds a NUL character.");
  const parts = trimmed
    .replaceAll("\\", "/")
    .replace(/^\/+/, "")
    .replace(/^\.\//, "")
    .split("/")
    .filter((part) => part !== "");
  if (parts.length === 0)
    throw new ApiError("invalid_path", "The path names the root itself; name something below it.");
  if (parts.some((part) => part === "." || part === "..")) {
    throw new ApiError(
      "invalid_path",
      `The path ${JSON.stringify(input)} holds "." or ".." parts; send it resolved.`,
    );
  }
  return parts.join("/");
}

/** How Windows writes absolute paths: with a drive, or with the name of a server. */
const windowsAbsolute: RegExp = /^(?:[A-Za-z]:[\\/]|\\\\)/;

/** The absolute path, for people and the wire, of something below a root, with the separators of the root. */
export function absolutePath(root: string, relative: string): string {
  if (relative === "") return root;
  const isWindows = windowsAbsolute.test(root) && root.includes("\\");
  const separator = isWindows ? "\\" : "/";
  const below = isWindows ? relative.replaceAll("/", "\\") : relative;
  return root.endsWith(separator) ? root + below : root + separator + below;
}

/** Windows separates with both slashes and tells no case of letters apart; elsewhere `\` is part of a name. */
function comparable(path: string, isWindows: boolean): string {
  return isWindows ? path.replaceAll("\\", "/").toLowerCase() : path;
}

/**
 * Whether `path` is `root` or lies below it, both absolute and resolved; `/root-evil` is not inside `/root`. The
 * style of the root, that of Windows or of everything else, is the style of both.
 */
export function isInside(root: string, path: string): boolean {
  if (path === root) return true;
  const isWindows = windowsAbsolute.test(root);
  const outer = comparable(root, isWindows);
  const inner = comparable(path, isWindows);
  return inner === outer || inner.startsWith(outer.endsWith("/") ? outer : `${outer}/`);
}
