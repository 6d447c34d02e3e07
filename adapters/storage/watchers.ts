import type { Watch, WatchBatch } from "../../lib/storage.ts";

/** Who watches a storage that all changes come through: nothing is missed, and what changes in one turn is told once. */
export class Watchers {
  readonly #listeners = new Set<(batch: WatchBatch) => void>();
  readonly #changed = new Set<string>();

  /** Tells a listener of changes until its watch is closed. */
  add(listener: (batch: WatchBatch) => void): Watch {
    // A listener of its own for every watch, also when one function watches twice.
    const own = (batch: WatchBatch): void => listener(batch);
    this.#listeners.add(own);
    return {
      close: async () => {
        this.#listeners.delete(own);
      },
    };
  }

  /** Tells of changed paths, soon. */
  announce(paths: Iterable<string>): void {
    if (this.#changed.size === 0) queueMicrotask(() => this.#flush());
    for (const path of paths) this.#changed.add(path);
  }

  #flush(): void {
    const paths = [...this.#changed];
    this.#changed.clear();
    if (paths.length > 0) for (const listener of this.#listeners) listener({ paths, missed: false });
  }
}
