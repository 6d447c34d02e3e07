import type { ServerResponse } from "node:http";
import { breakOff } from "./break-off.ts";
import type { Body, Sink } from "./connection.ts";

/**
 * Passes the body of an answer on from connection to connection. The headers must have been set. What the system does
 * not take at once keeps the target waiting. Who ends either side ends the other: the caller's signal sees to the target.
 */
export function relay(body: Body, to: ServerResponse): void {
  const sink = new Relay(to);
  body.claim(sink);
  // What is there already goes out together with the headers; a stream that is silent at first is announced at once.
  if (!sink.hasBegun && !to.destroyed) to.flushHeaders();
}

class Relay implements Sink {
  readonly borrows = true;
  readonly #to: ServerResponse;
  hasBegun = false;

  constructor(to: ServerResponse) {
    this.#to = to;
  }

  take(pieces: readonly Buffer[], _lent: boolean, taken: () => void): boolean {
    const to = this.#to;
    if (to.destroyed) return false;
    this.hasBegun = true;
    let isGone = false;
    const written = (error?: Error | null): void => {
      if (!isGone && !error) taken();
    };
    const { socket } = to;
    const last = pieces.length - 1;
    // One call of the system, and one chunk, for all of it.
    socket?.cork();
    to.cork();
    for (const [i, piece] of pieces.entries()) to.write(piece, i === last ? written : undefined);
    to.uncork();
    socket?.uncork();
    // What the system has taken it has copied: the memory is free, and more may come at once.
    isGone = to.writableLength === 0;
    return isGone;
  }

  end(): void {
    this.hasBegun = true;
    this.#to.end();
  }

  fail(): void {
    this.hasBegun = true;
    breakOff(this.#to);
  }
}
