import type { Entry } from "../storage.ts";

/** A chunk is split when it grows beyond this many entries, into pieces of half of it. */
const largestChunk = 1024;
const pieceSize = largestChunk / 2;

/** Bits of an entry's flags; neither kept nor ignored: nobody asked the ignore rules yet. */
export const isDirFlag = 1;
export const keptFlag = 2;
export const ignoredFlag = 4;
const verdictFlags = keptFlag | ignoredFlag;
/** An outdated verdict is kept this many bits higher, to be compared with the next one. */
const outdatedBits = 2;

/** Which entries count: everything, or without directories, or without what the ignore rules leave out. */
export interface Selection {
  dirs: boolean;
  ignored: boolean;
}

/** What the ignore rules say of a path. */
export type Verdict = "kept" | "ignored";

/** Neighbouring entries in columns: a path costs a string, the rest 25 bytes. */
export interface Chunk {
  paths: string[];
  /** Size, mtime and the digits of the revision, three numbers an entry. */
  facts: Float64Array;
  flags: Uint8Array;
  /** Matching entries by selection, see {@link selectionIndex}; null when flags changed since. */
  tallies: readonly number[] | null;
}

/** The columns of entries on their way into chunks. */
export interface Rows {
  paths: string[];
  facts: number[];
  flags: number[];
}

/** The place in the tallies where entries without a verdict are counted. */
const unjudged = 4;

/** Every entry. */
export const everything: Selection = { dirs: true, ignored: true };

/** Flags without a verdict that counts; the last one there was is remembered. */
export function outdated(flags: number): number {
  const verdict = flags & verdictFlags;
  return verdict === 0 ? flags : (flags & isDirFlag) | (verdict << outdatedBits);
}

/** Flags with a verdict, and whether the last one was another. */
export function judged(flags: number, verdict: Verdict): { flags: number; turned: boolean } {
  const flag = verdict === "kept" ? keptFlag : ignoredFlag;
  const last = (flags >> outdatedBits) & verdictFlags;
  return { flags: (flags & isDirFlag) | flag, turned: last !== 0 && last !== flag };
}

/** The place of a selection in the tallies of a chunk. */
export function selectionIndex(selection: Selection): number {
  return (selection.dirs ? 0 : 1) + (selection.ignored ? 0 : 2);
}

/** How many entries of a chunk have no verdict of the ignore rules. */
export function openVerdicts(chunk: Chunk): number {
  return (chunk.tallies ??= tally(chunk.flags))[unjudged] ?? 0;
}

/** The flags that keep an entry out of a selection. */
export function excludedFlags(selection: Selection): number {
  return (selection.dirs ? 0 : isDirFlag) | (selection.ignored ? 0 : ignoredFlag);
}

/** Counts the entries of a chunk by selection, and those without a verdict. */
export function tally(flags: Uint8Array): number[] {
  let files = 0;
  let kept = 0;
  let keptFiles = 0;
  let open = 0;
  for (const flag of flags) {
    const file = (flag & isDirFlag) === 0 ? 1 : 0;
    const stays = (flag & ignoredFlag) === 0 ? 1 : 0;
    files += file;
    kept += stays;
    keptFiles += file & stays;
    if ((flag & (keptFlag | ignoredFlag)) === 0) open += 1;
  }
  return [flags.length, files, kept, keptFiles, open];
}

/** Adds an entry of a chunk to rows. */
export function copyRow(chunk: Chunk, at: number, rows: Rows): void {
  const base = at * 3;
  rows.paths.push(chunk.paths[at] ?? "");
  rows.facts.push(chunk.facts[base] ?? 0, chunk.facts[base + 1] ?? 0, chunk.facts[base + 2] ?? 0);
  rows.flags.push(chunk.flags[at] ?? 0);
}

/** Rows in chunks of good size. */
export function chunksOf({ paths, facts, flags }: Rows): Chunk[] {
  if (paths.length === 0) return [];
  const size = paths.length <= largestChunk ? paths.length : pieceSize;
  const chunks: Chunk[] = [];
  for (let at = 0; at < paths.length; at += size) {
    chunks.push({
      paths: paths.slice(at, at + size),
      facts: Float64Array.from(facts.slice(at * 3, (at + size) * 3)),
      flags: Uint8Array.from(flags.slice(at, at + size)),
      tallies: null,
    });
  }
  return chunks;
}

/** The digits before the size as an exact number, or null when the revision is no such thing. */
export function digitsOf({ revision, size }: Entry): number | null {
  const colon = revision.indexOf(":");
  if (colon < 1 || colon > 16 || (colon > 1 && revision.charCodeAt(0) === 48)) return null;
  let digits = 0;
  for (let i = 0; i < colon; i += 1) {
    const digit = revision.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return null;
    digits = digits * 10 + digit;
  }
  return digits <= Number.MAX_SAFE_INTEGER && revision.slice(colon + 1) === String(size) ? digits : null;
}
