import { bodyTooLarge } from "./refusals.ts";

/**
 * Hands over a body chunk by chunk. It is let go of when it is longer than `maxBytes`, when the signal is aborted
 * and when `take` throws; then this throws as well.
 */
export async function takeBody(
  path: string,
  body: ReadableStream<Uint8Array>,
  options: { maxBytes?: number; signal?: AbortSignal },
  take: (chunk: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const { maxBytes = Infinity, signal } = options;
  const reader = body.getReader();
  const onAbort = (): void => void reader.cancel(signal?.reason).catch(() => undefined);
  signal?.addEventListener("abort", onAbort, { once: true });
  let size = 0;
  try {
    signal?.throwIfAborted();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      size += chunk.value.byteLength;
      if (size > maxBytes) throw bodyTooLarge(path, size, maxBytes);
      await take(chunk.value);
    }
    // What was cancelled ends as if it were complete.
    signal?.throwIfAborted();
  } catch (error) {
    reader.cancel(error).catch(() => undefined);
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
