import { IncomingMessage, type ServerResponse } from "node:http";
import type { OnReadOpts, Socket } from "node:net";
import type { Duplex, Readable } from "node:stream";

/**
 * A large answer is passed on in two buffers that are read into and written out of in turns. One for each piece,
 * as streams have it, costs little to make but much to collect: V8 marks the whole heap whenever some megabytes
 * of buffers have gathered, several times within one answer.
 */
const blockBytes = 128 * 1024;

/** From here on it is worth the new connection that the next request needs. */
const leastBytes = 1024 * 1024;

/**
 * All connections read into the same memory while the HTTP client parses what comes: it is copied out before
 * anything else is read. Windows is handed its memory ahead of the data, so there every connection reads as usual.
 */
const shared: Buffer | null = process.platform === "win32" ? null : Buffer.allocUnsafeSlow(64 * 1024);

/** How a connection reads. */
interface Intake {
  /** Between two requests. */
  idle: boolean;
  /** What the next bytes are read into. */
  memory(): Uint8Array;
  /** Takes what was read; whether to read on. */
  take(bytes: Buffer, memory: Uint8Array): boolean;
}

const intakes = new WeakMap<Duplex, Intake>();

/** Opens a connection whose reading `relay` can take over. */
export function connectForRelay(connect: (onread?: OnReadOpts) => Socket): Socket {
  if (shared === null) return connect();
  const intake: Intake = {
    idle: false,
    memory: () => shared,
    take(bytes) {
      if (!intake.idle) return socket.push(Buffer.from(bytes));
      // Nobody asked for it: it would be taken for the beginning of the next answer.
      socket.destroy();
      return false;
    },
  };
  const socket = connect({
    buffer: () => intake.memory(),
    callback: (count, memory) => intake.take(Buffer.from(memory.buffer, memory.byteOffset, count), memory),
  });
  intakes.set(socket, intake);
  return socket;
}

/** Tells whether a kept connection has a request on its way. */
export function setIdle(socket: Duplex, idle: boolean): void {
  const intake = intakes.get(socket);
  if (intake) intake.idle = idle;
}

/**
 * Passes a large body of announced length on, past the HTTP client, and settles when it has gone out. Exactly the
 * announced bytes are passed, and the connection is not used again: its parser has not seen them. Null for a body
 * that must go the ordinary way.
 */
export function relay(from: Readable, to: ServerResponse): Promise<void> | null {
  if (!(from instanceof IncomingMessage) || from.complete || from.destroyed) return null;
  const intake = intakes.get(from.socket);
  const length = announcedLength(from);
  if (!intake || length === null || length < leastBytes) return null;
  // What the parser has not seen yet, or somebody else was given, could not be counted.
  if (from.socket.readableLength > 0 || from.readableDidRead || from.readableFlowing) return null;
  return takeOver(from, intake, length, to);
}

/** Null when the end of the body shows in another way. The parser has refused answers that say both. */
function announcedLength({ headers }: IncomingMessage): number | null {
  const length = headers["content-length"] ?? "";
  return headers["transfer-encoding"] === undefined && /^\d{1,15}$/.test(length) ? Number(length) : null;
}

function takeOver(from: IncomingMessage, intake: Intake, length: number, to: ServerResponse): Promise<void> {
  const { socket } = from;
  const free: Uint8Array[] = [];
  let left = length;
  return new Promise((resolve, reject) => {
    // A connection that ends too early is an error of the message. So is its end when all has come, but too late.
    from.on("error", reject);
    to.once("close", () => {
      from.destroy();
      resolve();
    });
    const pass = (bytes: Buffer, written: () => void): void => {
      // More than was announced must not become the beginning of another answer.
      const part = bytes.subarray(0, left);
      left -= part.length;
      to.write(part, (error) => {
        if (error) reject(error);
        else if (left > 0) written();
        else {
          to.end();
          resolve();
          from.destroy();
        }
      });
    };
    // Memory is not read into again until it has been written, whoever makes the socket read.
    intake.memory = () => free.pop() ?? Buffer.allocUnsafeSlow(blockBytes);
    intake.take = (bytes, memory) => {
      // All is there and going out; more would be a write after the end.
      if (left === 0) return false;
      const ours = memory !== shared;
      pass(ours ? bytes : Buffer.from(bytes), () => {
        if (ours) free.push(memory);
        socket.resume();
      });
      return false;
    };
    // What came together with the headers.
    const first: unknown = from.read();
    if (first instanceof Buffer) pass(first, () => socket.resume());
    else socket.resume();
  });
}
