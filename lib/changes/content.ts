import { joined } from "../bytes.ts";
import { sha256, sha256Hex } from "../hash.ts";

/** Files larger than this are described by size and hash instead of by their lines. */
export const largestText: number = 1024 * 1024;

/** What a file holds: its text, or a label where there is no text to show. */
export interface Content {
  text: string | null;
  label: string;
}

/** What these bytes are to people. */
export function contentOf(bytes: Uint8Array): Content {
  if (bytes.length <= largestText && !bytes.includes(0)) {
    try {
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      return { text, label: `${bytes.length} bytes` };
    } catch {
      // Not text: shown by size and hash.
    }
  }
  return { text: null, label: `${bytes.length} bytes, sha256 ${sha256Hex(bytes)}` };
}

/** Watches the bytes of a body on their way into a storage, so that a host can be shown what waits there. */
export class WatchedBody {
  /** The body, to be read instead of the one given. */
  readonly stream: ReadableStream<Uint8Array>;
  readonly #hash = sha256();
  /** The bytes as long as they may be a text to show. */
  #start: Uint8Array[] | null = [];
  #size = 0;

  constructor(body: ReadableStream<Uint8Array>) {
    const reader = body.getReader();
    this.stream = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await reader.read();
          if (done) return controller.close();
          this.#see(value);
          controller.enqueue(value);
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }

  /** What has passed. */
  content(): Content {
    if (!this.#start) return { text: null, label: `${this.#size} bytes, sha256 ${this.#hash.hex()}` };
    return contentOf(joined(this.#start, this.#size));
  }

  #see(piece: Uint8Array): void {
    this.#size += piece.length;
    if (this.#start && this.#size <= largestText) {
      // The source may use its buffer again.
      this.#start.push(piece.slice());
      return;
    }
    for (const before of this.#start ?? []) this.#hash.update(before);
    this.#start = null;
    this.#hash.update(piece);
  }
}
