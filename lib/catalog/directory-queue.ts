/** A directory to look into, at some names or (null) at all of them. */
export type Look = readonly [dir: string, names: ReadonlySet<string> | null];

/** Directories that have to be looked into, each once however often it is asked for. */
export class DirectoryQueue {
  /** Where something is known to have changed. */
  readonly #soon = new Map<string, Set<string> | null>();
  /** Where something may have: directories to look at as a whole. */
  readonly #later = new Set<string>();
  #turn = false;

  get isEmpty(): boolean {
    return this.#soon.size === 0 && this.#later.size === 0;
  }

  /** Asks for a look at some names in a directory, or (null) at all of them. */
  add(dir: string, names: Iterable<string> | null): void {
    const known = this.#soon.get(dir);
    if (known === undefined && names === null) this.#later.add(dir);
    // One look does for both.
    else if (known === undefined) this.#soon.set(dir, this.#later.delete(dir) ? null : new Set(names));
    else if (names === null) this.#soon.set(dir, null);
    else for (const name of names) known?.add(name);
  }

  /** Takes the next directory, in turn of both kinds: a look at everything and a busy writer do not hold each other up. */
  next(): Look | null {
    this.#turn = !this.#turn;
    const [soon] = this.#soon;
    const [later] = this.#later;
    if (soon && (this.#turn || later === undefined)) {
      this.#soon.delete(soon[0]);
      return soon;
    }
    if (later === undefined) return null;
    this.#later.delete(later);
    return [later, null];
  }

  /** Forgets what was asked for. */
  clear(): void {
    this.#soon.clear();
    this.#later.clear();
  }
}
