import { constants } from "node:fs";
import { PieceReader } from "../../../lib/http/piece-reader.ts";
import type { Staged } from "../../../lib/storage.ts";
import { aDirectory, bodyTooLarge, notAFile } from "../refusals.ts";
import { BlockWriter } from "./block-writer.ts";
import { errno, storageError } from "./fs.ts";
import type { DiskFs, Stats } from "./fs.ts";
import type { TemporaryKind, TemporaryNames } from "./names.ts";
import { printOf } from "./revision.ts";
import type { WriteClock } from "./revision.ts";
import type { Dir, DiskTree, Target } from "./tree.ts";

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/** What the parts of a disk storage share. */
export interface DiskContext {
  fs: DiskFs;
  tree: DiskTree;
  clock: WriteClock;
  names: TemporaryNames;
  /** Mode of new files; absent: 0666 less the umask. */
  fileMode: number | undefined;
  /** Mode of new directories; absent: 0777 less the umask. */
  dirMode: number | undefined;
}

/** Rights on a file and whose it is. */
export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A temporary that holds a whole body, durable but for its name. */
export interface Body extends Staged {
  readonly dir: string;
  readonly print: string;
  /** Only of a body that is not durable yet: what a copy of it must look like. */
  readonly owner?: Ownership;
  /** Of a durable one: what a new file is given, and what this one was given for the file that it was to replace. */
  readonly rights?: { plain: Ownership; given: Ownership };
}

/** Creates a new temporary in an open directory that was proven to be at its place just now. */
export function createTemporary(
  context: DiskContext,
  dir: Dir,
  kind: TemporaryKind,
  mode = 0o600,
): { name: string; fd: number } {
  for (;;) {
    const name = context.names.next(kind);
    try {
      return { name, fd: context.fs.openSync(dir.at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode) };
    } catch (error) {
      if (errno(error) !== "EEXIST") throw error;
    }
  }
}

/**
 * Takes over mode and owner of the file that will be replaced, before any byte could be read by others. Answers what
 * they were before.
 */
function adopt(context: DiskContext, fd: number, old: Ownership): Stats {
  const { fs } = context;
  const mine = fs.fstatSync(fd);
  if (mine.uid !== old.uid || mine.gid !== old.gid) {
    try {
      fs.fchownSync(fd, old.uid, old.gid);
    } catch (error) {
      // Only root may give files away; for others the file becomes the server's, as with any editor.
      if (errno(error) !== "EPERM") throw error;
    }
  }
  if ((mine.mode & 0o777) !== (old.mode & 0o777)) fs.fchmodSync(fd, old.mode & 0o777);
  return mine;
}

/** A temporary that was filled: its name, and the descriptor that the caller has to close. */
export interface Filled {
  name: string;
  fd: number;
  stats: Stats;
  /** Mode and owner that it was made with. */
  plain: Ownership;
}

/**
 * Fills a new temporary in a directory that stays open meanwhile, and stamps it with a write time, in seconds.
 * Nothing of it is durable yet. On failure nothing stays behind.
 */
export async function fillTemporary(
  context: DiskContext,
  dir: Dir,
  like: Ownership | null,
  fill: (fd: number) => Promise<void>,
  stamp?: number,
): Promise<Filled> {
  const { fs, clock } = context;
  const { name, fd } = createTemporary(context, dir, "body", context.fileMode ?? 0o666);
  try {
    const plain = like && adopt(context, fd, like);
    await fill(fd);
    const written = stamp ?? clock.next();
    fs.futimesSync(fd, written, written);
    const stats = fs.fstatSync(fd);
    clock.stamped(stats.mtimeMs);
    return { name, fd, stats, plain: plain ?? stats };
  } catch (error) {
    unlinkQuietly(context, dir, name);
    fs.closeSync(fd);
    throw error;
  }
}

