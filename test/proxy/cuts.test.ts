import {
  array,
  assert,
  asyncProperty,
  boolean,
  constantFrom,
  integer,
  nat,
  property,
  record,
  uint8Array,
} from "fast-check";
import { createServer, type AddressInfo, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRawFetch } from "../../adapters/node/raw-fetch.ts";
import { bodyReader } from "../../lib/http/body-reader.ts";

const encoder = new TextEncoder();
const bytesOf = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** A body in chunks, with what the standard allows around them. */
const chunkedBody = record({
  chunks: array(
    record({
      data: uint8Array({ minLength: 1, maxLength: 300 }),
      extension: constantFrom("", ";a", ';a="b;c"', " ;x=1"),
      upper: boolean(),
      zeros: integer({ min: 0, max: 3 }),
    }),
    { maxLength: 6 },
  ),
  trailers: constantFrom("", "x-sum: 1\r\n", "a: b\r\nc: d\r\n"),
}).map(({ chunks, trailers }) => ({
  body: bytesOf(chunks.map(({ data }) => data)),
  wire: bytesOf([
    ...chunks.flatMap(({ data, extension, upper, zeros }) => {
      const digits = "0".repeat(zeros) + data.length.toString(16);
      const size = upper ? digits.toUpperCase() : digits;
      return [encoder.encode(`${size}${extension}\r\n`), data, encoder.encode("\r\n")];
    }),
    encoder.encode(`0\r\n${trailers}\r\n`),
  ]),
}));
const cutsOf = array(nat(), { maxLength: 12 });

/** The same bytes in pieces. */
function cut(wire: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [...new Set(cuts.map((one) => one % (wire.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...at].map((from, index) => wire.subarray(from, at[index] ?? wire.length));
}

describe("a body comes out the same however its bytes are cut", () => {
  test("in chunks, and not a byte of what follows it", () => {
    assert(
      property(chunkedBody, cutsOf, uint8Array({ maxLength: 20 }), ({ body, wire }, cuts, next) => {
        const reader = bodyReader("chunked");
        const pieces: Uint8Array[] = [];
        let used = 0;
        for (const piece of cut(bytesOf([wire, next]), cuts)) used += reader.read(piece, pieces);
        expect(reader.done).toBe(true);
        expect(used).toBe(wire.length);
        expect(Buffer.from(bytesOf(pieces)).equals(body)).toBe(true);
      }),
    );
  });

  test("not done before its last byte", () => {
    assert(
      property(chunkedBody, nat(), ({ wire }, end) => {
        const reader = bodyReader("chunked");
        reader.read(wire.subarray(0, end % wire.length), []);
        expect(reader.done).toBe(false);
      }),
    );
  });
});

describe("an answer that comes in pieces over a connection", () => {
  let server: Server;
  let pieces: readonly Uint8Array[] = [];

  beforeAll(async () => {
    server = createServer((socket) => {
      socket.setNoDelay(true).on("error", () => socket.destroy());
      socket.on("data", async () => {
        for (const piece of pieces) {
          socket.write(piece);
          await new Promise((resolve) => {
            setImmediate(resolve);
          });
        }
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
  });

  afterAll(() => void server?.close());

  test("is the same as in one", async () => {
    const rawFetch = createRawFetch();
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    await assert(
      asyncProperty(chunkedBody, cutsOf, async ({ body, wire }, cuts) => {
        const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        const early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        pieces = cut(bytesOf([encoder.encode(early + head), wire]), cuts);
        const response = await rawFetch(url, { method: "GET", headers: {} });
        expect(response.status).toBe(200);
        expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true);
      }),
    );
  });
});
