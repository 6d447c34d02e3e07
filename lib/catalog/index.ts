import {
  chunksOf,
  copyRow,
  digitsOf,
  everything,
  excludedFlags,
  ignoredFlag,
  isDirFlag,
  judged,
  keptFlag,
  openVerdicts,
  outdated,
  selectionIndex,
  tally,
  type Chunk,
  type Rows,
  type Selection,
  type Verdict,
} from "./chunks.ts";
import { compareCodePoints, type Entry } from "../storage.ts";

const emptyChunk: Chunk = { paths: [], facts: new Float64Array(), flags: new Uint8Array(), tallies: null };

/**
 * All files and directories of a workspace in code-point order of their paths. Entries lie in chunks of some
 * hundred, so that inserting costs a chunk and counting costs the number of chunks.
 */
export class CatalogIndex {
  #chunks: Chunk[] = [];
  /** Entries before each chunk, by selection; null when something changed since. */
  #sums: (Float64Array | null)[] = [null, null, null, null];
  /** Revisions that are not digits and size. */
  readonly #oddRevisions = new Map<string, string>();
  readonly #ignoreFiles = new Set<string>();
  /** An ignore file came, went or changed: what was judged by it no longer counts. */
  #verdictsStale = false;
  #rulesAge = 0;
  #turned = 0;
  /** Only without surrogates does the order of code units equal that of code points. */
  #plain = true;

  /** How many entries there are. */
  get size(): number {
    return this.countBefore(Number.POSITIVE_INFINITY, everything);
  }

  /** Paths of the `.gitignore` files. */
  get ignoreFiles(): ReadonlySet<string> {
    return this.#ignoreFiles;
  }

  /** The entry at a path. */
  get(path: string): Entry | undefined {
    const at = this.#find(path);
    return at ? this.#entry(at.chunk, at.offset) : undefined;
  }

  /** Whether the path is a directory here. The root is one. */
  isDir(path: string): boolean {
    if (path === "") return true;
    const at = this.#find(path);
    return at !== null && ((at.chunk.flags[at.offset] ?? 0) & isDirFlag) !== 0;
  }

