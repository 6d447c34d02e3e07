import { go, prepare } from "fuzzysort";
import { Slices } from "../slices.ts";
import { compareCodePoints, type Entry } from "../storage.ts";

/** A file or directory whose path matches. */
export interface NameHit {
  path: string;
  kind: "file" | "dir";
}

/** Most paths that are rated; when more match, those with the words in their last name come first. */
const mostRated = 2000;
/** Rating is the costly part: so many at a time. */
const ratedAtOnce = 200;

/**
 * The paths that hold every word of a query, letter by letter in order, best first: `hndsrch` finds
 * `handlers/search.ts`. Takes linear time in the length of a path, whatever is in it.
 */
export async function searchNames(
  batches: AsyncIterable<readonly Entry[]>,
  query: string,
  options: { limit: number; caseSensitive: boolean; signal: AbortSignal },
): Promise<{ items: NameHit[]; truncated: boolean }> {
  const fold = (text: string): string => (options.caseSensitive ? text : text.toLowerCase());
  const words = fold(query)
    .split(/\s+/)
    .filter((word) => word !== "");
  const near: NameHit[] = [];
  const far: NameHit[] = [];
  const slices = new Slices();
  let matching = 0;
  for await (const batch of batches) {
    options.signal.throwIfAborted();
    for (const { path, kind } of batch) {
      if (kind === "other") continue;
      const text = fold(path);
      if (!words.every((word) => holdsInOrder(text, word))) continue;
      matching += 1;
      const lastName = text.lastIndexOf("/") + 1;
      const list = words.every((word) => text.indexOf(word, lastName) >= 0) ? near : far;
      if (list.length < mostRated) list.push({ path, kind });
    }
    await slices.breathe();
  }
  const rated = await rate([...near, ...far].slice(0, mostRated), query, slices);
  return {
    items: rated.slice(0, options.limit),
    truncated: matching > Math.min(options.limit, rated.length),
  };
}

function holdsInOrder(text: string, word: string): boolean {
  let at = 0;
  for (const character of word) {
    at = text.indexOf(character, at) + 1;
    if (at === 0) return false;
  }
  return true;
}

async function rate(hits: readonly NameHit[], query: string, slices: Slices): Promise<NameHit[]> {
  const scores = new Map<NameHit, number>();
  for (let at = 0; at < hits.length; at += ratedAtOnce) {
    const results = go(query, hits.slice(at, at + ratedAtOnce), {
      // Prepared targets are not kept in the library's cache, which has no bound.
      key: (hit) => prepare(hit.path),
      threshold: 0,
      limit: 0,
    });
    for (const { obj, score } of results) scores.set(obj, score);
    await slices.breathe();
  }
  return hits.toSorted(
    (a, b) =>
      (scores.get(b) ?? 0) - (scores.get(a) ?? 0) ||
      a.path.length - b.path.length ||
      compareCodePoints(a.path, b.path),
  );
}
