/** A numbered event. */
export interface Numbered {
  /** Rises by one with each event of the feed; the first is 1. */
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
  readonly #items: T[] = [];
  readonly #waiting = new Set<() => void>();
  #cursor = 0;

  /** @param capacity how many events are kept */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The number of the newest event, 0 when there was none. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Adds an event made from its number and wakes who waits. */
  publish(make: (seq: number) => T): T {
    this.#cursor += 1;
    const event = make(this.#cursor);
    this.#items.push(event);
    if (this.#items.length > this.#capacity) this.#items.shift();
    for (const wake of this.#waiting) wake();
    return event;
  }

  /** Declares all numbers so far unusable: readers behind this point are told to start over. */
  reset(): void {
    this.#items.length = 0;
    this.#cursor += 1;
    for (const wake of this.#waiting) wake();
  }

  /** Events after `since`, oldest first, at most `limit`. */
  since(since: number, limit: number = Number.POSITIVE_INFINITY): FeedPage<T> {
    const oldest = this.#cursor - this.#items.length;
    if (since > this.#cursor || since < oldest) return { items: [], cursor: this.#cursor, reset: true };
    const items = this.#items.slice(since - oldest, Math.min(since - oldest + limit, this.#items.length));
    return { items, cursor: items.at(-1)?.seq ?? since };
  }

  /** As {@link since}, but holds until there is something to tell, `waitMs` pass or the signal aborts. */
  async wait(since: number, waitMs: number, signal: AbortSignal, limit?: number): Promise<FeedPage<T>> {
    const page = this.since(since, limit);
    if (page.items.length > 0 || page.reset || waitMs <= 0) return page;
    await sleepUntilWoken(this.#waiting, waitMs, signal);
    return this.since(since, limit);
  }

  /** Lets every waiting reader go, as when the server stops. */
  close(): void {
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
