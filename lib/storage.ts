/**
 * The storage interface: a small tree of files that confines itself to its root. Handlers know nothing
 * narrower and nothing wider; whatever runs below (disk, memory, a remote agent) implements this.
 * Paths are relative to the root, `/`-separated, without empty, `.` or `..` parts; `""` is the root itself.
 * Every implementation refuses any other path with `invalid_path`, and one that leads out with `outside`.
 */

/** What a name stands for. `other` is a FIFO, device or socket: never opened, never listed. */
export type EntryKind = "file" | "dir" | "other";

/** One name in the tree. A link that stays inside the root is reported as what it points to. */
export interface Entry {
  path: string;
  kind: EntryKind;
  /** Bytes; 0 for directories. */
  size: number;
  /** Last change of the content, milliseconds since the epoch, with a fraction where the storage knows it. */
  mtimeMs: number;
  /** Opaque; `<digits>:<size>`; differs whenever the bytes differ. */
  revision: string;
  /** Where links led, when that is another path than the one asked for. Told by `stat`, `readFile` and `read`. */
  real?: string;
}

/** A byte range, both ends inclusive as in HTTP; `end` may lie beyond the last byte. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * Bytes that wait beside their target, invisible, until a commit moves them into place. A commit that is refused
 * before it begins (a conflict, a bad path) leaves them; one that began consumes them, whether it ends well or not.
 */
export interface Staged {
  readonly id: string;
  readonly size: number;
}

/**
 * One step of a commit. `ifRevision`: a string must be the current revision, `null` means the path must
 * not exist, absent means no condition. Parents of a written, made or moved-to path are created. Making a
 * directory that exists is fine. Removing what is not there is `not_found`, but does nothing with `ifRevision: null`.
 * A path that is a link inside the root is written through; removing or moving it means the link itself.
 */
export type Change =
  | { op: "write"; path: string; body: Uint8Array | Staged; ifRevision?: string | null }
  | { op: "remove"; path: string; recursive?: boolean; ifRevision?: string | null }
  | { op: "mkdir"; path: string }
  | { op: "move"; from: string; to: string; replace?: boolean };

/** Changes that anybody made below the root. `missed` says that some may not be in `paths`: look again at everything. */
export interface WatchBatch {
  paths: readonly string[];
  missed: boolean;
  /** The watch has ended by itself: nothing more will be reported. */
  lost?: true;
}

/** A running watch. */
export interface Watch {
  close(): Promise<void>;
}

/** The reading half: all that a read-only storage offers. */
export interface ReadableStorage {
  /** Where the root is, for people and for the absolute paths of the wire contract. */
  readonly location: string;
  /** Where the root really is, links resolved; null while there is none. Absent where there are no links. */
  readonly realLocation?: string | null;
  /** The entry at a path, or null. Follows links that stay inside; one that leads out is `outside`. */
  stat(path: string): Promise<Entry | null>;
  /**
   * The direct children of a directory, files and directories only (links and special files left out), by code
   * point of the name; null when there is no such directory. `names` asks for no more than these, which a
   * storage may use to save work; it may also answer all.
   */
  list(path: string, options?: { names?: ReadonlySet<string> }): Promise<Entry[] | null>;
  /** Everything below a directory in batches of unstated size and order, links and special files left out. A directory that cannot be read is skipped. A directory that `skip` names is neither reported nor entered. */
  walk(
    path: string,
    options?: { signal?: AbortSignal; skip?: (dir: string) => boolean },
  ): AsyncIterable<Entry[]>;
  /** The whole file, bytes and entry of one moment; null when absent. `too_large` above `maxBytes`, `is_directory`, `not_a_file`. */
  readFile(
    path: string,
    options?: { maxBytes?: number },
  ): Promise<{ entry: Entry; bytes: Uint8Array } | null>;
  /** The file as a stream of the very file that `entry` describes; null when absent. */
  read(
    path: string,
    options?: { range?: ByteRange },
  ): Promise<{ entry: Entry; body: ReadableStream<Uint8Array> } | null>;
  /** Reports changes by anyone, batched, until closed. Null when the storage cannot watch (now). */
  watch(listener: (batch: WatchBatch) => void): Promise<Watch | null>;
}

