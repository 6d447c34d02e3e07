import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  clientFrame,
  isCloseCode,
  mostMessageBytes,
  ServerFrameReader,
  WebSocketProtocolError,
  type WebSocketMessage,
} from "../../lib/http/websocket-frames.ts";

const kinds = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A frame as a server sends it, made here by the letter of RFC 6455, 5.2. */
function serverFrame(kind: keyof typeof kinds | number, payload: Uint8Array, final = true): Uint8Array {
  const opcode = typeof kind === "number" ? kind : kinds[kind];
  const { length } = payload;
  const size =
    length < 126
      ? [length]
      : length < 65_536
        ? [126, length >> 8, length & 255]
        : [127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255];
  return concat([Uint8Array.of((final ? 0x80 : 0) | opcode, ...size), payload]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function readAll(bytes: Uint8Array, cuts: readonly number[] = []): WebSocketMessage[] {
  const reader = new ServerFrameReader();
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b);
  return edges.slice(1).flatMap((end, i) => [...reader.read(bytes.slice(edges[i], end))]);
}

/** What a server understands of a client's frame. */
function unmasked(frame: Uint8Array): { first: number; payload: Uint8Array } {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  expect((frame[1] ?? 0) & 0x80).toBe(0x80);
  const short = (frame[1] ?? 0) & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const length = extended === 0 ? short : extended === 2 ? view.getUint16(2) : Number(view.getBigUint64(2));
  const key = frame.subarray(2 + extended, 6 + extended);
  const masked = frame.subarray(6 + extended);
  expect(masked.length).toBe(length);
  return { first: frame[0] ?? 0, payload: masked.map((byte, i) => byte ^ (key[i % 4] ?? 0)) };
}

const plain = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 300 }).map((text) => ({ kind: "text" as const, text })),
  fc
    .uint8Array({ maxLength: 300 })
    .map((bytes) => ({ kind: "binary" as const, bytes: new Uint8Array(bytes) })),
);
const small = fc.uint8Array({ maxLength: 125 }).map((bytes) => new Uint8Array(bytes));

