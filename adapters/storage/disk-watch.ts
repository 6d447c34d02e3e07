import { sep } from "node:path";
import { temporaryName } from "../../lib/storage.ts";
import type { Watch, WatchBatch } from "../../lib/storage.ts";
import type { DiskTree } from "./disk-tree.ts";
import { canWatchDirectories, watchDirectories } from "./disk-watch-directories.ts";

/** The part of the native watcher that is used. */
interface NativeWatcher {
  subscribe(
    dir: string,
    listener: (error: Error | null, events: { path: string; type: string }[]) => void,
    options?: { ignore?: string[] },
  ): Promise<{ unsubscribe(): Promise<void> }>;
}

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
        if (relay.closed) return;
        relay.closed = true;
        // A watch whose directory is gone cannot always be ended in order.
        await running.unsubscribe().catch(() => undefined);
      },
    };
  } catch {
    return null;
  }
}

/** Turns native events into batches of relative paths. */
class Relay {
  closed = false;
  readonly #real: string;
  readonly #prefix: string;
  readonly #listener: (batch: WatchBatch) => void;

  constructor(real: string, listener: (batch: WatchBatch) => void) {
    this.#real = real;
    this.#prefix = real.endsWith(sep) ? real : real + sep;
    this.#listener = listener;
  }

  take(error: Error | null, events: readonly { path: string; type: string }[] | undefined): void {
    if (this.closed) return;
    if (error !== null) return this.#listener({ paths: [], missed: true });
    const paths = new Set<string>();
    for (const { path, type } of events ?? []) {
      // Without its directory the native watch is deaf, also when the directory comes back.
      if (path === this.#real && type === "delete")
        return this.#listener({ paths: [], missed: true, lost: true });
      const rel = this.#relative(path);
      if (rel !== null) paths.add(rel);
    }
    if (paths.size > 0) this.#listener({ paths: [...paths], missed: false });
  }

  #relative(path: string): string | null {
    if (!path.startsWith(this.#prefix)) return null;
    const rel = path.slice(this.#prefix.length).replaceAll(sep, "/");
    return rel === "" || rel.split("/").some((part) => temporaryName.test(part)) ? null : rel;
  }
}
