import { ApiError } from "./errors.ts";

/** Limits per token and in all. */
export interface Caps {
  perToken: number;
  total: number;
}

/** What a token has taken of a {@link Quota}. */
export interface Share {
  /** Takes more; throws 429 when there is not enough left, and then takes nothing. */
  add(amount: number): void;
  /** Gives everything back, once. */
  release(): void;
}

/** What a caller is told for whom nothing is left. */
export interface Refusal {
  message: string;
  /** When it may be worth asking again, seconds. */
  retryAfter: number;
}

/** Something countable of which nobody may have without end: open streams, held requests, bytes in memory. */
export class Quota {
  readonly #caps: Caps;
  readonly #refusal: Refusal;
  readonly #byToken = new Map<string, number>();
  #total = 0;

  constructor(caps: Caps, refusal: Refusal) {
    this.#caps = caps;
    this.#refusal = refusal;
  }

  /** How much is taken in all. */
  get taken(): number {
    return this.#total;
  }

  /** Takes an amount for a token, or throws 429 `too_many_requests` with `Retry-After`. */
  take(tokenHash: string, amount: number = 1): Share {
    let own = 0;
    let released = false;
    const add = (more: number): void => {
      // What is still counted for a share that was given back would never be let go.
      if (released) return;
      this.#change(tokenHash, more);
      own += more;
    };
    add(amount);
    const release = (): void => {
      if (!released) this.#change(tokenHash, -own);
      released = true;
    };
    return { add, release };
  }

  #change(tokenHash: string, by: number): void {
    const { perToken, total } = this.#caps;
    const own = (this.#byToken.get(tokenHash) ?? 0) + by;
    if (by > 0 && own > perToken) throw this.#refuse({ perToken });
    if (by > 0 && this.#total + by > total) throw this.#refuse({ total });
    this.#total += by;
    if (own > 0) this.#byToken.set(tokenHash, own);
    else this.#byToken.delete(tokenHash);
  }

  #refuse(cap: Partial<Caps>): ApiError {
    const { message, retryAfter } = this.#refusal;
    const headers = { "retry-after": String(retryAfter) };
    return new ApiError("too_many_requests", message, cap, { headers });
  }
}
