import { StorageError, storagePathParts } from "../../../lib/storage.ts";
import type { ByteRange, Entry } from "../../../lib/storage.ts";
import { quote, tooLarge } from "../refusals.ts";
import { storageError } from "./fs.ts";
import type { Stats } from "./fs.ts";
import { entryOf } from "./revision.ts";
import type { WriteClock } from "./revision.ts";
import type { DiskTree, OpenFile } from "./tree.ts";
import { unswapped } from "./way.ts";

/** Up to here a synchronous read is quicker than a hop to the thread pool and too short to hold others up. */
const smallFile = 65_536;
const chunkSize = 262_144;
/** A file that never rests: this often it is read again, and of these so often only after it has settled. */
const attempts = 10;
const patientAttempts = 5;

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** The entry of what was found at a path, which says so when links led elsewhere. */
function entryAt(path: string, found: { rel: string; stats: Stats }): Entry {
  const entry = entryOf(path, found.stats);
  return found.rel === path ? entry : { ...entry, real: found.rel };
}

/** The entry at a path, links followed. */
export async function statPath(tree: DiskTree, path: string): Promise<Entry | null> {
  storagePathParts(path);
  const found = await unswapped(
    tree,
    path,
    () => tree.look(path),
    ({ rel }) => rel,
  );
  return found && entryAt(path, found);
}

function openUnswapped(tree: DiskTree, path: string): Promise<OpenFile | null> {
  return unswapped(
    tree,
    path,
    () => tree.openFile(path),
    ({ rel }) => rel,
    ({ fd }) => tree.fs.closeSync(fd),
  );
}

/** Opens a file when its revision can be trusted to change with the next write. */
async function openSettled(
  tree: DiskTree,
  clock: WriteClock,
  path: string,
  patient: boolean,
): Promise<OpenFile | null> {
  for (let attempt = 0; ; attempt += 1) {
    const file = await openUnswapped(tree, path);
    if (file === null) return null;
    const wait = patient && attempt < patientAttempts ? clock.settles(file.stats) : 0;
    if (wait === 0) return file;
    tree.fs.closeSync(file.fd);
    await sleep(wait);
  }
}

/** Whether the bytes were left alone between two looks. The change time may move: a rename over a file moves it. */
function unchanged(before: Stats, after: Stats): boolean {
  return before.mtimeMs === after.mtimeMs && before.size === after.size;
}

async function readAll(tree: DiskTree, file: OpenFile): Promise<Uint8Array> {
  const { size } = file.stats;
  const bytes = new Uint8Array(size);
  let at = 0;
  while (at < size) {
    const count =
      size <= smallFile
        ? tree.fs.readSync(file.fd, bytes, at, size - at, at)
        : await tree.fs.read(file.fd, bytes, at, Math.min(size - at, 1_048_576), at);
    if (count === 0) return bytes.subarray(0, at);
    at += count;
  }
  return bytes;
}

/** The whole file and its entry, of one moment. */
export async function readWhole(
  tree: DiskTree,
  clock: WriteClock,
  path: string,
  maxBytes: number = Infinity,
): Promise<{ entry: Entry; bytes: Uint8Array } | null> {
  storagePathParts(path);
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const file = await openSettled(tree, clock, path, attempt < patientAttempts);
    if (file === null) return null;
    try {
      const { size } = file.stats;
      if (size > maxBytes) {
        throw tooLarge(path, size, maxBytes);
      }
      const bytes = await readAll(tree, file);
      const after = tree.fs.fstatSync(file.fd);
      if (bytes.length === size && unchanged(file.stats, after)) return { entry: entryAt(path, file), bytes };
    } catch (error) {
      throw storageError(error, path);
    } finally {
      tree.fs.closeSync(file.fd);
    }
    await sleep(attempt);
  }
  throw new StorageError("io", `${quote(path)} changes so often that it could not be read in one piece.`, {
    path,
  });
}

