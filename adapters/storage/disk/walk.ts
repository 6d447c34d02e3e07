import { StorageError, compareCodePoints, storagePathParts, temporaryName } from "../../../lib/storage.ts";
import type { Entry } from "../../../lib/storage.ts";
import { breathe, errno, isExhausted, storageError } from "./fs.ts";
import { entryOf } from "./revision.ts";
import { batchSize, canUseHelper, WalkHelpers, type Pending } from "./walk-helper.ts";
import { fits, joinPath } from "./tree.ts";
import type { Dir, DiskTree } from "./tree.ts";
import { unswapped } from "./way.ts";

/** The event loop is given back after this many milliseconds of synchronous work. */
const sliceMs = 8;
/** A walk that finds more entries than this goes on in processes of its own. */
const longWalk = 5000;
/** A directory whose own size suggests many thousand names is read by the thread pool. */
export const largeDirectory = 262_144;

/** Gives others a turn once a slice of time is used up. */
export class Slices {
  #since: number = performance.now();

  /** Whether it is time to call `turn`. */
  due(): boolean {
    return performance.now() - this.#since > sliceMs;
  }

  async turn(): Promise<void> {
    await breathe();
    this.#since = performance.now();
  }
}

/** The names in an open directory; a large one is read by the thread pool. */
export async function namesIn(tree: DiskTree, dir: Dir): Promise<string[]> {
  const large = tree.fs.fstatSync(dir.fd).size > largeDirectory;
  const names = large ? await tree.fs.readdir(dir.path) : tree.fs.readdirSync(dir.path);
  // Undecodable names come with replacement characters, and several may look the same then.
  return names.some((name) => name.includes("\uFFFD")) ? [...new Set(names)] : names;
}

/** Hands over the files and directories directly in an open directory, by their path under `shown`. */
async function scan(
  tree: DiskTree,
  dir: Dir,
  shown: string,
  slices: Slices,
  take: (entry: Entry, name: string) => void,
  names?: ReadonlySet<string>,
): Promise<void> {
  const room = tree.roomIn(dir.rel, shown);
  for (const name of names ?? (await namesIn(tree, dir))) {
    // What no path leads to is not shown: nobody could do anything with it.
    if (!fits(name, room)) continue;
    if (name.startsWith(".owtmp-") && temporaryName.test(name)) continue;
    const stats = dir.child(name);
    // Null: gone meanwhile, or a name that is not UTF-8 and therefore cannot be told in a path.
    if (stats !== null && (stats.isFile() || stats.isDirectory()))
      take(entryOf(joinPath(shown, name), stats), name);
    if (slices.due()) await slices.turn();
  }
}

/** The names that a directory can hold and a path can tell; others are simply not there. */
function tellable(names: ReadonlySet<string>): Set<string> {
  return new Set(
    [...names].filter((name) => {
      try {
        return storagePathParts(name).length === 1;
      } catch {
        return false;
      }
    }),
  );
}

/** The direct children of a directory, or those of some names, sorted; null when there is no such directory. */
export async function listDirectory(
  tree: DiskTree,
  path: string,
  names?: ReadonlySet<string>,
): Promise<Entry[] | null> {
  storagePathParts(path);
  const listed = await unswapped(
    tree,
    path,
    () => listOnce(tree, path, names),
    // The directory itself must not have been swapped either.
    ({ rel }) => `${rel}/`,
  );
  return listed && listed.entries.toSorted((a, b) => compareCodePoints(a.path, b.path));
}

async function listOnce(
  tree: DiskTree,
  path: string,
  names?: ReadonlySet<string>,
): Promise<{ rel: string; entries: Entry[] } | null> {
  const found = tree.look(path);
  if (found === null || !found.stats.isDirectory()) return null;
  const entries: Entry[] = [];
  let dir: Dir | null = null;
  try {
    dir = tree.openDir(found.rel, true);
    await scan(tree, dir, path, new Slices(), (entry) => entries.push(entry), names && tellable(names));
  } catch (error) {
    throw tree.refusal(error, path);
  } finally {
    dir?.close();
  }
  return { rel: found.rel, entries };
}

/** Everything below a directory, in batches. */
export async function* walkTree(
  tree: DiskTree,
  path: string,
  options: { signal?: AbortSignal; skip?: (dir: string) => boolean } = {},
): AsyncGenerator<Entry[]> {
  storagePathParts(path);
  const top = tree.look(path);
  if (top === null || !top.stats.isDirectory()) return;
  const slices = new Slices();
  const expected = top.rel === "" ? tree.names : 0;
  let helpers = !options.skip && canUseHelper(tree) ? new WalkHelpers(tree) : null;
  let pending = [{ rel: top.rel, shown: path }];
  let batch: Entry[] = [];
  let seen = 0;
  try {
    for (let next = pending.pop(); next; next = pending.pop()) {
      options.signal?.throwIfAborted();
      // Below, what may not be read is left out; a tree that may not be read at all must not look empty.
      const isTop = next.rel === top.rel;
      const dir = isTop ? openTop(tree, next.rel) : openOrSkip(tree, next.rel);
      if (dir === null) continue;
      const before = batch.length;
      try {
        await scan(tree, dir, next.shown, slices, (entry, name) => {
          if (entry.kind === "dir") {
            if (options.skip?.(entry.path) === true) return;
            pending.push({ rel: joinPath(next.rel, name), shown: entry.path });
          }
          batch.push(entry);
        });
      } catch (error) {
        // Whatever the system refuses is skipped; what a caller's own function throws is not.
        if (isExhausted(error)) throw storageError(error, next.shown);
        if (errno(error) === "") throw error;
      } finally {
        dir.close();
      }
      seen += batch.length - before;
      if (batch.length >= batchSize) {
        yield batch;
        batch = [];
      }
      if (pending.length > 0 && Math.max(seen, expected) > longWalk) helpers?.start();
      if (pending.length > 0 && helpers?.ready) {
        pending = yield* helped(helpers, pending, slices, options.signal);
        helpers.end();
        helpers = null;
      }
    }
    if (batch.length > 0) yield batch;
  } finally {
    helpers?.end();
  }
}

/** The rest of a walk by helpers; answers what those left undone. */
async function* helped(
  helpers: WalkHelpers,
  pending: readonly Pending[],
  slices: Slices,
  signal: AbortSignal | undefined,
): AsyncGenerator<Entry[], Pending[]> {
  const walk = helpers.walk(pending);
  for (;;) {
    signal?.throwIfAborted();
    const { done, value } = await walk.next();
    if (done) return value;
    yield value;
    if (slices.due()) await slices.turn();
  }
}

/** Opens the directory that a walk begins at; null when it went away. */
function openTop(tree: DiskTree, rel: string): Dir | null {
  try {
    return tree.openDir(rel, true);
  } catch (error) {
    if (error instanceof StorageError && error.code !== "denied" && !isExhausted(error)) return null;
    throw error;
  }
}

/** Opens a directory of a walk; null when it went away, became a link or may not be read. Throws when no descriptor is left. */
export function openOrSkip(tree: DiskTree, rel: string): Dir | null {
  try {
    return tree.openDir(rel, true);
  } catch (error) {
    if (error instanceof StorageError && !isExhausted(error)) return null;
    throw error;
  }
}
