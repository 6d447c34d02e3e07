import { constants } from "node:fs";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { DiskStorage } from "../../adapters/storage/disk.ts";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import type { DiskFs } from "../../adapters/storage/disk/fs.ts";

/**
 * What a disk may keep of changes that nobody synced: `names` everything but the bytes of files, as journaling file
 * systems do at best; `half` the names up to some moment after the last sync of anything, as they also do; `nothing`
 * no bytes, and no names of a directory that was not synced itself.
 */
export type Keeping = "names" | "half" | "nothing";

/** A change of a directory, and how to take it back. */
interface NameChange {
  /** Inodes of the directories that have not been synced since. */
  dirs: Set<number>;
  /** The inode of a directory that was made. */
  made: number | undefined;
  back(): void;
}

/** A file that was written to: how much of it is on disk, and the write time that it was given. */
interface Written {
  path: string;
  size: number;
  stamp?: number;
}

const mutating = new Set<string>([
  "openSync",
  "writeSync",
  "ftruncateSync",
  "futimesSync",
  "fchmodSync",
  "fchownSync",
  "renameSync",
  "linkSync",
  "unlinkSync",
  "mkdirSync",
  "rmdirSync",
  "write",
  "unlink",
  "fsync",
  "fdatasync",
]);

/**
 * The real file system on a machine that loses power: before its n-th changing call everything stops, and then
 * what was not synced is taken back in place, so that inodes stay what they were.
 */
export class PowerCut {
  readonly fs: DiskFs;
  /** Changing calls so far. */
  calls = 0;
  off = false;
  readonly #at: number;
  /** Holds second names of everything that lost its name, so that it can come back as the same inode. */
  readonly #attic: string;
  readonly #names: NameChange[] = [];
  /** So many names had changed when something was last synced. */
  #lastSync = 0;
  readonly #unsynced = new Map<number, Written>();
  #kept = 0;

  constructor(attic: string, at: number) {
    this.#attic = attic;
    this.#at = at;
    this.fs = this.#wrap();
  }

