import { Slices } from "../slices.ts";
import { compareCodePoints, type Entry } from "../storage.ts";

/** A file or directory whose path matches. */
export interface NameHit {
  path: string;
  kind: "file" | "dir";
}

/** Most paths that are rated; when more match, those whose last name fits best come first. */
const mostRated = 2000;
/** Rating is the costly part: so many at a time. */
const ratedAtOnce = 200;

/**
 * The paths that hold every word of a query, letter by letter in order, best first: `hndsrch` finds
 * `handlers/search.ts`. Takes linear time in the length of a path, whatever is in it. When the signal is aborted what
 * was found until then is answered, as truncated.
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
  const closest: NameHit[][] = Array.from({ length: closenesses }, () => []);
  const slices = new Slices();
  let matching = 0;
  for await (const batch of batches) {
    if (options.signal.aborted) break;
    for (const { path, kind } of batch) {
      if (kind === "other") continue;
      const text = fold(path);
      if (!words.every((word) => holdsInOrder(text, word))) continue;
      matching += 1;
      const list = closest[closenessOf(text, words)];
      if (list && list.length < mostRated) list.push({ path, kind });
    }
    await slices.breathe();
  }
  const rated: NameHit[] = [];
  for (const list of closest) {
    const left = Math.min(options.limit, mostRated) - rated.length;
    if (left > 0) rated.push(...(await rate(list, query, slices)));
  }
  return {
    items: rated.slice(0, options.limit),
    truncated: options.signal.aborted || matching > Math.min(options.limit, rated.length),
  };
}

const closenesses = 5;

/** How close a path is to the words, 0 first: its last name is, begins with or holds them, the path holds them, or but their letters. */
function closenessOf(path: string, words: readonly string[]): number {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const [first = ""] = words;
  if (words.length === 1 && name.startsWith(first)) {
    const isStem = !first.includes(".") && name.lastIndexOf(".") === first.length;
    return isStem || name.length === first.length ? 0 : 1;
  }
  if (words.every((word) => name.includes(word))) return 2;
  return words.every((word) => path.includes(word)) ? 3 : 4;
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
  // Loaded by the first search: a server that is never asked for one does without.
  const { go, prepare } = await import("fuzzysort");
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
  const rankOf = ({ kind }: NameHit): number => (kind === "file" ? 0 : 1);
  return hits.toSorted(
    (a, b) =>
      rankOf(a) - rankOf(b) ||
      (scores.get(b) ?? 0) - (scores.get(a) ?? 0) ||
      a.path.length - b.path.length ||
      compareCodePoints(a.path, b.path),
  );
}
