import type { DiskFs } from "./fs.ts";

const smallestBlock = 4096;
/** Blocks up to this size are anybody's; larger ones are lent. */
const smallBlock = 65_536;
/** What a file system takes in one go: it keeps a large write in large pages, and one call costs as much as sixteen. */
const largestBlock = 1_048_576;
/** One is being filled, one written, and two wait while a sync holds the disk. */
const blocksAtOnce = 4;
/** So many bytes after the last sync the next one begins, so that little is left for the one at the end. */
const syncEvery = 16_000_000;

/** The memory that all uploads together may gather bytes in; those for whom none is left use small blocks. */
export class BlockPool {
  readonly #limit: number;
  #lent = 0;
  #free: Uint8Array[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many bytes are lent. */
  get lent(): number {
    return this.#lent;
  }

  /** A block of `size` bytes, or of fewer. */
  take(size: number): Uint8Array {
    if (size <= smallBlock) return new Uint8Array(size);
    if (this.#lent + size > this.#limit) return new Uint8Array(smallBlock);
    this.#lent += size;
    return (size === largestBlock && this.#free.pop()) || new Uint8Array(size);
  }

  /** Takes a block back, which nobody may use any more. */
  give(block: Uint8Array): void {
    if (block.length <= smallBlock) return;
    this.#lent -= block.length;
    if (block.length === largestBlock) this.#free.push(block);
    if (this.#lent === 0) this.#free = [];
  }
}

const pool = new BlockPool(32 * largestBlock);

/** A block of which the first `used` bytes are to be written. */
interface Filled {
  block: Uint8Array;
  used: number;
}

/**
 * Writes what arrives in pieces to an open file in large blocks, and to the disk, while more arrives. The first block
 * is as large as the first piece and each further one as large as all before, so a small body costs little.
 */
export class BlockWriter {
  readonly #fs: DiskFs;
  readonly #fd: number;
  readonly #onFailure: (error: unknown) => void;
  readonly #pool: BlockPool;
  #filling: Filled | null = null;
  #waiting: Filled[] = [];
  #writing: Promise<void> | null = null;
  #syncing: Promise<void> | null = null;
  #failure: { error: unknown } | null = null;
  /** Blocks that are filled, written or wait for it. */
  #blocks = 0;
  #size = 0;
  #unsynced = 0;
  #onRoom: () => void = () => undefined;

  /** `onFailure` is told of the first call that failed, of which else only the next `write` or `end` would tell. */
  constructor(fs: DiskFs, fd: number, onFailure: (error: unknown) => void, blocks: BlockPool = pool) {
    this.#fs = fs;
    this.#fd = fd;
    this.#onFailure = onFailure;
    this.#pool = blocks;
  }

  /** Takes a copy of the bytes: null when that is done, else a promise to wait for before anything else is given. */
  write(bytes: Uint8Array): Promise<void> | null {
    this.#throwFailure();
    const taken = this.#take(bytes);
    return taken < bytes.length ? this.#takeRest(bytes.subarray(taken)) : null;
  }

  /** Writes what is left. The last of it is not on the disk yet. */
  async end(): Promise<void> {
    this.#throwFailure();
    this.#pass();
    await this.#idle();
    this.#throwFailure();
  }

  /** Gives up what is not being written. Nothing uses the descriptor any more after that, and it may be closed. */
  async release(): Promise<void> {
    if (this.#filling) this.#waiting.push(this.#filling);
    this.#filling = null;
    this.#dropWaiting();
    await this.#idle();
  }

  async #idle(): Promise<void> {
    await this.#writing;
    await this.#syncing;
  }

  #dropWaiting(): void {
    for (const { block } of this.#waiting) this.#giveBack(block);
    this.#waiting = [];
  }

  #giveBack(block: Uint8Array): void {
    this.#pool.give(block);
    this.#blocks -= 1;
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    this.#dropWaiting();
    this.#onFailure(error);
    this.#onRoom();
  }

  async #takeRest(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += this.#take(bytes.subarray(at))) {
      await new Promise<void>((resolve) => {
        this.#onRoom = resolve;
      });
      this.#throwFailure();
    }
  }

  /** Copies as many bytes as there is room for, and answers how many that were. */
  #take(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length) {
      this.#filling ??= this.#next(bytes.length - at);
      if (!this.#filling) return at;
      const { block, used } = this.#filling;
      const part = bytes.subarray(at, at + block.length - used);
      block.set(part, used);
      this.#filling.used += part.length;
      at += part.length;
      this.#size += part.length;
      if (this.#filling.used === block.length) this.#pass();
    }
    return at;
  }

  #next(firstPiece: number): Filled | null {
    if (this.#blocks === blocksAtOnce) return null;
    this.#blocks += 1;
    const wanted = this.#size === 0 ? firstPiece : this.#size;
    // Powers of two that add up as they do here put every block at a place in the file that is a multiple of its size.
    let size = smallestBlock;
    while (size < wanted && size < largestBlock) size *= 2;
    return { block: this.#pool.take(size), used: 0 };
  }

  /** Hands the block that is being filled on to be written. */
  #pass(): void {
    if (!this.#filling) return;
    this.#waiting.push(this.#filling);
    this.#filling = null;
    this.#writing ??= this.#writeWaiting();
  }

  async #writeWaiting(): Promise<void> {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { block, used } = next;
      try {
        await writeAll(this.#fs, this.#fd, block.subarray(0, used));
        this.#unsynced += used;
      } catch (error) {
        this.#fail(error);
      }
      this.#giveBack(block);
      if (this.#unsynced >= syncEvery) this.#syncing ??= this.#sync();
      this.#onRoom();
    }
    this.#writing = null;
  }

  async #sync(): Promise<void> {
    this.#unsynced = 0;
    try {
      // A system tells of bytes that it could not bring to the disk only once: the sync at the end may succeed again.
      await this.#fs.fdatasync(this.#fd);
    } catch (error) {
      this.#fail(error);
    }
    this.#syncing = null;
  }
}

/** Writes all bytes at the descriptor's position. */
export async function writeAll(fs: DiskFs, fd: number, bytes: Uint8Array): Promise<void> {
  let at = 0;
  while (at < bytes.length) {
    const left = bytes.length - at;
    const count =
      bytes.length <= smallBlock
        ? fs.writeSync(fd, bytes, at, left)
        : await fs.write(fd, bytes, at, Math.min(left, largestBlock));
    at += count;
  }
}
