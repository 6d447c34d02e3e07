import { ApiError } from "../errors.ts";
import { peekBody } from "./body.ts";
import type { Workspace } from "../workspaces.ts";

/** The parts of a call that can name the directory that the engine works in. */
export interface DirectoryChoice {
  /** `x-opencode-directory` as sent. */
  header: string | null;
  /** The query with its `?`, as sent. */
  search: string;
  /** `x-opencode-workspace` as sent: a work tree of the engine's own making. */
  workspaceHeader: string | null;
}

/** Query parameters that name a directory: one that the engine percent-decodes once more, and one that it does not. */
const decodedName = "directory";
const plainName = "location[directory]";
const workspaceNames = ["workspace", "location[workspace]"] as const;

/** A directory that a call may name. */
export interface ServedDirectory {
  /** As the engine is told it. */
  readonly directory: string;
  /** Other names of the same one, which the engine is never sent: it may see other files than this server does. */
  aliases(): readonly string[];
}

/** The directories of the workspaces that share an engine, and where they really are if they were given by a link. */
export function servedDirectoriesOf(workspaces: readonly Workspace[]): ServedDirectory[] {
  return workspaces.flatMap((workspace) => {
    const [directory] = directoriesOf([workspace]);
    return directory === undefined ? [] : { directory, aliases: () => aliasesOf(workspace, directory) };
  });
}

/** None when the engine's directory is another one altogether, of which no storage here knows. */
function aliasesOf({ path, storage: { realLocation } }: Workspace, directory: string): string[] {
  const names = [path, realLocation ?? path];
  return names.some((name) => same(name, directory)) ? names : [];
}

function findDirectory(named: string, served: readonly ServedDirectory[]): string | undefined {
  const written = served.find(({ directory }) => same(directory, named));
  const found = written ?? served.find(({ aliases }) => aliases().some((alias) => same(alias, named)));
  return found?.directory;
}

/** What a call comes to: the directory that it works in, null for the engine's own, and the query to send. */
export interface PinnedDirectory {
  directory: string | null;
  search: string;
}

/**
 * The directory that a call works in (I06): that of the workspace, or of another configured one that the caller
 * names, read as the engine reads it. Anything else, and several different ones, are a 403.
 */
export function pinDirectory(
  choice: DirectoryChoice,
  own: string | null,
  served: readonly ServedDirectory[],
): PinnedDirectory {
  const { search } = choice;
  const named = namedDirectories(choice);
  const [first] = named;
  if (first === undefined) return { directory: own, search };
  const places = own === null ? served : [{ directory: own, aliases: () => [] }, ...served];
  const found = new Set(named.map((name) => findDirectory(name, places)));
  const [directory] = found;
  if (new Set(named).size > 1 && (found.size > 1 || directory === undefined))
    throw refused("The call names several directories; name one.", named);
  if (directory === undefined) {
    throw refused(
      `The directory ${JSON.stringify(first.slice(0, 200))} is none of the workspaces served here.`,
      named,
    );
  }
  const isAsWritten = named.every((name) => same(directory, name));
  return { directory, search: isAsWritten ? search : respelled(search, directory) };
}

/** The query with the directory in the spelling that the engine is told, and all else as sent. */
function respelled(search: string, directory: string): string {
  const pieces = search
    .slice(1)
    .split("&")
    .map((piece) => {
      const [[name, value] = []] = new URLSearchParams(piece);
      if (!value || (name !== decodedName && name !== plainName)) return piece;
      const spelling = name === decodedName ? directoryHeader(directory) : directory;
      return `${encodeURIComponent(name)}=${encodeURIComponent(spelling)}`;
    });
  return search.length > 1 ? `?${pieces.join("&")}` : search;
}

/** Calls whose JSON bodies name directories, or sessions to bring here. */
const bodyRoutes: RegExp =
  /^\/(?:api\/session|sync\/(?:replay|steal)|experimental\/(?:control-plane\/move-session|workspace\/warp))$/i;
/** The most that such a body may be, bytes. */
const mostBody = 1024 * 1024;