/** So many bytes are looked at again when a file has grown, at the start of what was sent and where it ended then. */
const sampleSize = 4096;

/**
 * Watches over a file that is being sent. Of one that grows, such as a log, what was there at first is sent whole; one
 * that shrinks, or whose bytes change, is no longer the file that the answer began with.
 */
class SteadyCheck {
  readonly #tree: DiskTree;
  readonly #fd: number;
  #seen: Stats;
  #head: Sample | null = null;
  #last: Sample | null = null;

  constructor(tree: DiskTree, file: OpenFile) {
    this.#tree = tree;
    this.#fd = file.fd;
    this.#seen = file.stats;
  }

  /** Whether bytes that were just read belong to the file as it was. */
  accepts(at: number, bytes: Uint8Array): boolean {
    const now = this.#tree.fs.fstatSync(this.#fd);
    if (!unchanged(this.#seen, now)) {
      if (now.size <= this.#seen.size || !this.#holds(this.#head) || !this.#holds(this.#last)) return false;
      this.#seen = now;
    }
    this.#head ??= { at, bytes: bytes.slice(0, sampleSize) };
    const tail = Math.max(0, bytes.length - sampleSize);
    this.#last = { at: at + tail, bytes: bytes.slice(tail) };
    return true;
  }

  #holds(sample: Sample | null): boolean {
    if (sample === null) return true;
    const again = new Uint8Array(sample.bytes.length);
    const count = this.#tree.fs.readSync(this.#fd, again, 0, again.length, sample.at);
    return count === again.length && again.every((byte, index) => byte === sample.bytes[index]);
  }
}

/** Bytes that were sent. */
interface Sample {
  at: number;
  bytes: Uint8Array;
}

/** The file as a stream from one open descriptor; the stream fails when the file does anything but grow. */
export async function readStream(
  tree: DiskTree,
  clock: WriteClock,
  path: string,
  range?: ByteRange,
): Promise<{ entry: Entry; body: ReadableStream<Uint8Array> } | null> {
  storagePathParts(path);
  const file = await openSettled(tree, clock, path, true);
  if (file === null) return null;
  const start = Math.max(0, range?.start ?? 0);
  const end = Math.min(range?.end ?? Infinity, file.stats.size - 1);
  return { entry: entryAt(path, file), body: streamOf(tree, file, path, start, end + 1) };
}

function streamOf(
  tree: DiskTree,
  file: OpenFile,
  path: string,
  start: number,
  stop: number,
): ReadableStream<Uint8Array> {
  const { fs } = tree;
  const steady = new SteadyCheck(tree, file);
  let at = start;
  let open = true;
  let reading = false;
  const close = (): void => {
    // A descriptor that a read is still using must not be given back: its number may be another file's by then.
    if (!open || reading) return;
    open = false;
    fs.closeSync(file.fd);
  };
  const next = async (): Promise<Uint8Array> => {
    const buffer = new Uint8Array(Math.min(chunkSize, stop - at));
    reading = true;
    try {
      const count =
        stop - at <= smallFile
          ? fs.readSync(file.fd, buffer, 0, buffer.length, at)
          : await fs.read(file.fd, buffer, 0, buffer.length, at);
      const bytes = buffer.subarray(0, count);
      if (count === 0 || !steady.accepts(at, bytes)) {
        throw new StorageError("io", `${quote(path)} changed while it was being read.`, { path });
      }
      at += count;
      return bytes;
    } finally {
      reading = false;
    }
  };
  let cancelled = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const chunk = at < stop ? await next() : null;
          if (cancelled) return close();
          if (chunk) controller.enqueue(chunk);
          if (at < stop) return;
          close();
          controller.close();
        } catch (error) {
          close();
          if (!cancelled) controller.error(storageError(error, path));
        }
      },
      cancel() {
        cancelled = true;
        close();
      },
    },
    { highWaterMark: 1 },
  );
}
