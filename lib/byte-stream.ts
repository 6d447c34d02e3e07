/** Where the bytes of a stream come from. */
export interface ByteSource {
  /** Aborted when the reader goes away. */
  signal: AbortSignal;
  /** The next bytes; null when there are no more. Asked for only when the reader has room for them. */
  next(): Promise<Uint8Array | null>;
  /** Called once when the stream has ended, whichever way: lets go of all that it held. */
  onEnd(): void;
}

/** A stream that tells when it has ended: also by a reader that goes away without a word, or never begins to read. */
export function byteStream({ signal, next, onEnd }: ByteSource): ReadableStream<Uint8Array> {
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    signal.removeEventListener("abort", end);
    onEnd();
  };
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const bytes = ended ? null : await next();
          if (bytes !== null) return controller.enqueue(bytes);
          controller.close();
        } catch (error) {
          end();
          throw error;
        }
        end();
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
}
