import { ApiError } from "./errors.ts";

/** Limits per token and in all. */
export interface Caps {
  perToken: number;
  total: number;
}

/** Counts open streams, so that nobody can open them without end. */
export class StreamSlots {
  readonly #caps: Caps;
  readonly #byToken = new Map<string, number>();
  #total = 0;

  constructor(caps: Caps) {
    this.#caps = caps;
  }

  /** How many streams are open. */
  get open(): number {
    return this.#total;
  }

  /** Takes a slot for a token, or throws 429; what is returned gives it back, once. */
  take(tokenHash: string): () => void {
    const own = this.#byToken.get(tokenHash) ?? 0;
    if (own >= this.#caps.perToken || this.#total >= this.#caps.total) {
      throw new ApiError(
        "too_many_requests",
        "Too many event streams are open; close some, or poll with ?wait= instead.",
        own >= this.#caps.perToken ? { perToken: this.#caps.perToken } : { total: this.#caps.total },
        { headers: { "retry-after": "15" } },
      );
    }
    this.#byToken.set(tokenHash, own + 1);
    this.#total += 1;
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      this.#total -= 1;
      const left = (this.#byToken.get(tokenHash) ?? 1) - 1;
      if (left > 0) this.#byToken.set(tokenHash, left);
      else this.#byToken.delete(tokenHash);
    };
  }
}
