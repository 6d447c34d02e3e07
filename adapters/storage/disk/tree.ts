import { constants } from "node:fs";
import { dirname, resolve, sep } from "node:path";
import { StorageError, storagePathParts, temporaryName } from "../../../lib/storage.ts";
import { notAFile, quote } from "../refusals.ts";
import { errno, storageError } from "./fs.ts";
import type { DiskFs, Stats } from "./fs.ts";

const O_PATH = 0o10000000;
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
/** What is replaced between the look at it and the question where it is, is looked at again so often. */
const attempts = 10;
const openDirFlags: number = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK;

/** The longest paths that systems take, bytes: below a long one things can be that no path leads to. */
const longestPaths: ReadonlyMap<string, number> = new Map([
  ["linux", 4095],
  ["darwin", 1023],
]);
const longestPath: number = longestPaths.get(process.platform) ?? Number.POSITIVE_INFINITY;

/** An object that was found: where it really is (relative to the real root), and what it is. */
export interface Found {
  rel: string;
  stats: Stats;
}

/** A regular file, open for reading. */
export interface OpenFile extends Found {
  fd: number;
}

/** Where a change lands: the deepest directory that exists, what is missing below it, and the name. */
export interface Target {
  dir: string;
  missing: string[];
  name: string;
  stats: Stats | null;
}

/** How much help the operating system gives: `opath` and `proc` on Linux, neither elsewhere. */
export interface Abilities {
  opath: boolean;
  proc: boolean;
}

/** Tries once what works here; Bun and Deno differ from Node in places. */
function probeAbilities(fs: DiskFs): Abilities {
  const works = (flags: number): boolean => {
    let fd = -1;
    try {
      fd = fs.openSync("/", flags);
      const opened = fs.fstatSync(fd);
      const root = fs.lstatSync("/");
      return (
        opened.isDirectory() && opened.ino === root?.ino && fs.readlinkSync(`/proc/self/fd/${fd}`) === "/"
      );
    } catch {
      return false;
    } finally {
      if (fd >= 0) fs.closeSync(fd);
    }
  };
  const opath = works(O_PATH | O_DIRECTORY);
  return { opath, proc: opath || works(openDirFlags) };
}

/** Joins a relative directory and a name. */
export const joinPath = (dir: string, name: string): string => (dir === "" ? name : `${dir}/${name}`);

/** Splits the last name off a path that is not the root. */
export function splitPath(path: string): { dir: string; name: string } {
  const at = path.lastIndexOf("/");
  return { dir: at < 0 ? "" : path.slice(0, at), name: path.slice(at + 1) };
}

/**
 * A directory held open. All work on its children goes through the descriptor, so that nothing is gained by
 * swapping one of its parents for a link after it was checked.
 */
export class Dir {
  readonly rel: string;
  readonly fd: number;
  readonly #tree: DiskTree;
  readonly #base: string;

  constructor(tree: DiskTree, rel: string, fd: number) {
    this.#tree = tree;
    this.rel = rel;
    this.fd = fd;
    this.#base = tree.abilities.proc ? `/proc/self/fd/${fd}` : tree.absolute(rel);
  }

  /** The directory itself, for `readdir`. */
  get path(): string {
    return this.#base;
  }

  /** The path to give to the operating system for a child. */
  at(name: string): string {
    return `${this.#base}/${name}`;
  }

  /** A child as it is now, links not followed. */
  child(name: string): Stats | null {
    return this.#tree.fs.lstatSync(this.at(name));
  }

  /** Throws when the directory is no longer where it was opened: somebody moved it, perhaps out of the root. */
  verify(): void {
    this.#tree.verifyDir(this.fd, this.rel);
  }

  close(): void {
    this.#tree.fs.closeSync(this.fd);
  }
}

/** Opens things below a root and proves of each open thing that it lies there. */
export class DiskTree {
  readonly location: string;
  readonly fs: DiskFs;
  readonly abilities: Abilities;
  /** How many names there were when somebody last looked through everything; 0 when nobody did. */
  names = 0;
  /** How many processes of their own help walks through it now. */
  helpers = 0;
  #real: string | null = null;

