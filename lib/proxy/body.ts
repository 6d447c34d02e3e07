import { joined } from "../bytes.ts";

/** The beginning of a body, and the body as if nothing had been read of it. */
export interface Peeked {
  bytes: Uint8Array;
  /** Whether that beginning is all of it. */
  whole: boolean;
  /** Null when the body is empty. */
  body: ReadableStream<Uint8Array> | null;
}

/** Reads the first bytes of a body, `most` or a little more; the rest stays with its sender until it is wanted. */
export async function peekBody(body: ReadableStream<Uint8Array>, most: number): Promise<Peeked> {
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  let whole = false;
  while (size <= most) {
    const { done, value } = await reader.read();
    if (done) {
      whole = true;
      break;
    }
    chunks.push(value);
    size += value.length;
  }
  return {
    bytes: joined(chunks, size),
    whole,
    body: size === 0 ? null : replayed(chunks, whole ? null : reader),
  };
}

/**
 * A body that also ends when `watch` says so. `letGo` ends its source, which some runtimes do not do for a reader
 * that is waiting. What `watch` returns is called at the end.
 */
export function endable(
  body: ReadableStream<Uint8Array>,
  letGo: () => void,
  watch: (end: () => void) => () => void,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let ended = false;
  let unwatch: (() => void) | null = null;
  const settle = (): void => {
    ended = true;
    unwatch?.();
  };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      unwatch = watch(() => {
        if (ended) return;
        settle();
        controller.close();
        letGo();
      });
      // It may have ended before there was anything to be called.
      if (ended) unwatch();
    },
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (ended) return;
        if (!done) return controller.enqueue(value);
        settle();
        controller.close();
      } catch (error) {
        if (ended) return;
        settle();
        controller.error(error);
      }
    },
    cancel() {
      settle();
      letGo();
    },
  });
}

/** All bytes of a body; null when there are more than `most`. */
export async function readAll(body: ReadableStream<Uint8Array>, most: number): Promise<Uint8Array | null> {
  const { bytes, whole, body: rest } = await peekBody(body, most);
  if (whole && bytes.length <= most) return bytes;
  await rest?.cancel();
  return null;
}

function replayed(
  chunks: readonly Uint8Array[],
  reader: ReadableStreamDefaultReader<Uint8Array> | null,
): ReadableStream<Uint8Array> {
  let next = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const known = chunks[next];
      if (known) {
        next += 1;
        controller.enqueue(known);
        if (next === chunks.length && reader === null) controller.close();
        return;
      }
      const { done, value } = reader ? await reader.read() : { done: true, value: undefined };
      if (done || value === undefined) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader?.cancel(reason),
  });
}
