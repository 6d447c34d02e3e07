import type { DiskContext } from "./stage.ts";
import type { Dir } from "./tree.ts";

/** Directories that a commit works in, each opened once; not more at a time than descriptors are plenty. */
export class OpenDirs {
  readonly #context: DiskContext;
  readonly #open = new Map<string, Dir>();

  constructor(context: DiskContext) {
    this.#context = context;
  }

  /** The directory, proven to be at its place this moment. */
  get(rel: string): Dir {
    const known = this.#open.get(rel);
    if (known) {
      known.verify();
      // Back to the young end: two directories of one step must not push each other out.
      this.#open.delete(rel);
      this.#open.set(rel, known);
      return known;
    }
    if (this.#open.size >= 64) {
      const [oldest] = this.#open.values();
      if (oldest) this.#forget(oldest);
    }
    const dir = this.#context.tree.openDir(rel);
    this.#open.set(rel, dir);
    return dir;
  }

  #forget(dir: Dir): void {
    this.#open.delete(dir.rel);
    dir.close();
  }

  close(): void {
    for (const dir of this.#open.values()) this.#forget(dir);
  }
}
