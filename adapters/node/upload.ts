import { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { Connection } from "./connection.ts";

/**
 * Sends the body of a request behind its head: with the announced length exactly as long as that, else in chunks.
 * `sent` is called at its end. A body that breaks off ends the connection: half of it must not pass for the whole.
 */
export function upload(
  source: Readable,
  connection: Connection,
  length: number | null,
  sent: () => void,
): void {
  const { socket } = connection;
  let left = length ?? Number.POSITIVE_INFINITY;
  let pieces: Buffer[] = [];
  let isEnded = false;
  const onData = (chunk: Buffer | string): void => {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (bytes.length === 0) return;
    left -= bytes.length;
    if (left < 0) {
      onError(new Error("the body is longer than announced"));
      return;
    }
    // What one read of the caller's connection brings comes piece by piece, and goes out as one.
    if (pieces.length === 0) process.nextTick(flush);
    pieces.push(bytes);
  };
  const flush = (): void => {
    if (pieces.length === 0) return;
    const all = pieces;
    pieces = [];
    if (!writeAll(socket, all, length === null) && !isEnded) source.pause();
  };
  const onEnd = (): void => {
    isEnded = true;
    if (length !== null && left > 0) {
      onError(new Error("the body is shorter than announced"));
      return;
    }
    flush();
    if (length === null) socket.write("0\r\n\r\n", "latin1");
    release();
    sent();
  };
  const onError = (error: Error): void => {
    release();
    connection.destroy(error);
  };
  const onClose = (): void => onError(new Error("the body broke off"));
  const onDrain = (): void => void source.resume();
  const stop = (): void => {
    release();
    // The rest of a request to this server is seen to by whoever answers it.
    if (source instanceof IncomingMessage) source.pause();
    else source.destroy();
  };
  const release = (): void => {
    pieces = [];
    source.off("data", onData).off("end", onEnd).off("error", onError).off("close", onClose);
    socket.off("drain", onDrain);
  };
  connection.takeBody(stop);
  source.on("error", onError).on("end", onEnd).on("close", onClose);
  socket.on("drain", onDrain);
  source.on("data", onData);
}

const lineEnd = Buffer.from("\r\n");

/** Writes pieces of a body in one call of the system, and as one chunk if it goes in chunks; whether there is room for more. */
function writeAll(socket: Socket, pieces: readonly Buffer[], isChunked: boolean): boolean {
  socket.cork();
  let size = 0;
  for (const piece of pieces) size += piece.length;
  if (isChunked) socket.write(Buffer.from(`${size.toString(16)}\r\n`, "latin1"));
  for (const piece of pieces) socket.write(piece);
  if (isChunked) socket.write(lineEnd);
  socket.uncork();
  return socket.writableLength === 0 || !socket.writableNeedDrain;
}
