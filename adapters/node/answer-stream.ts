import { Readable } from "node:stream";
import type { Body, Sink } from "./connection.ts";

/**
 * The body of an answer as a stream, for whoever reads it as one. Until somebody does, the server may claim the body
 * itself, which costs less.
 */
export class AnswerStream extends Readable {
  readonly body: Body;

  constructor(body: Body) {
    super();
    this.body = body;
  }

  override _read(): void {
    if (this.body.isFree) this.body.claim(this.#sink());
    else this.body.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.body.cancel();
    callback(error);
  }

  #sink(): Sink {
    return {
      borrows: false,
      take: (pieces) => {
        let hasRoom = true;
        for (const piece of pieces) hasRoom = this.push(piece);
        // Reading goes on when `_read` is called.
        return hasRoom;
      },
      end: () => void this.push(null),
      fail: (error) => void this.destroy(error),
    };
  }
}
