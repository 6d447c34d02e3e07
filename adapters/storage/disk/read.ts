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
  const source = new FileSource(tree, file, path, start, stop);
  const cancel = (): void => source.cancel();
  return takesMemory
    ? new ReadableStream({ type: "bytes", pull: (controller) => source.pull(controller), cancel })
    : new ReadableStream<Uint8Array<ArrayBuffer>>(
        { pull: (controller) => source.pull(controller), cancel },
        { highWaterMark: 0 },
      );
}

/** Bun's server reads streams of bytes no other way than all others, and more slowly. */
const takesMemory = process.versions["bun"] === undefined;

/** What a source of a stream needs of either kind of controller. */
type Sink = Pick<ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>, "enqueue" | "close" | "error"> &
  Partial<Pick<ReadableByteStreamController, "byobRequest">>;

/** Reads a file for a stream: into the memory of a reader that brings some, else into chunks of its own, one ahead. */
class FileSource {
  readonly #tree: DiskTree;
  readonly #file: OpenFile;
  readonly #path: string;
  readonly #stop: number;
  readonly #steady: SteadyCheck;
  #at: number;
  #isOpen = true;
  #isReading = false;
  #isCancelled = false;
  #ahead: Promise<Uint8Array<ArrayBuffer>> | null = null;

  constructor(tree: DiskTree, file: OpenFile, path: string, start: number, stop: number) {
    this.#tree = tree;
    this.#file = file;
    this.#path = path;
    this.#at = start;
    this.#stop = stop;
    this.#steady = new SteadyCheck(tree, file);
  }

  async pull(controller: Sink): Promise<void> {
    try {
      const view = controller.byobRequest?.view;
      if (view && this.#ahead === null) {
        const count = this.#left > 0 ? await this.#read(memoryOf(view)) : 0;
        if (this.#isCancelled) return this.#close();
        if (count > 0) controller.byobRequest?.respond(count);
      } else if (this.#left > 0 || this.#ahead) {
        const chunk = await (this.#ahead ?? this.#next());
        this.#ahead = null;
        if (this.#isCancelled) return this.#close();
        controller.enqueue(chunk);
        if (this.#left > 0) this.#readAhead();
      }
      if (this.#left > 0 || this.#ahead) return;
      this.#close();
      controller.close();
      // A reader that waits with memory of its own is told the end by getting it back.
      controller.byobRequest?.respond(0);
    } catch (error) {
      this.#close();
      if (!this.#isCancelled) controller.error(storageError(error, this.#path));
    }
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#close();
  }

  get #left(): number {
    return this.#stop - this.#at;
  }

  async #next(): Promise<Uint8Array<ArrayBuffer>> {
    const chunk = new Uint8Array(Math.min(chunkSize, this.#left));
    return chunk.subarray(0, await this.#read(chunk));
  }

  #readAhead(): void {
    this.#ahead = this.#next();
    // Whoever pulls is told.
    this.#ahead.catch(() => undefined);
  }

  async #read(memory: Uint8Array): Promise<number> {
    const { fs } = this.#tree;
    const { fd } = this.#file;
    const size = Math.min(memory.length, this.#left);
    this.#isReading = true;
    try {
      const count =
        this.#left <= smallFile
          ? fs.readSync(fd, memory, 0, size, this.#at)
          : await fs.read(fd, memory, 0, size, this.#at);
      if (count === 0 || !this.#steady.accepts(this.#at, memory.subarray(0, count))) {
        const message = `${quote(this.#path)} changed while it was being read.`;
        throw new StorageError("io", message, { path: this.#path });
      }
      this.#at += count;
      return count;
    } finally {
      this.#isReading = false;
      if (this.#isCancelled) this.#close();
    }
  }

  /** A descriptor that a read is still using must not be given back: its number may be another file's by then. */
  #close(): void {
    if (!this.#isOpen || this.#isReading) return;
    this.#isOpen = false;
    this.#tree.fs.closeSync(this.#file.fd);
  }
}

function memoryOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