  constructor(root: string, fs: DiskFs, procfs: boolean) {
    this.location = resolve(root);
    this.fs = fs;
    this.abilities = procfs ? probeAbilities(fs) : { opath: false, proc: false };
  }

  /** The root with all links resolved, or null while there is none. Looked up again until it exists. */
  realRoot(): string | null {
    if (this.#real !== null) return this.#real;
    try {
      const real = this.fs.realpathSync(this.location);
      // Such a name may be an undecodable one, and then comparing strings would prove nothing.
      if (real.includes("\uFFFD")) throw new StorageError("io", "The name of the root is not valid UTF-8.");
      if (this.fs.lstatSync(real)?.isDirectory() !== true) {
        throw new StorageError("not_a_directory", `${quote(this.location)} is not a directory.`);
      }
      this.#real = real;
      return real;
    } catch (error) {
      if (errno(error) === "ENOENT") return null;
      throw this.refusal(error, "");
    }
  }

  /** What a system call threw, as a StorageError: of the root itself it tells where that is, which no relative path does. */
  refusal(error: unknown, path: string): StorageError {
    return storageError(error, path, path === "" ? this.location : path);
  }

  /** Creates the root when it is missing, so that it survives a power cut. */
  async ensureRoot(mode?: number): Promise<void> {
    const real = this.realRoot();
    if (real !== null && this.fs.lstatSync(real)) return;
    const root = real ?? this.location;
    const missing: string[] = [];
    for (let at = root; at !== dirname(at) && this.fs.lstatSync(at) === null; at = dirname(at))
      missing.unshift(at);
    for (const dir of missing) this.#makeDir(dir, mode);
    // Each is a new name in the one above.
    for (const dir of missing) await this.#syncAbove(dirname(dir));
    if (this.realRoot() === null) throw new StorageError("io", `${quote(this.location)} cannot be created.`);
  }

  /**
   * Makes one directory at a time, since Node's own `recursive` never returns where a file system (`/proc`) says of a
   * new name that it does not exist.
   */
  #makeDir(dir: string, mode?: number): void {
    try {
      this.fs.mkdirSync(dir, mode);
    } catch (error) {
      const code = errno(error);
      // Somebody else was faster.
      if (code === "EEXIST") return;
      if (code === "ENOENT")
        throw new StorageError(
          "io",
          `${quote(this.location)} cannot be created: no directory can be made there.`,
          {},
          error,
        );
      throw this.refusal(error, "");
    }
  }