  #wrap(): DiskFs {
    const wrapped = Object.entries(nodeFs).map(([name, call]: [string, (...args: never[]) => unknown]) => {
      const own = this.#own[name as keyof DiskFs] as ((...args: never[]) => unknown) | undefined;
      const replacement = (...args: never[]): unknown => {
        if (this.off && name !== "closeSync" && name !== "bootId")
          throw Object.assign(new Error("EIO: no power"), { code: "EIO" });
        const changes =
          mutating.has(name) && (name !== "openSync" || (Number(args[1]) & constants.O_CREAT) !== 0);
        if (changes) {
          if (this.calls === this.#at) {
            this.off = true;
            throw Object.assign(new Error("EIO: the power went"), { code: "EIO" });
          }
          this.calls += 1;
        }
        return (own ?? call)(...args);
      };
      const isAsync = ["read", "write", "readdir", "unlink", "fsync", "fdatasync"].includes(name);
      return [name, isAsync ? async (...args: never[]) => replacement(...args) : replacement];
    });
    return Object.fromEntries(wrapped) as unknown as DiskFs;
  }

  /** A name in the attic for the inode at a path, whose name is about to go. */
  #keep(path: string): string | null {
    const stats = fs.lstatSync(path, { throwIfNoEntry: false });
    if (!stats) return null;
    const kept = join(this.#attic, String((this.#kept += 1)));
    fs.linkSync(path, kept);
    return kept;
  }

  #renamed(paths: string[], back: () => void, made?: number): void {
    this.#names.push({ dirs: new Set(paths.map((path) => fs.statSync(dirname(path)).ino)), back, made });
  }

  readonly #own: Partial<DiskFs> = {
    bootId: () => "before the power cut",
    openSync: (path, flags, mode) => {
      const isNew = (flags & constants.O_CREAT) !== 0 && !fs.existsSync(path);
      const fd = nodeFs.openSync(path, flags, mode);
      const stable = realOf(path);
      if (isNew) this.#renamed([stable], () => fs.rmSync(stable, { force: true }));
      return fd;
    },
    writeSync: (fd, buffer, offset, length) => {
      this.#touch(fd);
      return nodeFs.writeSync(fd, buffer, offset, length);
    },
    write: (fd, buffer, offset, length) => {
      this.#touch(fd);
      return nodeFs.write(fd, buffer, offset, length);
    },
    futimesSync: (fd, atime, mtime) => {
      const written = this.#unsynced.get(fs.fstatSync(fd).ino);
      if (written) written.stamp = mtime;
      nodeFs.futimesSync(fd, atime, mtime);
    },
    renameSync: (from, to) => {
      const [source, target] = [realOf(String(from)), realOf(to)];
      const kept = this.#keep(target);
      nodeFs.renameSync(from, to);
      this.#renamed([source, target], () => {
        fs.renameSync(target, source);
        if (kept !== null) fs.linkSync(kept, target);
      });
    },
    linkSync: (from, to) => {
      const target = realOf(to);
      nodeFs.linkSync(from, to);
      this.#renamed([target], () => fs.unlinkSync(target));
    },
    unlinkSync: (path) => this.#unlink(String(path)),
    unlink: async (path) => this.#unlink(path),
    mkdirSync: (path, mode) => {
      const target = realOf(path);
      nodeFs.mkdirSync(path, mode);
      this.#renamed([target], () => fs.rmSync(target, { recursive: true }), fs.statSync(target).ino);
    },
    rmdirSync: () => {
      throw new Error("not modelled");
    },
    fsync: async (fd) => this.#sync(fd),
    fdatasync: async (fd) => this.#sync(fd),
  };

  #unlink(path: string): void {
    const target = realOf(path);
    const kept = this.#keep(target);
    nodeFs.unlinkSync(path);
    this.#renamed([target], () => {
      if (kept !== null) fs.linkSync(kept, target);
    });
  }

  #touch(fd: number): void {
    const { ino, size } = fs.fstatSync(fd);
    if (!this.#unsynced.has(ino)) {
      const kept = join(this.#attic, `w${(this.#kept += 1)}`);
      fs.linkSync(fs.readlinkSync(`/proc/self/fd/${fd}`), kept);
      this.#unsynced.set(ino, { path: kept, size });
    }
  }

  #sync(fd: number): void {
    const { ino } = fs.fstatSync(fd);
    this.#unsynced.delete(ino);
    // What is synced can be found again, so the directories that it is in are on disk as well.
    const above = new Set<number>();
    for (let at = fs.readlinkSync(`/proc/self/fd/${fd}`); at !== "/"; at = dirname(at))
      if (fs.existsSync(at)) above.add(fs.statSync(at).ino);
    for (const { dirs, made } of this.#names) {
      dirs.delete(ino);
      if (made !== undefined && above.has(made)) dirs.clear();
    }
    this.#lastSync = this.#names.length;
  }

  /** Takes back what is not on disk. */
  lose(keeping: Keeping): void {
    this.off = true;
    for (const { path, size, stamp } of this.#unsynced.values()) {
      fs.truncateSync(path, size);
      if (stamp !== undefined) fs.utimesSync(path, stamp, stamp);
    }
    for (const [at, change] of [...this.#names.entries()].toReversed()) {
      const isLost =
        keeping === "nothing"
          ? change.dirs.size > 0
          : keeping === "half" && at >= (this.#lastSync + this.#names.length) / 2;
      if (isLost) change.back();
    }
  }
}

/** A storage as a process would have it that is dead to everybody else; `other` tells one such process from another. */
export function asDead(root: string, fs: DiskFs, other = 0): DiskStorage {
  const { pid } = process;
  try {
    Object.defineProperty(process, "pid", { value: 0x3fffff - other, configurable: true });
    return createDiskStorage(root, { fs });
  } finally {
    Object.defineProperty(process, "pid", { value: pid, configurable: true });
  }
}

/** The path behind a descriptor's: the place of a name does not change in these tests. */
function realOf(path: string): string {
  const found = /^\/proc\/self\/fd\/(\d+)\/(.*)$/s.exec(path);
  return found === null ? path : join(fs.readlinkSync(`/proc/self/fd/${found[1]}`), found[2] ?? "");
}
