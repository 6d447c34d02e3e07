import { joined } from "../bytes.ts";

/** Messages larger than this are refused, bytes: a relay holds each one whole. Deno's own sockets take one byte less. */
export const mostMessageBytes: number = 64 * 1024 * 1024;

/** Close code of a close frame without one; never sent itself (RFC 6455, 7.4.1). */
export const noCloseCode: number = 1005;

/** What one end of a WebSocket tells the other. */
export type WebSocketMessage =
  | { kind: "text"; text: string }
  | { kind: "binary" | "ping" | "pong"; bytes: Uint8Array }
  | { kind: "close"; code: number; reason: string };

/** The peer broke the protocol; `code` is what to close with. */
export class WebSocketProtocolError extends Error {
  override readonly name = "WebSocketProtocolError";
  readonly code: 1002 | 1007 | 1009;

  constructor(code: 1002 | 1007 | 1009, message: string) {
    super(message);
    this.code = code;
  }
}

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** One frame as a client sends it: whole and masked with a fresh key (RFC 6455, 5.3). */
export function clientFrame(message: WebSocketMessage): Uint8Array {
  const payload = payloadOf(message);
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const frame = new Uint8Array(2 + extended + 4 + length);
  const view = new DataView(frame.buffer);
  frame[0] = 0x80 | opcodes[message.kind];
  frame[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) view.setUint16(2, length);
  else if (extended === 8) view.setBigUint64(2, BigInt(length));
  const start = 2 + extended + 4;
  const key = crypto.getRandomValues(frame.subarray(start - 4, start));
  const [a = 0, b = 0, c = 0, d = 0] = key;
  const mask = [a, b, c, d];
  for (let i = 0; i < length; i += 1) frame[start + i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0);
  return frame;
}

function payloadOf(message: WebSocketMessage): Uint8Array {
  if (message.kind === "text") return encoder.encode(message.text);
  if (message.kind !== "close") return message.bytes;
  if (message.code === noCloseCode) return new Uint8Array(0);
  return Uint8Array.of(message.code >> 8, message.code & 255, ...encoder.encode(message.reason));
}

/** A close frame as a server sends it. */
export function serverCloseFrame(code: number, reason: string): Uint8Array {
  const payload = payloadOf({ kind: "close", code, reason });
  return Uint8Array.of(0x80 | opcodes.close, payload.length, ...payload);
}

/** Follows the frames of one side, whatever is in them, to tell where one of another sender may stand. */
export class FrameFollower {
  readonly #isMasked: boolean;
  /** What is left of the payload. */
  #left = 0;
  /** The beginning of a head. */
  #head: number[] = [];
  #isLost = false;
  #isClosed = false;

  /** Clients mask, servers do not. */
  constructor(side: "client" | "server") {
    this.#isMasked = side === "client";
  }

  /** The last byte was the end of a frame, and none of them was a close frame. */
  get isBetweenFrames(): boolean {
    return this.#left === 0 && this.#head.length === 0 && !this.#isClosed && !this.#isLost;
  }

  /** Reads on. */
  follow(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.#isLost) {
      const skipped = Math.min(this.#left, bytes.length - at);
      this.#left -= skipped;
      at += skipped;
      while (this.#left === 0 && at < bytes.length && !this.#isLost) {
        // It is inside.
        this.#readHead(bytes[at] ?? 0);
        at += 1;
        if (this.#left > 0) break;
      }
    }
  }

  #readHead(byte: number): void {
    const head = this.#head;
    head.push(byte);
    const short = (head[1] ?? 0) & 0x7f;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (head.length < 2 + extended) return;
    this.#head = [];
    // The other side will not take this for a WebSocket either.
    if ((((head[1] ?? 0) & 0x80) !== 0) !== this.#isMasked) this.#isLost = true;
    if (((head[0] ?? 0) & 0x0f) === opcodes.close) this.#isClosed = true;
    const length = extended === 0 ? short : head.slice(2).reduce((sum, part) => sum * 256 + part, 0);
    this.#left = length + (this.#isMasked ? 4 : 0);
  }
}

/** The beginning of a frame. */
interface FrameHead {
  opcode: number;
  final: boolean;
  length: number;
}

/** Reads what a server sends, in pieces of any size, and puts fragments together. */
export class ServerFrameReader {
  readonly #bytes = new ByteQueue();
  #head: FrameHead | null = null;
  #fragments: { opcode: number; parts: Uint8Array[]; size: number } | null = null;