/** Keys of such bodies whose values name directories. */
const directoryKeys = ["directory", "workspaceID"] as const;

/** The body of a call, to be sent, its length where that is another than the caller's, and the sessions that it names. */
export interface PinnedBody {
  body: ReadableStream<Uint8Array> | null;
  length?: number;
  sessions: readonly string[];
}

/** Holds the directories in the body of a call to the same rule. */
export async function pinBody(
  call: { method: string; path: string },
  body: ReadableStream<Uint8Array> | null,
  served: readonly ServedDirectory[],
): Promise<PinnedBody> {
  if (body === null || call.method !== "POST" || !bodyRoutes.test(call.path)) return { body, sessions: [] };
  const peeked = await peekBody(body, mostBody);
  const message = `This call names directories; its body must be JSON of at most ${mostBody} bytes.`;
  if (!peeked.whole) {
    await peeked.body?.cancel();
    throw new ApiError("body_too_large", message, { maxBytes: mostBody });
  }
  const value = parsedBody(peeked.bytes, message);
  const sessions = textsIn(value, ["sessionID"]);
  const spellings = new Map<string, string>();
  for (const named of textsIn(value, directoryKeys)) {
    const directory = findDirectory(named, served);
    if (directory === undefined)
      throw refused("The body names a directory that is none of the workspaces served here.", [named]);
    if (!same(directory, named)) spellings.set(named, directory);
  }
  if (spellings.size === 0) return { body: peeked.body, sessions };
  const respell = (key: string, part: unknown): unknown =>
    typeof part === "string" && directoryKeys.some((name) => name === key)
      ? (spellings.get(part) ?? part)
      : part;
  const bytes = new TextEncoder().encode(JSON.stringify(value, respell));
  return { body: new Response(bytes).body, length: bytes.length, sessions };
}

function parsedBody(bytes: Uint8Array, message: string): unknown {
  try {
    return bytes.length === 0 ? null : JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new ApiError("invalid_json", message, undefined, { cause });
  }
}

/** Every text under one of the keys, at any depth. */
function textsIn(value: unknown, keys: readonly string[]): string[] {
  const found: string[] = [];
  const waiting = [value];
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (next === null || typeof next !== "object") continue;
    for (const [key, part] of Object.entries(next)) {
      if (typeof part === "string" && keys.includes(key)) found.push(part);
      else waiting.push(part);
    }
  }
  return found;
}

/** The directories of the workspaces that share an engine: only they mean something to it. */
export function directoriesOf(workspaces: readonly Workspace[]): string[] {
  return workspaces.flatMap(({ config }) => config.opencode.directory?.trim() || []);
}

/** The value of `x-opencode-directory`: the engine percent-decodes it, so what it would take for an escape is one. */
export function directoryHeader(directory: string): string {
  return /^[\x20-\x24\x26-\x7e]*$/.test(directory) ? directory : encodeURIComponent(directory);
}

function namedDirectories({ header, search, workspaceHeader }: DirectoryChoice): string[] {
  const query = search.length > 1 ? new URLSearchParams(search) : null;
  const worktrees = [workspaceHeader, ...workspaceNames.flatMap((name) => query?.getAll(name) ?? [])];
  if (worktrees.some(Boolean))
    throw refused("Work trees of the engine cannot be chosen through this server.", []);
  const given = query?.getAll(decodedName) ?? [];
  const plain = query?.getAll(plainName) ?? [];
  if (given.length > 1 || plain.length > 1) {
    throw refused("The call names a directory twice; name it once.", [...given, ...plain]);
  }
  const decoded = [...given, ...(header === null ? [] : [header])].map(decodeOnce);
  // The engine takes an empty one for none.
  return [...decoded, ...plain].filter(Boolean);
}

function decodeOnce(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

function same(a: string, b: string): boolean {
  return a === b || (b.length > 1 && b.endsWith("/") && a === b.slice(0, -1));
}

function refused(message: string, directories: readonly string[]): ApiError {
  return new ApiError("forbidden", message, { reason: "directory", directories });
}
