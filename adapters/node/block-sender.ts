import type { ServerResponse } from "node:http";
import { finished } from "node:stream/promises";
import { blockBytes, lendBlock, returnBlock } from "./blocks.ts";

/**
 * Sends a stream of bytes by way of lent blocks: the next one is filled while the system still takes the last. Throws
 * when the stream fails, which must end the connection: a part of an answer must not pass for the whole.
 */
export async function sendBlocks(reader: ReadableStreamBYOBReader, to: ServerResponse): Promise<void> {
  const letGo = (): void => void reader.cancel().catch(() => undefined);
  to.once("close", letGo);
  let sent: Promise<void> = Promise.resolve();
  for (;;) {
    const { buffer } = lendBlock();
    // A block is made of memory of its own, which reading takes and hands back.
    const { done, value } = await reader.read(new Uint8Array(buffer as ArrayBuffer, 0, blockBytes));
    await sent;
    if (to.destroyed) return;
    if (done) break;
    sent = write(to, value);
  }
  to.off("close", letGo);
  to.end();
  await finished(to);
}

/** Resolves when the system has taken the bytes, so that their block may be another's, or never will. */
function write(to: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    to.once("close", resolve);
    to.write(bytes, (error) => {
      if (!error) returnBlock(Buffer.from(bytes.buffer));
      to.off("close", resolve);
      resolve();
    });
  });
}
