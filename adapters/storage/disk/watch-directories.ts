import { promises, readFileSync, watch as watchDirectory } from "node:fs";
import type { FSWatcher } from "node:fs";
import { temporaryName } from "../../../lib/storage.ts";
import type { Watch, WatchBatch } from "../../../lib/storage.ts";
import { isExhausted } from "./fs.ts";
import type { Dirent } from "./fs.ts";
import { joinPath } from "./tree.ts";
import type { Dir, DiskTree } from "./tree.ts";
import { Slices, largeDirectory, openOrSkip } from "./walk.ts";

/**
 * File systems that other machines, or a program of their own, change without this kernel being told: NFS, SMB and
 * CIFS, FUSE (sshfs, the shared folders of virtual machines), 9P, Ceph, AFS, VirtualBox, Lustre, GPFS, OCFS2, GFS2.
 * A watch on them succeeds and stays silent.
 */
const silent: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x65735546, 0x01021997, 0x00c36400, 0x5346414f, 0x6b414653,
  0x786f4256, 0x0bd00bd0, 0x47504653, 0x7461636f, 0x01161970,
]);
/** Reports gather for this long, milliseconds: what a program changes in one go is told in one go. */
export const gatherMs: number = 50;

/** Whether this kind of watch works here: Linux with its `/proc`, and Node's own `fs.watch`. */
export function canWatchDirectories(tree: DiskTree): boolean {
  return (
    process.platform === "linux" && tree.abilities.proc && !("Bun" in globalThis) && !("Deno" in globalThis)
  );
}

/**
 * Watches a tree by a watch of its own on each directory; null when the system grants no more watches. Linux
 * has no recursive watch, and one that is emulated elsewhere loses what happens in directories that are
 * created in one go or moved. Here a directory is always watched first and read afterwards.
 */
export async function watchDirectories(
  tree: DiskTree,
  listener: (batch: WatchBatch) => void,
): Promise<Watch | null> {
  const watches = new DirectoryWatches(tree, listener);
  return (await watches.start()) ? watches : null;
}

/**
 * Counts what the kernel tells all watches of this process, for it keeps one queue for them all: when so much came
 * at once that it may have thrown some away, none of them can tell whose that was. So this is shared by all.
 */
class KernelQueue {
  readonly #limit = queueLimit();
  readonly #readers = new Set<() => void>();
  #events = 0;

  /** `onOverflow` is called when events may have been lost. Returns what ends that. */
  attach(onOverflow: () => void): () => void {
    this.#readers.add(onOverflow);
    return () => this.#readers.delete(onOverflow);
  }

  count(): void {
    this.#events += 1;
    // What was waiting in the queue is all handed over before a timer runs.
    if (this.#events === 1) setTimeout(() => (this.#events = 0), gatherMs);
    if (this.#events === this.#limit) for (const tell of this.#readers) tell();
  }
}

const kernelQueue = new KernelQueue();

class DirectoryWatches implements Watch {
  readonly #tree: DiskTree;
  readonly #listener: (batch: WatchBatch) => void;
  readonly #watched = new Map<string, FSWatcher>();
  readonly #detach: () => void;
  readonly #rootInode: number | undefined;
  /** File systems that were looked at, by their device. */
  readonly #devices = new Set<number>();
  #changed = new Set<string>();
  /** Of those, the names that came or went: directories perhaps. */
  #renamed = new Set<string>();
  #overflown = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #flushing = false;
  #closed = false;

  constructor(tree: DiskTree, listener: (batch: WatchBatch) => void) {
    this.#tree = tree;
    this.#listener = listener;
    this.#rootInode = this.#inode();
    this.#detach = kernelQueue.attach(() => {
      this.#overflown = true;
      this.#flushSoon();
    });
  }

  /** Watches all directories; false when that is not possible. */
  async start(): Promise<boolean> {
    try {
      await this.#cover("");
      if (this.#watched.has("")) return true;
    } catch {
      // Not here, or not now.
    }
    this.#end();
    return false;
  }

  async close(): Promise<void> {
    this.#end();
  }

  #end(): void {
    this.#closed = true;
    this.#detach();
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const watcher of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #inode(): number | undefined {
    return this.#tree.fs.lstatSync(this.#tree.absolute(""))?.ino;
  }

