/** A numbered event. */
export interface Numbered {
  /** Rises by one with each event of the feed. */
  readonly seq: number;
}

/** A page of a feed. `reset` says that events between `since` and the first item are no longer kept: look at everything again. */
export interface FeedPage<T> {
  items: readonly T[];
  /** The number to ask from next. */
  cursor: number;
  reset?: true;
}

/**
 * A numbered feed with a ring buffer: one mechanism for every kind of event. A reader names the last number
 * it saw; if that is gone, or from an earlier life of the server, it is told so instead of silently losing events.
 */
export class Feed<T extends Numbered> {
  readonly #capacity: number;
  /** A ring once it is full: the oldest lies at `#start`. */
  #items: T[] = [];
  #start = 0;
  readonly #waiting = new Set<() => void>();
  #cursor: number;
  #closed = false;

  /**
   * @param capacity how many events are kept
   * @param base the number before the first; numbers up to it belong to an earlier life of the server
   */
  constructor(capacity: number, base = 0) {
    this.#capacity = capacity;
    this.#cursor = base;
  }

  /** The number of the newest event; the base when there was none. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Whether the feed has ended: nothing will ever be waited for again. */
  get closed(): boolean {
    return this.#closed;
  }

  /** How many readers wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Makes the numbers rise from a base, before the first event; see the constructor. */
  startFrom(base: number): void {
    if (this.#items.length > 0) throw new Error("the feed has begun");
    this.#cursor = base;
  }

  /** Adds an event made from its number and wakes who waits. */
  publish(make: (seq: number) => T): T {
    this.#cursor += 1;
    const event = make(this.#cursor);
    if (this.#items.length < this.#capacity) this.#items.push(event);
    else {
      this.#items[this.#start] = event;
      this.#start = (this.#start + 1) % this.#capacity;
    }
    for (const wake of this.#waiting) wake();
    return event;
  }

  /** Declares all numbers so far unusable: readers behind this point are told to start over. */
  reset(): void {
    this.#items = [];
    this.#start = 0;
    this.#cursor += 1;
    for (const wake of this.#waiting) wake();
  }

  /** Events after `since`, oldest first, at most `limit`. */
  since(since: number, limit: number = Number.POSITIVE_INFINITY): FeedPage<T> {
    const kept = this.#items.length;
    const oldest = this.#cursor - kept;
    if (since > this.#cursor || since < oldest) return { items: [], cursor: this.#cursor, reset: true };
    const items: T[] = [];
    for (let i = since - oldest; i < kept && items.length < limit; i += 1) {
      const item = this.#items[(this.#start + i) % kept];
      if (item) items.push(item);
    }
    return { items, cursor: items.at(-1)?.seq ?? since };
  }

  /** As {@link since}, but holds until there is something to tell, `waitMs` pass, the signal aborts or the feed is closed. */
  async wait(since: number, waitMs: number, signal: AbortSignal, limit?: number): Promise<FeedPage<T>> {
    const page = this.since(since, limit);
    if (page.items.length > 0 || page.reset || waitMs <= 0 || this.#closed) return page;
    await sleepUntilWoken(this.#waiting, waitMs, signal);
    return this.since(since, limit);
  }

  /** Lets every waiting reader go, as when the server stops. */
  close(): void {
    this.#closed = true;
    for (const wake of this.#waiting) wake();
  }
}

/** Sleeps until a member of `waiting` (which it adds) is called, the time passes or the signal aborts; leaves nothing behind. */
export function sleepUntilWoken(waiting: Set<() => void>, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      waiting.delete(done);
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    waiting.add(done);
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}

/** The longest a long poll is held, seconds: proxies in between cut at 60. */
export const longestWaitSeconds: number = 55;
