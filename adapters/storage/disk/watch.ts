import { sep } from "node:path";
import { temporaryName } from "../../../lib/storage.ts";
import type { Watch, WatchBatch } from "../../../lib/storage.ts";
import type { DiskTree } from "./tree.ts";
import { canWatchDirectories, gatherMs, watchDirectories } from "./watch-directories.ts";

/** The part of the native watcher that is used. */
interface NativeWatcher {
  subscribe(
    dir: string,
    listener: (error: Error | null, events: { path: string; type: string }[]) => void,
    options?: { ignore?: string[] },
  ): Promise<{ unsubscribe(): Promise<void> }>;
}

/** After native events, one look at everything once it has been quiet for this long, milliseconds … */
const checkAfterMs = 1000;
/** … but no more often than this: a look costs as much as a walk of the tree. */
const checkEveryMs = 30_000;

/** Loads the native watcher; null where it is not installed or has no build for this platform. */
async function loadWatcher(): Promise<NativeWatcher | null> {
  try {
    const watcher: NativeWatcher = await import("@parcel/watcher");
    return typeof watcher.subscribe === "function" ? watcher : null;
  } catch {
    return null;
  }
}

/** Watches the whole tree; null when that is not possible now. */
export async function watchTree(
  tree: DiskTree,
  listener: (batch: WatchBatch) => void,
): Promise<Watch | null> {
  let real: string | null;
  try {
    real = tree.realRoot();
    if (real === null || tree.fs.lstatSync(real) === null) return null;
  } catch {
    return null;
  }
  if (canWatchDirectories(tree)) return watchDirectories(tree, listener);
  const watcher = await loadWatcher();
  if (watcher === null) return null;
  const relay = new Relay(real, listener);
  try {
    const running = await watcher.subscribe(real, (error, events) => relay.take(error, events), {
      ignore: ["**/.owtmp-*"],
    });
    return {
      async close() {
        relay.close();
        // A watch whose directory is gone cannot always be ended in order.
        await running.unsubscribe().catch(() => undefined);
      },
    };
  } catch {
    return null;
  }
}

/**
 * Turns native events into batches of relative paths. The native watcher takes its list of events and clears it in
 * two steps (`Watcher::triggerCallbacks`), so one that arrives in between is lost without a word: after events,
 * everything is looked at once more.
 */
class Relay {
  closed = false;
  readonly #real: string;
  readonly #prefix: string;
  readonly #listener: (batch: WatchBatch) => void;
  #gathered = new Set<string>();
  #gathering: ReturnType<typeof setTimeout> | undefined;
  #check: ReturnType<typeof setTimeout> | undefined;
  #checkedAt = -Infinity;

  constructor(real: string, listener: (batch: WatchBatch) => void) {
    this.#real = real;
    this.#prefix = real.endsWith(sep) ? real : real + sep;
    this.#listener = listener;
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.#gathering);
    clearTimeout(this.#check);
  }

  take(error: Error | null, events: readonly { path: string; type: string }[] | undefined): void {
    if (this.closed) return;
    if (error !== null) return this.#listener({ paths: [], missed: true });
    this.#checkSoon();
    for (const { path, type } of events ?? []) {
      // Without its directory the native watch is deaf, also when the directory comes back.
      if (path === this.#real && type === "delete") {
        this.close();
        return this.#listener({ paths: [], missed: true, lost: true });
      }
      const rel = this.#relative(path);
      if (rel !== null) this.#gathered.add(rel);
    }
    if (this.#gathered.size > 0) this.#gathering ??= setTimeout(() => this.#tell(), gatherMs);
  }

  #tell(): void {
    this.#gathering = undefined;
    const paths = [...this.#gathered];
    this.#gathered = new Set();
    this.#listener({ paths, missed: false });
  }

  #checkSoon(): void {
    clearTimeout(this.#check);
    const wait = Math.max(checkAfterMs, this.#checkedAt + checkEveryMs - performance.now());
    this.#check = setTimeout(() => {
      this.#checkedAt = performance.now();
      this.#listener({ paths: [], missed: true });
    }, wait);
    // A pending look keeps no process alive.
    (this.#check as { unref?(): void }).unref?.();
  }

  #relative(path: string): string | null {
    if (!path.startsWith(this.#prefix)) return null;
    const rel = path.slice(this.#prefix.length).replaceAll(sep, "/");
    return rel === "" || rel.split("/").some((part) => temporaryName.test(part)) ? null : rel;
  }
}