  /** Watches a directory and all below it, first each one itself and then what it holds. */
  async #cover(top: string): Promise<void> {
    const slices = new Slices();
    const pending = [top];
    let names = 0;
    for (let rel = pending.pop(); rel !== undefined && !this.#closed; rel = pending.pop()) {
      const dir = openOrSkip(this.#tree, rel);
      if (dir === null) continue;
      try {
        this.#insistOnNews(dir);
        this.#watch(rel, dir);
        const children = await this.#read(dir);
        names += children.length;
        for (const child of children) {
          if (child.isDirectory() && !temporaryName.test(child.name)) pending.push(joinPath(rel, child.name));
        }
      } finally {
        dir.close();
      }
      if (slices.due()) await slices.turn();
    }
    if (top === "") this.#tree.names = names;
  }

  /** Throws in a file system whose changes are not told: watching the rest would not do. */
  #insistOnNews(dir: Dir): void {
    const { fs } = this.#tree;
    const { dev } = fs.fstatSync(dir.fd);
    if (this.#devices.has(dev)) return;
    if (silent.has(fs.fileSystemSync(dir.path)))
      throw new Error("The file system does not tell of all changes.");
    this.#devices.add(dev);
  }

  #watch(rel: string, dir: Dir): void {
    this.#watched.get(rel)?.close();
    this.#watched.delete(rel);
    try {
      // The path of the descriptor: whatever its name has become meanwhile, this is the directory that was opened.
      const watcher = watchDirectory(dir.path, { persistent: false }, (type, name) =>
        this.#take(rel, type, name),
      );
      watcher.on("error", () => this.#take(rel, "rename", null));
      this.#watched.set(rel, watcher);
    } catch (error) {
      // Anything else concerns this directory alone, which went away.
      if (isExhausted(error)) throw error;
    }
  }

  async #read(dir: Dir): Promise<Dirent[]> {
    const { fs } = this.#tree;
    try {
      if (fs.fstatSync(dir.fd).size <= largeDirectory) return fs.direntsSync(dir.path);
      return await promises.readdir(dir.path, { withFileTypes: true });
    } catch (error) {
      if (isExhausted(error)) throw error;
      // It may not be read, or is gone; what is not listed is not watched.
      return [];
    }
  }

  #take(rel: string, type: string, name: string | null): void {
    if (this.#closed) return;
    kernelQueue.count();
    if (name !== null && temporaryName.test(name)) return;
    const path = name === null ? rel : joinPath(rel, name);
    this.#changed.add(path);
    if (type === "rename") this.#renamed.add(path);
    this.#flushSoon();
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => void this.#flush(), gatherMs);
  }

  async #flush(): Promise<void> {
    if (this.#flushing) return;
    this.#flushing = true;
    const changed = this.#changed;
    const renamed = this.#renamed;
    const overflown = this.#overflown;
    this.#changed = new Set();
    this.#renamed = new Set();
    this.#overflown = false;
    let lost = this.#inode() !== this.#rootInode;
    try {
      if (!lost) await this.#follow(overflown ? [""] : [...renamed]);
    } catch {
      // No more watches are granted, or a silent file system came in: what is there now would go unseen.
      lost = true;
    }
    this.#flushing = false;
    this.#timer = null;
    if (this.#closed) return;
    if (this.#changed.size > 0 || this.#overflown) this.#flushSoon();
    changed.delete("");
    if (lost) {
      this.#end();
      this.#listener({ paths: [], missed: true, lost: true });
    } else if (overflown) this.#listener({ paths: [], missed: true });
    else if (changed.size > 0) this.#listener({ paths: [...changed], missed: false });
  }

  /** Lets go of directories that are no longer what they were, and watches those that are there now. */
  async #follow(paths: readonly string[]): Promise<void> {
    for (const path of paths.toSorted((a, b) => a.length - b.length)) {
      if (this.#watched.has(path)) this.#release(path);
      const absolute = this.#tree.absolute(path);
      if (this.#tree.fs.lstatSync(absolute)?.isDirectory()) await this.#cover(path);
    }
  }

  #release(path: string): void {
    const below = path === "" ? "" : `${path}/`;
    for (const [rel, watcher] of this.#watched) {
      if (rel !== path && !rel.startsWith(below)) continue;
      watcher.close();
      this.#watched.delete(rel);
    }
  }
}

/** Half of what the kernel keeps for us: when so much came at once, it may have thrown some away. */
function queueLimit(): number {
  try {
    const kept = Number(readFileSync("/proc/sys/fs/inotify/max_queued_events", "utf8"));
    return kept > 0 ? Math.floor(kept / 2) : 8192;
  } catch {
    return 8192;
  }
}
