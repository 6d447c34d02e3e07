import { Slices } from "../slices.ts";
import { StorageError, type ReadableStorage } from "../storage.ts";

/** What to look for in files. */
export interface ContentQuery {
  /** The very text, within one line. */
  text: string;
  caseSensitive: boolean;
  /** Whether files that the ignore rules leave out are looked into as well. */
  ignored: boolean;
}

/** A line that holds the text. */
export interface ContentHit {
  path: string;
  /** From 1. */
  line: number;
  /** Of the first occurrence in the line, in UTF-16 units from 1. */
  column: number;
  /** The line, or of a long one the part around the occurrence. */
  text: string;
}

/** Larger files are not looked into, bytes. */
export const largestSearched: number = 1024 * 1024;
/** Files read at the same time. */
const parallelReads = 8;
/** Most characters of a line that are shown, and how many of them come before the occurrence. */
const shown = { most: 400, before: 100 } as const;

/**
 * Looks into files one by one. Binary, large and vanished files, and what is reached through a link, are
 * passed over. Ends early when the signal is aborted.
 */
export async function* searchContent(
  storage: Pick<ReadableStorage, "readFile">,
  paths: AsyncIterable<string> | Iterable<string>,
  query: ContentQuery,
  signal: AbortSignal,
): AsyncGenerator<ContentHit, void, undefined> {
  const slices = new Slices();
  const pattern = new RegExp(escaped(query.text), query.caseSensitive ? "gu" : "giu");
  for await (const { path, text } of readAhead(storage, paths, signal)) {
    if (signal.aborted) return;
    if (text !== null) yield* hitsIn(path, text, pattern);
    await slices.breathe();
  }
}

interface ReadFile {
  path: string;
  text: string | null;
}

/** The texts of files in their order, some of them read ahead. */
async function* readAhead(
  storage: Pick<ReadableStorage, "readFile">,
  paths: AsyncIterable<string> | Iterable<string>,
  signal: AbortSignal,
): AsyncGenerator<ReadFile, void, undefined> {
  const reading: Promise<ReadFile>[] = [];
  for await (const path of paths) {
    if (signal.aborted) return;
    reading.push(readText(storage, path));
    const first = reading.length >= parallelReads ? reading.shift() : undefined;
    if (first) yield await first;
  }
  for (const file of reading) yield await file;
}

async function readText(storage: Pick<ReadableStorage, "readFile">, path: string): Promise<ReadFile> {
  try {
    const file = await storage.readFile(path, { maxBytes: largestSearched });
    const passedOver = !file || file.entry.real !== undefined || file.bytes.includes(0);
    return { path, text: passedOver ? null : new TextDecoder().decode(file.bytes) };
  } catch (error) {
    if (error instanceof StorageError) return { path, text: null };
    throw error;
  }
}

function* hitsIn(path: string, text: string, pattern: RegExp): Generator<ContentHit, void, undefined> {
  let line = 1;
  let counted = 0;
  pattern.lastIndex = 0;
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    const start = text.lastIndexOf("\n", match.index - 1) + 1;
    for (
      let at = text.indexOf("\n", counted);
      at >= 0 && at < match.index;
      at = text.indexOf("\n", counted)
    ) {
      line += 1;
      counted = at + 1;
    }
    const next = text.indexOf("\n", match.index);
    const end = next < 0 ? text.length : next;
    yield {
      path,
      line,
      column: match.index - start + 1,
      text: excerpt(text.slice(start, end), match.index - start),
    };
    if (next < 0) return;
    // One hit a line; the line feed itself is where the search goes on.
    pattern.lastIndex = next;
  }
}

function excerpt(line: string, at: number): string {
  const whole = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (whole.length <= shown.most) return whole;
  const from = Math.max(0, Math.min(at - shown.before, whole.length - shown.most));
  return whole.slice(from, from + shown.most).toWellFormed();
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