/** A storage that can be written. */
export interface Storage extends ReadableStorage {
  /**
   * All changes or none: each file is replaced atomically, several together survive a crash in the middle
   * (finished or undone at the next `recover`), and once answered they survive a power cut. Revisions are
   * compared with no gap that another commit of this storage could use. Entries of what was written, made or
   * moved, null for what was removed, in the order of `changes`. A path occurs in one change only.
   */
  commit(changes: readonly Change[]): Promise<(Entry | null)[]>;
  /** Takes bytes in before it is known whether they may stay. `too_large` as soon as `maxBytes` is passed. */
  stage(
    path: string,
    body: ReadableStream<Uint8Array>,
    options?: { maxBytes?: number; signal?: AbortSignal },
  ): Promise<Staged>;
  /** Drops staged bytes that will not be committed. */
  discard(staged: Staged): Promise<void>;
  /** Appends whole lines (each without its newline), never interleaved, durable when answered; heals a torn last line first. */
  append(path: string, lines: readonly string[]): Promise<void>;
  /**
   * Settles when nothing of an answered commit is left to be done. A process that ends before that breaks no
   * promise, but leaves work to the next `recover`. Absent where a commit leaves nothing.
   */
  settled?(): Promise<void>;
  /** Finishes or undoes what a crash interrupted and sweeps temporaries. Called once before first use. */
  recover(): Promise<void>;
}

/** Why a storage refused. */
export type StorageErrorCode =
  | "not_found"
  | "invalid_path"
  | "outside"
  | "not_a_directory"
  | "is_directory"
  | "not_a_file"
  | "exists"
  | "not_empty"
  | "conflict"
  | "too_large"
  | "denied"
  | "no_space"
  | "io";

/** A refusal of the storage. `details` of a `conflict`: `{path, expectedRevision, currentRevision}`; of `too_large`: `{maxBytes, size}`. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: StorageErrorCode;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: StorageErrorCode, message: string, details?: Record<string, unknown>, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** Hidden names of temporaries: `.owtmp-` and 20 hex digits. Never listed, watched, readable or writable from outside. */
export const temporaryName: RegExp = /^\.owtmp-[0-9a-f]{20}$/;

/**
 * Checks the form of a storage path; every implementation calls it first. Returns the parts (none for the root).
 * Refuses NUL, empty, `.` and `..` parts, names of temporaries and names over 255 bytes.
 */
export function storagePathParts(path: string): string[] {
  if (path === "") return [];
  const parts = path.split("/");
  for (const part of parts) {
    if (part === "" || part === "." || part === ".." || part.includes("\0") || !part.isWellFormed()) {
      throw new StorageError(
        "invalid_path",
        `The path ${JSON.stringify(path)} has a part that is not a name.`,
      );
    }
    if (temporaryName.test(part)) {
      throw new StorageError(
        "invalid_path",
        `Names like ${JSON.stringify(part)} are reserved for the server's own temporaries.`,
      );
    }
    if (part.length > 63 && new TextEncoder().encode(part).length > 255) {
      throw new StorageError("invalid_path", "A name in the path is longer than 255 bytes.");
    }
  }
  return parts;
}

/** Orders strings by code point, which is also the byte order of their UTF-8. */
export function compareCodePoints(a: string, b: string): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i += 1) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above the rest of the 16-bit range.
    if (x >= 0xd800 && y >= 0xd800) {
      x = x >= 0xe000 ? x - 0x800 : x + 0x2000;
      y = y >= 0xe000 ? y - 0x800 : y + 0x2000;
    }
    return x - y;
  }
  return a.length - b.length;
}

/** Reads a text file as strict UTF-8; null when absent; `not_a_file` when it is not text. A leading BOM is kept. */
export async function readText(
  storage: Pick<ReadableStorage, "readFile">,
  path: string,
  maxBytes = 5_000_000,
): Promise<{ entry: Entry; text: string } | null> {
  const file = await storage.readFile(path, { maxBytes });
  if (!file) return null;
  try {
    return {
      entry: file.entry,
      text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(file.bytes),
    };
  } catch (cause) {
    throw new StorageError("not_a_file", `${path} is not UTF-8 text.`, { path }, cause);
  }
}
