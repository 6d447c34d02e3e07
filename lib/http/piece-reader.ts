const bufferSize = 256 * 1024;

/**
 * Reads a stream in pieces of which each is valid until the next one is asked for: into one buffer again and again,
 * where the stream can be read so, which spares it memory of its own for each of them.
 */
export class PieceReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | null;
  readonly #into: ReadableStreamBYOBReader | null;
  #buffer: ArrayBuffer | null = null;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#into = byteReader(stream);
    this.#reader = this.#into ? null : stream.getReader();
  }

  /** Whether a piece is overwritten by the next one. */
  get reusesMemory(): boolean {
    return this.#into !== null;
  }

  /** The next piece; null at the end. */
  async read(): Promise<Uint8Array | null> {
    if (this.#reader) return (await this.#reader.read()).value ?? null;
    const buffer = this.#buffer ?? new ArrayBuffer(bufferSize);
    this.#buffer = null;
    const next = await this.#into?.read(new Uint8Array(buffer));
    this.#buffer = next?.value?.buffer ?? null;
    return next?.done === false ? next.value : null;
  }

  /** Leaves the last piece to whoever keeps it. */
  leave(): void {
    this.#buffer = null;
  }

  async cancel(reason?: unknown): Promise<void> {
    await (this.#reader ?? this.#into)?.cancel(reason);
  }
}

/** A reader that brings its own memory; null for a stream that takes none. */
export function byteReader(stream: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | null {
  try {
    return stream.getReader({ mode: "byob" });
  } catch (error) {
    // The standard's answer of a stream that is no stream of bytes.
    if (error instanceof TypeError && !stream.locked) return null;
    throw error;
  }
}