  /** Adds entries, or replaces those of the same path. */
  put(entries: readonly Entry[]): void {
    if (this.#plain && entries.some((entry) => hasSurrogate(entry.path))) this.#plain = false;
    const compare = this.#plain ? compareUnits : compareCodePoints;
    const isBefore = (path: string, limit: string | undefined): boolean =>
      limit === undefined || compare(path, limit) < 0;
    const sorted = entries.length > 1 ? entries.toSorted((a, b) => compare(a.path, b.path)) : entries;
    for (let from = 0; from < sorted.length;) {
      const first = sorted[from];
      if (!first) break;
      const index = this.#chunkIndexOf(first.path);
      const limit = this.#chunks[index + 1]?.paths[0];
      let to = from + 1;
      while (to < sorted.length && isBefore(sorted[to]?.path ?? "", limit)) to += 1;
      this.#merge(index, sorted, from, to);
      from = to;
    }
    this.#changed();
  }

  /** Takes away a path and everything below it. */
  remove(path: string): void {
    this.#removeRange(path, `${path}\0`);
    this.#removeRange(`${path}/`, `${path}0`);
  }

  /** Gives a path, and everything below it, another name; what was at the new one is gone. */
  move(from: string, to: string): void {
    const moved: Entry[] = [];
    const self = this.get(from);
    if (self) moved.push({ ...self, path: to });
    for (const entry of this.below(from)) moved.push({ ...entry, path: to + entry.path.slice(from.length) });
    this.remove(from);
    this.remove(to);
    this.put(moved);
  }

  /** The entries below a directory (`""`: all), in order. Nothing may be changed while this runs. */
  *below(dir: string): Generator<Entry> {
    const [from, to] = dir === "" ? [0, this.size] : [this.rank(`${dir}/`), this.rank(`${dir}0`)];
    yield* this.slice(from, to);
  }

  /** The direct children of a directory, in order; only those whose names come after one, and up to another. */
  children(dir: string, range: { after?: string | undefined; upTo?: string | undefined } = {}): Entry[] {
    const prefix = dir === "" ? "" : `${dir}/`;
    const end = dir === "" ? this.size : this.rank(`${dir}0`);
    const { after, upTo } = range;
    const isPast = upTo === undefined ? null : this.#comparing(prefix + upTo);
    const found: Entry[] = [];
    for (let at = this.rank(after === undefined ? prefix : `${prefix}${after}\0`); at < end;) {
      const place = this.#locate(at);
      const path = place?.chunk.paths[place.offset];
      if (!place || path === undefined || (isPast && isPast(path, prefix + upTo) > 0)) break;
      const slash = path.indexOf("/", prefix.length);
      if (slash < 0) {
        found.push(this.#entry(place.chunk, place.offset));
        at += 1;
      } else at = this.rank(`${path.slice(0, slash)}0`);
    }
    return found;
  }

  /** How many paths come before this one. */
  rank(path: string): number {
    if (this.#chunks.length === 0) return 0;
    const index = this.#chunkIndexOf(path);
    const chunk = this.#chunks[index];
    return chunk ? (this.#sumsOf(everything)[index] ?? 0) + this.#lowerBound(chunk.paths, path) : 0;
  }

  /** How many of the first `rank` entries are selected. */
  countBefore(rank: number, selection: Selection): number {
    const sums = this.#sumsOf(selection);
    const place = this.#locate(rank);
    if (!place) return sums[this.#chunks.length] ?? 0;
    let count = sums[place.index] ?? 0;
    if (selection.dirs && selection.ignored) return count + place.offset;
    const excluded = excludedFlags(selection);
    for (let i = 0; i < place.offset; i += 1) if (((place.chunk.flags[i] ?? 0) & excluded) === 0) count += 1;
    return count;
  }

  /** The selected entries of these ranks, in order. Nothing may be changed while this runs. */
  *slice(from: number, to: number, selection: Selection = everything): Generator<Entry> {
    const excluded = excludedFlags(selection);
    const place = this.#locate(from);
    let left = to - from;
    for (
      let index = place?.index ?? this.#chunks.length, offset = place?.offset ?? 0;
      left > 0;
      index += 1, offset = 0
    ) {
      const chunk = this.#chunks[index];
      if (!chunk) return;
      for (; offset < chunk.paths.length && left > 0; offset += 1, left -= 1) {
        if (((chunk.flags[offset] ?? 0) & excluded) === 0) yield this.#entry(chunk, offset);
      }
    }
  }

  /** Whether an entry is known as this very file or directory: same kind, size, time and revision. */
  holds(entry: Entry): boolean {
    const at = this.#find(entry.path);
    if (!at) return false;
    const base = at.offset * 3;
    const { facts } = at.chunk;
    const digits = digitsOf(entry);
    return (
      facts[base] === entry.size &&
      facts[base + 1] === entry.mtimeMs &&
      (digits === null
        ? this.#oddRevisions.get(entry.path) === entry.revision
        : facts[base + 2] === digits) &&
      ((at.chunk.flags[at.offset] ?? 0) & isDirFlag) === (entry.kind === "dir" ? isDirFlag : 0)
    );
  }

  /** Rises with each ignore file that comes, goes or changes. */
  get rulesAge(): number {
    return this.#rulesAge;
  }

  /** How many verdicts have turned into the other one so far: entries that the ignore rules newly let in or leave out. */
  get turned(): number {
    return this.#turned;
  }

  /** Whether every entry has a verdict of the ignore rules that still counts. */
  get judged(): boolean {
    return !this.#verdictsStale && this.#chunks.every((chunk) => openVerdicts(chunk) === 0);
  }

  /** What the ignore rules said of an entry; undefined when there is none or nothing was said. */
  verdictOf(path: string): Verdict | undefined {
    const at = this.#find(path);
    const flags = at?.chunk.flags[at.offset] ?? 0;
    return (flags & ignoredFlag) !== 0 ? "ignored" : (flags & keptFlag) !== 0 ? "kept" : undefined;
  }

  /**
   * Asks for a verdict on each entry that has none, in order, for `milliseconds` or until one was given. Answers false
   * when there may be entries left.
   */
  judge(verdict: (path: string, isDir: boolean) => Verdict, milliseconds: number): boolean {
    const end = performance.now() + milliseconds;
    if (this.#verdictsStale) this.#clearVerdicts();
    for (const chunk of this.#chunks) {
      if (openVerdicts(chunk) === 0) continue;
      chunk.tallies = null;
      this.#changed();
      for (let i = 0; i < chunk.flags.length; i += 1) {
        const flags = chunk.flags[i] ?? 0;
        if ((flags & (keptFlag | ignoredFlag)) !== 0) continue;
        const now = judged(flags, verdict(chunk.paths[i] ?? "", (flags & isDirFlag) !== 0));
        chunk.flags[i] = now.flags;
        if (now.turned) this.#turned += 1;
        // After each: with as many rules as an ignore file may hold, one verdict takes long enough.
        if (performance.now() > end) return false;
      }
    }
    return true;
  }

  #outdateVerdicts(): void {
    this.#verdictsStale = true;
    this.#rulesAge += 1;
  }

  #clearVerdicts(): void {
    for (const chunk of this.#chunks) {
      for (let i = 0; i < chunk.flags.length; i += 1) chunk.flags[i] = outdated(chunk.flags[i] ?? 0);
      chunk.tallies = null;
    }
    this.#verdictsStale = false;
    this.#changed();
  }

  #changed(): void {
    this.#sums.fill(null);
  }

  /** How paths of the index are compared with this one. */
  #comparing(path: string): (a: string, b: string) => number {
    return this.#plain && !hasSurrogate(path) ? compareUnits : compareCodePoints;
  }

  /** The chunk that holds a path or would. */
  #chunkIndexOf(path: string): number {
    let low = 0;
    let high = this.#chunks.length;
    const compare = this.#comparing(path);
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (compare(this.#chunks[middle]?.paths[0] ?? "", path) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }

  #lowerBound(paths: readonly string[], path: string): number {
    let low = 0;
    let high = paths.length;
    const compare = this.#comparing(path);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(paths[middle] ?? "", path) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #find(path: string): { chunk: Chunk; offset: number } | null {
    const chunk = this.#chunks[this.#chunkIndexOf(path)];
    if (!chunk) return null;
    const offset = this.#lowerBound(chunk.paths, path);
    return chunk.paths[offset] === path ? { chunk, offset } : null;
  }

  #locate(rank: number): { index: number; chunk: Chunk; offset: number } | null {
    const sums = this.#sumsOf(everything);
    if (rank >= (sums[this.#chunks.length] ?? 0)) return null;
    let low = 0;
    let high = this.#chunks.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] ?? 0) <= rank) low = middle;
      else high = middle;
    }
    const chunk = this.#chunks[low];
    return chunk ? { index: low, chunk, offset: rank - (sums[low] ?? 0) } : null;
  }

  #sumsOf(selection: Selection): Float64Array {
    const which = selectionIndex(selection);
    const known = this.#sums[which];
    if (known) return known;
    const sums = new Float64Array(this.#chunks.length + 1);
    for (const [index, chunk] of this.#chunks.entries()) {
      sums[index + 1] = (sums[index] ?? 0) + ((chunk.tallies ??= tally(chunk.flags))[which] ?? 0);
    }
    this.#sums[which] = sums;
    return sums;
  }

  #entry(chunk: Chunk, offset: number): Entry {
    const path = chunk.paths[offset] ?? "";
    const base = offset * 3;
    const size = chunk.facts[base] ?? 0;
    return {
      path,
      kind: ((chunk.flags[offset] ?? 0) & isDirFlag) === 0 ? "file" : "dir",
      size,
      mtimeMs: chunk.facts[base + 1] ?? 0,
      revision: this.#oddRevisions.get(path) ?? `${chunk.facts[base + 2]}:${size}`,
    };
  }

  /** Merges sorted entries, all of which belong into the range of one chunk. */
  #merge(index: number, entries: readonly Entry[], from: number, to: number): void {
    const chunk = this.#chunks[index] ?? emptyChunk;
    const old = chunk.paths;
    const rows: Rows = { paths: [], facts: [], flags: [] };
    const compare = this.#plain ? compareUnits : compareCodePoints;
    let at = 0;
    for (let i = from; i < to; i += 1) {
      const entry = entries[i];
      if (!entry) continue;
      for (; at < old.length && compare(old[at] ?? "", entry.path) < 0; at += 1) copyRow(chunk, at, rows);
      // What replaces an entry of its kind keeps the verdict of the ignore rules, which look at names alone.
      const replaced = old[at] === entry.path ? (chunk.flags[at++] ?? 0) : 0;
      this.#addRow(entry, replaced, rows);
    }
    for (; at < old.length; at += 1) copyRow(chunk, at, rows);
    this.#chunks.splice(index, chunk === emptyChunk ? 0 : 1, ...chunksOf(rows));
  }

  #addRow(entry: Entry, replaced: number, rows: Rows): void {
    const { path } = entry;
    const isDir = entry.kind === "dir" ? isDirFlag : 0;
    const digits = digitsOf(entry);
    if (digits === null) this.#oddRevisions.set(path, entry.revision);
    else if (this.#oddRevisions.size > 0) this.#oddRevisions.delete(path);
    if (isIgnoreFile(path)) {
      this.#ignoreFiles.add(path);
      this.#outdateVerdicts();
    }
    rows.paths.push(path);
    rows.facts.push(entry.size, entry.mtimeMs, digits ?? 0);
    rows.flags.push((replaced & isDirFlag) === isDir ? replaced | isDir : isDir);
  }

  #removeRange(from: string, to: string): void {
    let index = this.#chunkIndexOf(from);
    for (let chunk = this.#chunks[index]; chunk; chunk = this.#chunks[index]) {
      const first = chunk.paths[0] ?? "";
      if (this.#comparing(to)(first, to) >= 0) break;
      const start = this.#lowerBound(chunk.paths, from);
      const stop = this.#lowerBound(chunk.paths, to);
      if (stop > start) {
        this.#forget(chunk.paths, start, stop);
        const rows: Rows = { paths: [], facts: [], flags: [] };
        for (let i = 0; i < chunk.paths.length; i += 1) if (i < start || i >= stop) copyRow(chunk, i, rows);
        const left = chunksOf(rows);
        this.#chunks.splice(index, 1, ...left);
        this.#changed();
        index += left.length;
      } else index += 1;
    }
  }

  #forget(paths: readonly string[], start: number, stop: number): void {
    if (this.#oddRevisions.size === 0 && this.#ignoreFiles.size === 0) return;
    for (let i = start; i < stop; i += 1) {
      const path = paths[i] ?? "";
      this.#oddRevisions.delete(path);
      if (this.#ignoreFiles.delete(path)) this.#outdateVerdicts();
    }
  }
}

function isIgnoreFile(path: string): boolean {
  return path.endsWith(".gitignore") && (path.length === 10 || path.at(-11) === "/");
}

function compareUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function hasSurrogate(text: string): boolean {
  return /[\ud800-\udfff]/.test(text);
}