  async #syncAbove(dir: string): Promise<void> {
    let fd = -1;
    try {
      fd = this.fs.openSync(dir, openDirFlags);
      await this.fs.fsync(fd);
    } catch {
      // What lies above the root may not be ours to read, and the write itself will tell of a broken disk.
    } finally {
      if (fd >= 0) this.fs.closeSync(fd);
    }
  }

  /** The absolute real path of a real relative one. Only for use with a check after opening. */
  absolute(rel: string): string {
    const root = this.#real ?? this.location;
    if (rel === "") return root;
    return root.endsWith(sep) ? root + rel : `${root}${sep}${rel}`;
  }

  /**
   * How long a name in a directory may be, bytes, for a path to lead to it: `shown` is the one that callers use, which
   * may go through links.
   */
  roomIn(rel: string, shown: string): number {
    const real = Buffer.byteLength(this.absolute(rel));
    const longest = rel === shown ? real : Math.max(real, Buffer.byteLength(this.absolute(shown)));
    return longestPath - longest - 1;
  }

  /** The path below the root of an absolute real path; throws `outside` when it is not below. */
  #below(real: string, path: string): string {
    const root = this.#real ?? this.location;
    if (real === root) return "";
    const prefix = root.endsWith(sep) ? root : root + sep;
    if (!real.startsWith(prefix)) throw outside(path);
    const rel = real.slice(prefix.length);
    return sep === "/" ? rel : rel.replaceAll(sep, "/");
  }

  /** Where an open descriptor really is. */
  #realOf(fd: number, opened: string): string {
    return this.abilities.proc ? this.fs.readlinkSync(`/proc/self/fd/${fd}`) : this.fs.realpathSync(opened);
  }

  /** Follows links to whatever is at a path and hands it over, proven to be inside; null when there is nothing. */
  #find<T>(path: string, use: (found: Found, fd: number | null) => T): T | null {
    if (this.realRoot() === null) return null;
    const absolute = this.absolute(path);
    let fd: number | null = null;
    try {
      if (!this.abilities.opath) {
        const real = this.fs.realpathSync(absolute);
        const rel = visible(this.#below(real, path), path);
        const stats = this.fs.lstatSync(real);
        if (stats?.isSymbolicLink()) throw outside(path);
        return stats === null ? null : use({ rel, stats }, null);
      }
      for (let attempt = 0; attempt < attempts; attempt += 1) {
        fd = this.fs.openSync(absolute, O_PATH);
        const stats = this.fs.fstatSync(fd);
        const real = this.#realOf(fd, absolute);
        if (!this.#isMarked(real, stats))
          return use({ rel: visible(this.#below(real, path), path), stats }, fd);
        this.fs.closeSync(fd);
        fd = null;
      }
      throw new Replaced(path);
    } catch (error) {
      const code = errno(error);
      if (code === "ENOENT" || code === "ENOTDIR") return null;
      throw this.refusal(error, path);
    } finally {
      if (fd !== null) this.fs.closeSync(fd);
    }
  }

  /** Whether the system marked the path of what was opened as removed: the mark is no part of any name. */
  #isMarked(real: string, stats: Stats): boolean {
    return real.endsWith(" (deleted)") && !same(stats, this.fs.lstatSync(real));
  }

  /** The deepest existing ancestor that is at most `max` parts deep, and the child that the path names in it. */
  #deepest(parts: string[], max: number): { depth: number; found: Found; child: Stats | null } | null {
    const probe = (depth: number) =>
      this.#find(parts.slice(0, depth).join("/"), (found, fd) => {
        const name = parts[depth];
        const within = name !== undefined && found.stats.isDirectory();
        const child = within ? this.fs.lstatSync(this.#childPath(found.rel, fd, name)) : null;
        return { depth, found, child };
      });
    let best = probe(max);
    // Halving, since a hostile path may be thousands of parts deep.
    for (let low = 0, high = max - 1; best === null && low <= high;) {
      const middle = (low + high + 1) >> 1;
      const hit = probe(middle);
      if (hit === null) high = middle - 1;
      else if (middle === high) best = hit;
      else low = middle;
    }
    return best;
  }

  #childPath(rel: string, fd: number | null, name: string): string {
    return fd === null ? this.absolute(joinPath(rel, name)) : `/proc/self/fd/${fd}/${name}`;
  }

  /** Nothing is at the path; still refuses when a link on the way leads out, so that absence there is not told either. */
  #absent(path: string): void {
    const parts = storagePathParts(path);
    if (parts.length === 0) return;
    const deepest = this.#deepest(parts, parts.length - 1);
    if (deepest?.child?.isSymbolicLink() !== true) return;
    const absolute = this.absolute(joinPath(deepest.found.rel, parts[deepest.depth] ?? ""));
    try {
      this.#below(resolve(absolute, "..", this.fs.readlinkSync(absolute)), path);
    } catch (error) {
      if (errno(error) === "") throw error;
    }
  }

  /** What is at a path, links followed; null when absent. */
  look(path: string): Found | null {
    const found = this.#find(path, (found) => found);
    if (found === null) this.#absent(path);
    return found;
  }

  /** Opens a regular file for reading; null when absent. Never opens anything else. */
  openFile(path: string): OpenFile | null {
    const open = this.#find<OpenFile>(path, (found, handle) => {
      if (found.stats.isDirectory()) throw new StorageError("is_directory", `${quote(path)} is a directory.`);
      if (!found.stats.isFile()) throw notAFile(path);
      if (handle !== null) {
        const fd = this.fs.openSync(`/proc/self/fd/${handle}`, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        return { ...found, fd };
      }
      return { ...found, fd: this.#openChecked(found, path) };
    });
    if (open === null) this.#absent(path);
    return open;
  }

  /** The portable way: open what was just looked at, then prove that it is still the same and still there. */
  #openChecked(found: Found, path: string): number {
    const absolute = this.absolute(found.rel);
    const fd = this.fs.openSync(absolute, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    try {
      const stats = this.fs.fstatSync(fd);
      const rel = this.#below(this.#realOf(fd, absolute), path);
      if (!stats.isFile() || rel !== found.rel || !same(stats, this.fs.lstatSync(absolute)))
        throw new Replaced(path);
      return fd;
    } catch (error) {
      this.fs.closeSync(fd);
      throw error;
    }
  }

  /** Opens the directory at a real relative path; throws `outside` when a link got in the way. */
  openDir(rel: string, readable = false): Dir {
    const absolute = this.absolute(rel);
    let fd = -1;
    try {
      if (this.abilities.opath && !readable)
        fd = this.fs.openSync(absolute, O_PATH | O_DIRECTORY | O_NOFOLLOW);
      else fd = this.fs.openSync(absolute, openDirFlags);
      this.verifyDir(fd, rel);
      return new Dir(this, rel, fd);
    } catch (error) {
      if (fd >= 0) this.fs.closeSync(fd);
      throw this.refusal(error, rel);
    }
  }

  /** Throws unless the open directory is at its real path now. */
  verifyDir(fd: number, rel: string): void {
    const absolute = this.absolute(rel);
    if (this.#realOf(fd, absolute) !== absolute) throw outside(rel);
    if (!this.abilities.proc && !same(this.fs.fstatSync(fd), this.fs.lstatSync(absolute)))
      throw new Replaced(rel);
  }

  /**
   * Where a change of `path` lands. `follow` writes through a link that stays inside; otherwise a last name
   * that is a link means the link itself, which must stay inside all the same.
   */
  target(path: string, follow: boolean): Target {
    const parts = storagePathParts(path);
    const last = parts.length - 1;
    const name = parts[last] ?? "";
    const deepest = this.#deepest(parts, last);
    if (deepest === null) return { dir: "", missing: parts.slice(0, last), name, stats: null };
    const { depth, found, child } = deepest;
    if (!found.stats.isDirectory()) {
      throw new StorageError(
        "not_a_directory",
        `${quote(path)} goes through something that is not a directory.`,
      );
    }
    if (depth < last && child !== null) throw nowhere(path);
    const target = { dir: found.rel, missing: parts.slice(depth, last), name, stats: child };
    // What is there already, unseen, may at least be taken away.
    if ((follow || child === null) && !fits(name, this.#roomFor(path, target))) throw tooLong(path);
    return child?.isSymbolicLink() === true ? this.#linkTarget(path, target, follow) : target;
  }

  #roomFor(path: string, { dir, missing }: Target): number {
    return this.roomIn([dir, ...missing].filter(Boolean).join("/"), splitPath(path).dir);
  }

  #linkTarget(path: string, link: Target, follow: boolean): Target {
    const found = this.look(path);
    if (!follow) return link;
    if (found === null) throw nowhere(path);
    if (found.rel === "") throw new StorageError("is_directory", `${quote(path)} is a link to the root.`);
    return { ...splitPath(found.rel), missing: [], stats: found.stats };
  }
}

/** Whether a name is at most so many bytes long; most are found to be without counting them. */
export const fits = (name: string, room: number): boolean =>
  name.length * 3 <= room || Buffer.byteLength(name) <= room;

/** What was opened is not what has the name now: it was replaced meanwhile, or a link got in the way. */
export class Replaced extends StorageError {
  constructor(path: string) {
    super("outside", `${quote(path)} was replaced while it was being opened.`, { path });
  }
}

/** The same inode. */
function same(a: Stats, b: Stats | null): boolean {
  return b !== null && a.ino === b.ino && a.dev === b.dev;
}

function tooLong(path: string): StorageError {
  return new StorageError("invalid_path", `${quote(path)} is too long for this file system.`, { path });
}

function outside(path: string): StorageError {
  return new StorageError("outside", `${quote(path)} leads out of the root.`, { path });
}

function nowhere(path: string): StorageError {
  return new StorageError("not_found", `${quote(path)} is or goes through a link to nothing.`, { path });
}

/** A link must not be a way to our temporaries. */
function visible(rel: string, path: string): string {
  if (rel.includes(".owtmp-") && rel.split("/").some((part) => temporaryName.test(part))) throw outside(path);
  return rel;
}
