import type { Entry } from "../../../lib/storage.ts";
import type { Stats } from "./fs.ts";

const doubles = new Float64Array(3);
const words = new Uint32Array(doubles.buffer);

/**
 * The revision of a file: 53 bits mixed from the time of its last write, the time of its last change of any
 * kind and its inode, then its size. The inode and our unique write times tell our own replacements apart;
 * the change time, which no program can set, tells apart what others write in place.
 */
export function revisionOf(stats: Stats): string {
  return revisionOfFacts(stats, stats.isDirectory());
}

/** What of a stat result makes a revision. */
export type Facts = Pick<Stats, "size" | "mtimeMs" | "ctimeMs" | "ino">;

function revisionOfFacts(facts: Facts, isDir: boolean): string {
  doubles[0] = facts.mtimeMs;
  doubles[1] = facts.ctimeMs;
  doubles[2] = facts.ino;
  let a = 0x9e3779b9;
  let b = 0x85ebca6b;
  for (const word of words) {
    a = Math.imul(a ^ word, 0x85ebca77);
    b = Math.imul(b ^ word, 0xc2b2ae3d);
    a ^= a >>> 15;
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ (b >>> 16), 0x27d4eb2f);
  b = Math.imul(b ^ (a >>> 15), 0x165667b1);
  const digits = ((a ^ (a >>> 13)) >>> 0) + ((b ^ (b >>> 16)) & 0x1fffff) * 2 ** 32;
  return `${digits}:${isDir ? 0 : facts.size}`;
}

/** The entry of a file or directory that another process looked at. */
export function entryOfFacts(path: string, isDir: boolean, facts: Facts): Entry {
  return {
    path,
    kind: isDir ? "dir" : "file",
    size: isDir ? 0 : facts.size,
    mtimeMs: facts.mtimeMs,
    revision: revisionOfFacts(facts, isDir),
  };
}

/** The entry that a stat result describes. */
export function entryOf(path: string, stats: Stats): Entry {
  const kind = stats.isFile() ? "file" : stats.isDirectory() ? "dir" : "other";
  return {
    path,
    kind,
    size: kind === "file" ? stats.size : 0,
    mtimeMs: stats.mtimeMs,
    revision: revisionOf(stats),
  };
}

/**
 * What makes a file the same file across renames and hard links, which touch its change time: inode, write
 * time and size. A directory keeps only its inode, since its times move with its children.
 */
export function printOf(stats: Stats): string {
  return stats.isDirectory() ? `d${stats.ino}` : `${stats.ino}:${stats.mtimeMs}:${stats.size}`;
}

/**
 * Whether a file is the one of a print, by inode and write time. After a power cut the size may be another:
 * names and times are often on disk before the bytes are.
 */
export function isWriteOf(print: string, stats: Stats): boolean {
  return stats.isFile() && print.startsWith(`${stats.ino}:${stats.mtimeMs}:`);
}

/** Older kernels tick file times every 4 to 10 ms; twice that is safe. */
export const tickMs = 20;

/** Gives every file that this storage writes a write time of its own, strictly rising, in microseconds. */
export class WriteClock {
  #last = 0;
  readonly #recent = new Map<number, number>();

  /** The next write time, in seconds as `futimes` takes it. */
  next(): number {
    const fraction = Math.floor(performance.now() * 1000) % 1000;
    const micros = Math.max(this.#last + 1, Date.now() * 1000 + fraction);
    this.#last = micros;
    // Half a microsecond more, so that cutting off the fraction cannot land on the one before.
    return (micros + 0.5) / 1e6;
  }

  /** Remembers what the file system made of a stamp. */
  stamped(mtimeMs: number): void {
    const now = Date.now();
    this.#recent.set(mtimeMs, now);
    for (const [stamp, at] of this.#recent) {
      if (now - at < 1000 && this.#recent.size < 10_000) break;
      this.#recent.delete(stamp);
    }
  }

  /**
   * Milliseconds to wait until a later write in place is certain to change the revision (git calls such a
   * file "racily clean"): another program may write again within the tick that stamped this change.
   */
  settles(stats: Stats): number {
    const age = Date.now() - stats.ctimeMs;
    if (age >= tickMs || age < -tickMs || this.#recent.has(stats.mtimeMs)) return 0;
    return Math.ceil(tickMs - age);
  }
}
