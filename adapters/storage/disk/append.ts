import { constants } from "node:fs";
import { StorageError, storagePathParts } from "../../../lib/storage.ts";
import { lineWithNewline, notAFile } from "../refusals.ts";
import { errno, storageError } from "./fs.ts";
import { writeTarget } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import { syncDirs } from "./sync.ts";
import { joinPath } from "./tree.ts";

const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
const newline = 10;

/** Lines that wait for the write before them to end, and who waits for each. */
interface Queue {
  text: string;
  waiting: { resolve: () => void; reject: (error: unknown) => void }[];
  running: boolean;
}

/** Appends lines to files. Calls for one file that come while it is being written share one write and one sync. */
export class Appender {
  readonly #context: DiskContext;
  readonly #queues = new Map<string, Queue>();
  /** By path: directories with new names in them that are not known to be on disk, because an append failed meanwhile. */
  readonly #unsynced = new Map<string, string[]>();

  constructor(context: DiskContext) {
    this.#context = context;
  }

  append(path: string, lines: readonly string[]): Promise<void> {
    storagePathParts(path);
    if (lines.some((line) => line.includes("\n"))) {
      throw lineWithNewline(path);
    }
    if (lines.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const queue = this.#queueOf(path);
      queue.text += `${lines.join("\n")}\n`;
      queue.waiting.push({ resolve, reject });
      if (!queue.running) void this.#drain(path, queue);
    });
  }

  #queueOf(path: string): Queue {
    const known = this.#queues.get(path);
    if (known) return known;
    const queue: Queue = { text: "", waiting: [], running: false };
    this.#queues.set(path, queue);
    return queue;
  }

  async #drain(path: string, queue: Queue): Promise<void> {
    queue.running = true;
    while (queue.waiting.length > 0) {
      const { text, waiting } = queue;
      queue.text = "";
      queue.waiting = [];
      try {
        await this.#write(path, text);
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        const refusal = storageError(error, path);
        for (const { reject } of waiting) reject(refusal);
      }
    }
    queue.running = false;
    this.#queues.delete(path);
  }

  async #write(path: string, text: string): Promise<void> {
    const { fs, tree, dirMode } = this.#context;
    await tree.ensureRoot(dirMode);
    const changedDirs = this.#unsynced.get(path) ?? [];
    this.#unsynced.set(path, changedDirs);
    const fd = this.#open(path, changedDirs);
    try {
      const { size } = fs.fstatSync(fd);
      // Whoever died in the middle of a line, and when: the next line is one of its own.
      const isTorn = size > 0 && this.#lastByte(fd, size) !== newline;
      await this.#writeOnce(fd, size, new TextEncoder().encode(isTorn ? `\n${text}` : text));
      // A log only grows, so its size tells two appends of one tick apart: readers need not wait for the next tick.
      this.#context.clock.stamped(fs.fstatSync(fd).mtimeMs);
      await fs.fdatasync(fd);
    } finally {
      fs.closeSync(fd);
    }
    if (changedDirs.length > 0) await syncDirs(this.#context, changedDirs);
    this.#unsynced.delete(path);
  }

  #lastByte(fd: number, size: number): number | undefined {
    const last = new Uint8Array(1);
    this.#context.fs.readSync(fd, last, 0, 1, size - 1);
    return last[0];
  }

  /** One write call, so that other processes' lines cannot come between; a short one is taken back. */
  async #writeOnce(fd: number, size: number, bytes: Uint8Array): Promise<void> {
    const { fs } = this.#context;
    const count =
      bytes.length <= 65_536
        ? fs.writeSync(fd, bytes, 0, bytes.length)
        : await fs.write(fd, bytes, 0, bytes.length);
    if (count === bytes.length) return;
    if (fs.fstatSync(fd).size === size + count) fs.ftruncateSync(fd, size);
    throw new StorageError("no_space", "The disk took only a part of the lines.");
  }

  /** Opens the file, made with its parents if need be; `changedDirs` is told where there are new names. */
  #open(path: string, changedDirs: string[]): number {
    const { fs, tree, fileMode } = this.#context;
    const target = writeTarget(this.#context, path);
    let at = target.dir;
    for (const name of target.missing) {
      this.#makeDir(at, name);
      changedDirs.push(at);
      at = joinPath(at, name);
    }
    const dir = tree.openDir(at);
    const flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    let fd = -1;
    try {
      const now = dir.child(target.name);
      if (now && !now.isFile()) throw notAFile(path);
      dir.verify();
      if (now === null) changedDirs.push(at);
      // Exclusive, so that nothing that appeared meanwhile is opened unseen.
      fd = fs.openSync(dir.at(target.name), now ? flags : flags | O_CREAT | O_EXCL, fileMode ?? 0o666);
      if (!fs.fstatSync(fd).isFile()) throw notAFile(path);
      return fd;
    } catch (error) {
      if (fd >= 0) fs.closeSync(fd);
      throw error;
    } finally {
      dir.close();
    }
  }

  #makeDir(parent: string, name: string): void {
    const dir = this.#context.tree.openDir(parent);
    try {
      this.#context.fs.mkdirSync(dir.at(name), this.#context.dirMode);
    } catch (error) {
      if (errno(error) !== "EEXIST") throw error;
    } finally {
      dir.close();
    }
  }
}
