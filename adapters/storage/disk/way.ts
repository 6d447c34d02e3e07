import { StorageError } from "../../../lib/storage.ts";
import { quote } from "../refusals.ts";
import { storageError } from "./fs.ts";
import { tickMs } from "./revision.ts";
import { Replaced } from "./tree.ts";
import type { DiskTree } from "./tree.ts";

/** This often a look is taken again, a tick apart, before it is given up. */
const attempts = 25;

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** The directories on the way to something, as one look saw them. */
interface Way {
  rel: string;
  /** Their change times, from the root on. */
  changed: number[];
}

/**
 * Whether each directory of a way had its name at every moment since a time. A rename changes the time of the
 * directory that holds the name and that of the directory renamed, so one of the two at rest is proof; nobody
 * can set these times. At rest is what changed longer ago than a tick of the file system's clock, or what has
 * the time that it had a tick ago, whatever a clock that was put back makes of it.
 */
function unmoved(way: Way, since: number, earlier: Way | null): boolean {
  const known = earlier?.rel === way.rel ? earlier.changed : [];
  // Where a system tells no such time there is nothing to wait for.
  const rests = way.changed.map((time, at) => !(time >= since - tickMs) || time === known[at]);
  return rests.every((own, at) => at === 0 || own || rests[at - 1] === true);
}

/**
 * Takes a look at something below the root and answers what it found, once it is proven that no name on the way
 * to it was another's meanwhile. Where the system opens things for good (`tree.abilities`), the look itself is
 * the proof. Elsewhere every check asks by name, and between two of them a name can be swapped for a link that
 * leads out and back again.
 */
export async function unswapped<T>(
  tree: DiskTree,
  path: string,
  look: () => T | null | Promise<T | null>,
  relOf: (found: T) => string,
  drop: (found: T) => void = () => undefined,
): Promise<T | null> {
  let earlier: Way | null = null;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const since = Date.now();
    const found = await lookOnce(look);
    if (found === "replaced") {
      await sleep(1);
      continue;
    }
    if (found === null || tree.abilities.opath) return found;
    let way: Way | null = null;
    try {
      way = wayTo(tree, relOf(found));
      if (way && unmoved(way, since, earlier)) return found;
    } catch (error) {
      drop(found);
      throw storageError(error, path);
    }
    drop(found);
    earlier = way;
    await sleep(tickMs);
  }
  throw new StorageError("io", `What leads to ${quote(path)} changes so often that it could not be read.`, {
    path,
  });
}

/** One look; what was replaced in the middle of it is worth another one. */
async function lookOnce<T>(look: () => T | null | Promise<T | null>): Promise<T | null | "replaced"> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof Replaced) return "replaced";
    throw error;
  }
}

/** The change times on the way to what a path names; null when it goes through anything but directories. */
function wayTo(tree: DiskTree, rel: string): Way | null {
  const changed: number[] = [];
  for (let end = 0; end >= 0; end = rel.indexOf("/", end + 1)) {
    const stats = tree.fs.lstatSync(tree.absolute(rel.slice(0, end)));
    if (stats?.isDirectory() !== true) return null;
    changed.push(stats.ctimeMs);
  }
  return { rel, changed };
}