describe("frames of a server", () => {
  test("come out as the messages that went in, however they are cut, fragmented and interleaved", () => {
    const sent = fc.record({ message: plain, pieces: fc.array(fc.nat(), { maxLength: 4 }), ping: small });
    fc.assert(
      fc.property(
        fc.array(sent, { maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        (messages, cuts) => {
          const frames: Uint8Array[] = [];
          const expected: WebSocketMessage[] = [];
          for (const { message, pieces, ping } of messages) {
            const payload = message.kind === "text" ? utf8(message.text) : message.bytes;
            const edges = [0, ...pieces.map((at) => at % (payload.length + 1)), payload.length];
            edges.sort((a, b) => a - b);
            edges.slice(1).forEach((end, i) => {
              const isLast = i === edges.length - 2;
              frames.push(
                serverFrame(i === 0 ? message.kind : "continuation", payload.slice(edges[i], end), isLast),
              );
              if (!isLast) {
                // Control frames may come between fragments (RFC 6455, 5.4).
                frames.push(serverFrame("ping", ping));
                expected.push({ kind: "ping", bytes: ping });
              }
            });
            expected.push(message);
          }
          expect(readAll(concat(frames), cuts)).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("of every size class are read", () => {
    for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]) {
      const bytes = Uint8Array.from({ length }, (_, i) => i & 255);
      expect(readAll(serverFrame("binary", bytes), [1, 2, 3, 5, 70_000])).toEqual([
        { kind: "binary", bytes },
      ]);
    }
  });

  test("keep a byte order mark in a text", () => {
    expect(readAll(serverFrame("text", utf8("\u{feff}a")))).toEqual([{ kind: "text", text: "\u{feff}a" }]);
  });

  test("close with a code and a reason, or with none", () => {
    const close = concat([Uint8Array.of(4001 >> 8, 4001 & 255), utf8("sö")]);
    expect(readAll(serverFrame("close", close))).toEqual([{ kind: "close", code: 4001, reason: "sö" }]);
    expect(readAll(serverFrame("close", new Uint8Array(0)))).toEqual([
      { kind: "close", code: 1005, reason: "" },
    ]);
  });

  test.each([
    ["of an extension", Uint8Array.of(0xc1, 0), 1002],
    ["that is masked", Uint8Array.of(0x81, 0x80, 0, 0, 0, 0), 1002],
    ["of an unknown kind", serverFrame(3, new Uint8Array(0)), 1002],
    ["of an unknown control kind", serverFrame(11, new Uint8Array(0)), 1002],
    ["that goes on with nothing", serverFrame("continuation", utf8("a")), 1002],
    [
      "that begins amid another",
      concat([serverFrame("text", utf8("a"), false), serverFrame("text", utf8("b"))]),
      1002,
    ],
    ["of control in fragments", serverFrame("ping", utf8("a"), false), 1002],
    ["of control beyond 125 bytes", serverFrame("ping", new Uint8Array(126)), 1002],
    ["that closes with half a code", serverFrame("close", Uint8Array.of(3)), 1002],
    ["that closes with 1005", serverFrame("close", Uint8Array.of(1005 >> 8, 1005 & 255)), 1002],
    ["whose text is no UTF-8", serverFrame("text", Uint8Array.of(0xff)), 1007],
    ["whose reason is no UTF-8", serverFrame("close", Uint8Array.of(3, 232, 0xff)), 1007],
    ["that announces too much", Uint8Array.of(0x82, 127, 0, 0, 0, 0, 4, 0, 0, 1), 1009],
    [
      "that announces more than a number holds",
      Uint8Array.of(0x82, 127, ...Array.from({ length: 8 }, () => 255)),
      1009,
    ],
  ])("a frame %s is refused", (_what, bytes, code) => {
    const error = ((): unknown => {
      try {
        return readAll(bytes);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(WebSocketProtocolError);
    expect(error).toMatchObject({ code });
  });

  test("fragments count together against the limit", () => {
    const half = new Uint8Array(2 + 8 + mostMessageBytes / 2);
    half.set([0x02, 127, 0, 0, 0, 0, 2, 0, 0, 0]);
    const reader = new ServerFrameReader();
    expect([...reader.read(half)]).toEqual([]);
    expect(() => [...reader.read(Uint8Array.of(0x80, 127, 0, 0, 0, 0, 2, 0, 0, 1))]).toThrow(
      expect.objectContaining({ code: 1009 }),
    );
  });
});

describe("frames of a client", () => {
  test("are whole, masked with a key of their own, and say what they were made of", () => {
    fc.assert(
      fc.property(plain, (message) => {
        const { first, payload } = unmasked(clientFrame(message));
        expect(first).toBe(0x80 | kinds[message.kind]);
        expect(payload).toEqual(message.kind === "text" ? utf8(message.text) : message.bytes);
      }),
    );
    for (const length of [0, 125, 126, 65_535, 65_536]) {
      const bytes = Uint8Array.from({ length }, (_, i) => i & 255);
      expect(unmasked(clientFrame({ kind: "binary", bytes })).payload).toEqual(bytes);
    }
    const keys = Array.from({ length: 8 }, () => clientFrame({ kind: "text", text: "" }).join());
    expect(new Set(keys).size).toBeGreaterThan(1);
  });

  test("carry a close code with its reason, or nothing", () => {
    const told = unmasked(clientFrame({ kind: "close", code: 4002, reason: "ü" }));
    expect(told.payload).toEqual(concat([Uint8Array.of(4002 >> 8, 4002 & 255), utf8("ü")]));
    expect(unmasked(clientFrame({ kind: "close", code: 1005, reason: "" })).payload.length).toBe(0);
  });

  test("carry only codes that a close frame may carry", () => {
    const codes = [0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 2999, 3000, 4999, 5000];
    expect(codes.filter(isCloseCode)).toEqual([1000, 1003, 1007, 1014, 3000, 4999]);
  });
});