  /** The messages that these bytes complete. Throws WebSocketProtocolError; then nothing more can be read. */
  *read(chunk: Uint8Array): Generator<WebSocketMessage> {
    this.#bytes.push(chunk);
    for (;;) {
      this.#head ??= this.#readHead();
      const payload = this.#head && this.#bytes.take(this.#head.length);
      if (!this.#head || !payload) return;
      const head = this.#head;
      this.#head = null;
      const message = head.opcode >= opcodes.close ? control(head, payload) : this.#assemble(head, payload);
      if (message) yield message;
    }
  }

  #readHead(): FrameHead | null {
    const start = this.#bytes.peek(2);
    if (!start) return null;
    const [first = 0, second = 0] = start;
    const short = second & 0x7f;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    const opcode = first & 0x0f;
    const final = (first & 0x80) !== 0;
    if ((first & 0x70) !== 0) throw broken("a frame of an extension that was not agreed on");
    if ((second & 0x80) !== 0) throw broken("a masked frame of a server");
    if (!known.has(opcode)) throw broken(`a frame of the unknown kind ${opcode}`);
    if (opcode >= opcodes.close && (!final || extended > 0)) throw broken("a control frame that is too long");
    const head = this.#bytes.take(2 + extended);
    if (!head) return null;
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    const length = extended === 0 ? short : extended === 2 ? view.getUint16(2) : Number(view.getBigUint64(2));
    if (length + (this.#fragments?.size ?? 0) > mostMessageBytes) {
      throw new WebSocketProtocolError(1009, `A message is larger than ${mostMessageBytes} bytes.`);
    }
    return { opcode, final, length };
  }

  #assemble({ opcode, final }: FrameHead, payload: Uint8Array): WebSocketMessage | null {
    const begins = opcode !== opcodes.continuation;
    if (begins === (this.#fragments !== null)) throw broken("fragments out of order");
    const whole = (this.#fragments ??= { opcode, parts: [], size: 0 });
    if (payload.length > 0) whole.parts.push(payload);
    whole.size += payload.length;
    if (!final) return null;
    this.#fragments = null;
    const bytes = joined(whole.parts, whole.size);
    return whole.opcode === opcodes.text ? { kind: "text", text: utf8(bytes) } : { kind: "binary", bytes };
  }
}

const known: ReadonlySet<number> = new Set(Object.values(opcodes));

function control({ opcode }: FrameHead, payload: Uint8Array): WebSocketMessage {
  if (opcode !== opcodes.close) return { kind: opcode === opcodes.ping ? "ping" : "pong", bytes: payload };
  if (payload.length === 0) return { kind: "close", code: noCloseCode, reason: "" };
  const code = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
  if (payload.length === 1 || !isCloseCode(code)) throw broken("a close frame without a proper code");
  return { kind: "close", code, reason: utf8(payload.subarray(2)) };
}

/** Whether a close frame may carry it (RFC 6455, 7.4). */
export function isCloseCode(code: number): boolean {
  return (
    (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code < 5000)
  );
}

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new WebSocketProtocolError(1007, "A text is not UTF-8.");
  }
}

function broken(what: string): WebSocketProtocolError {
  return new WebSocketProtocolError(1002, `The engine sent ${what}.`);
}

/** Bytes in the order of their arrival, copied only where a piece spans chunks. */
class ByteQueue {
  #chunks: Uint8Array[] = [];
  #size = 0;

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#size += chunk.length;
  }

  /** The next bytes, which stay; null when there are not so many yet. */
  peek(count: number): Uint8Array | null {
    if (this.#size < count) return null;
    const [first] = this.#chunks;
    if (first && first.length >= count) return first.subarray(0, count);
    this.#chunks = [joined(this.#chunks, this.#size)];
    return this.#chunks[0]?.subarray(0, count) ?? null;
  }

  /** The next bytes, which are gone then; null when there are not so many yet. */
  take(count: number): Uint8Array | null {
    const taken = count === 0 ? new Uint8Array(0) : this.peek(count);
    const [first] = this.#chunks;
    if (!taken || !first || count === 0) return taken;
    if (first.length === count) this.#chunks.shift();
    else this.#chunks[0] = first.subarray(count);
    this.#size -= count;
    return taken;
  }
}