/** Stages what `fill` writes beside the target, synced. On failure nothing stays behind. */
export async function stageBody(
  context: DiskContext,
  target: Target,
  fill: (fd: number) => Promise<void>,
): Promise<Body> {
  const { fs, tree } = context;
  await tree.ensureRoot(context.dirMode);
  const dir = tree.openDir(target.dir);
  let filled: Filled | null = null;
  try {
    filled = await fillTemporary(context, dir, target.stats, fill);
    await fs.fsync(filled.fd);
    const { name, stats, plain } = filled;
    const rights = { plain, given: stats };
    return { id: name, size: stats.size, dir: target.dir, print: printOf(stats), rights };
  } catch (error) {
    if (filled !== null) unlinkQuietly(context, dir, filled.name);
    throw error;
  } finally {
    if (filled !== null) fs.closeSync(filled.fd);
    dir.close();
  }
}

/** Gives a body mode and owner of the file that it will replace, which may not be what it was staged beside. */
export async function readopt(context: DiskContext, body: Body, target: Target): Promise<void> {
  const { fs, tree } = context;
  if (!body.rights) return;
  const { given, plain } = body.rights;
  const wanted = target.stats ?? plain;
  const same = (wanted.mode & 0o777) === (given.mode & 0o777);
  if (same && wanted.uid === given.uid && wanted.gid === given.gid) return;
  const dir = tree.openDir(body.dir);
  try {
    const fd = openOwn(fs, dir.at(body.id), given.mode);
    try {
      adopt(context, fd, wanted);
      await fs.fsync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } finally {
    dir.close();
  }
}

/** Opens a temporary in whichever way its mode allows. */
function openOwn(fs: DiskFs, path: string, mode: number): number {
  return fs.openSync(path, ((mode & 0o400) === 0 ? O_WRONLY : O_RDONLY) | O_NOFOLLOW);
}

/** Removes a temporary; a second try outlasts a passing fault, and what remains is swept at the next start. */
export function unlinkQuietly(context: DiskContext, dir: Dir, name: string): void {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      context.fs.unlinkSync(dir.at(name));
      return;
    } catch (error) {
      if (errno(error) === "ENOENT") return;
    }
  }
}

/** Drops a staged body; one that is already gone is fine. */
export function dropBody(context: DiskContext, body: Body): void {
  let dir: Dir | null = null;
  try {
    dir = context.tree.openDir(body.dir);
    unlinkQuietly(context, dir, body.id);
  } catch {
    // The directory went away, and the temporary with it.
  } finally {
    dir?.close();
  }
}

/** Stages a stream, counting its bytes as they come. */
export async function stageStream(
  context: DiskContext,
  path: string,
  body: ReadableStream<Uint8Array>,
  options: { maxBytes?: number; signal?: AbortSignal } = {},
): Promise<Body> {
  const { maxBytes = Infinity, signal } = options;
  const reader = new PieceReader(body);
  const stop = (reason: unknown): void => void reader.cancel(reason).catch(() => undefined);
  const onAbort = (): void => stop(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    signal?.throwIfAborted();
    const target = writeTarget(context, path);
    return await stageBody(context, target, async (fd) => {
      // A disk that refuses bytes ends the wait for more of them: the client learns of it at once.
      const writer = new BlockWriter(context.fs, fd, stop);
      try {
        await take(reader, writer, (size) => {
          if (size > maxBytes) throw bodyTooLarge(path, size, maxBytes);
        });
        signal?.throwIfAborted();
        await writer.end();
        signal?.throwIfAborted();
      } finally {
        await writer.release();
      }
    });
  } catch (error) {
    stop(error);
    signal?.throwIfAborted();
    throw errno(error) === "" ? error : storageError(error, path);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Writes what a reader gives until its end; `check` throws when it was too much so far. */
async function take(reader: PieceReader, writer: BlockWriter, check: (size: number) => void): Promise<void> {
  let size = 0;
  for (let piece = await reader.read(); piece; piece = await reader.read()) {
    size += piece.byteLength;
    check(size);
    const room = writer.write(piece);
    if (room) await room;
  }
}

/** Where a file would be written; refuses what is not a file. */
export function writeTarget(context: DiskContext, path: string): Target {
  if (path === "") throw aDirectory(path);
  const target = context.tree.target(path, true);
  if (target.stats?.isDirectory()) throw aDirectory(path);
  if (target.stats && !target.stats.isFile()) throw notAFile(path);
  return target;
}
