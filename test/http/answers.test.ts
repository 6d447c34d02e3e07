import { array, assert, boolean, integer, property, string, tuple } from "fast-check";
import { describe, expect, test } from "vitest";
import { HttpAnswerError, parseAnswerHead } from "../../lib/http/answer-head.ts";
import { bodyReader } from "../../lib/http/body-reader.ts";

const parse = (lines: string, method = "GET"): ReturnType<typeof parseAnswerHead> =>
  parseAnswerHead(`HTTP/1.1 200 OK\r\n${lines}`, method);

describe("the head of an answer", () => {
  test("says what there is, with cookies apart and repeated headers joined", () => {
    const head = parse(
      "Content-Type: text/plain\r\nX-A: 1\r\nx-a:2 \r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 7",
    );
    expect(head).toMatchObject({ status: 200, framing: 7, keepsConnection: true });
    expect({ ...head.headers }).toEqual({
      "content-type": "text/plain",
      "x-a": "1, 2",
      "set-cookie": ["a=1", "b=2"],
      "content-length": "7",
    });
    expect({ ...parse("__proto__: x\r\nConnection: close").headers }["connection"]).toBe("close");
  });

  test.each([
    ["Transfer-Encoding: chunked", "GET", "chunked", true],
    ["Transfer-Encoding: Chunked", "GET", "chunked", true],
    ["X: y", "GET", "until-close", false],
    ["Content-Length: 0", "GET", 0, true],
    ["Content-Length: 9", "HEAD", "none", true],
    ["Content-Length: 9\r\nConnection: Close", "GET", 9, false],
  ] as const)("tells the end of the body: %s for %s", (lines, method, framing, keepsConnection) => {
    expect(parse(lines, method)).toMatchObject({ framing, keepsConnection });
  });

  test.each([204, 304, 103])("of %i has no body", (status) => {
    const head = parseAnswerHead(`HTTP/1.1 ${status}\r\nContent-Length: 5`, "GET");
    expect(head.framing).toBe("none");
  });

  test.each([
    ["", false],
    ["\r\nConnection: keep-alive", true],
  ])("of HTTP/1.0 keeps the connection only when it says so (%j)", (more, keepsConnection) => {
    const head = parseAnswerHead(`HTTP/1.0 200 OK\r\nContent-Length: 5${more}`, "GET");
    expect(head).toMatchObject({ keepsConnection });
  });

  test.each([
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 0x5",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "X: a\nTransfer-Encoding: chunked",
    "X: a\rY: b",
    "X: a\r\n folded",
    "X: a\0b",
    ": nameless",
    "no colon",
  ])("is refused where two could read it differently: %j", (lines) => {
    expect(() => parse(lines)).toThrow(HttpAnswerError);
  });

  test.each(["HTTP/2 200 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200", "ICY 200 OK", "HTTP/1.1 099 x", ""])(
    "is no other protocol's: %j",
    (line) => {
      expect(() => parseAnswerHead(line, "GET")).toThrow(HttpAnswerError);
    },
  );

  test("of HTTP/1.0 cannot be chunked", () => {
    expect(() => parseAnswerHead("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", "GET")).toThrow();
  });
});

/** Reads in pieces of these sizes, and what was behind the body. */
function read(
  framing: Parameters<typeof bodyReader>[0],
  text: string,
  sizes: readonly number[] = [text.length],
): { body: string; rest: string; done: boolean } {
  const bytes = Buffer.from(text, "latin1");
  const reader = bodyReader(framing);
  const pieces: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < bytes.length && !reader.done; i += 1) {
    const size = Math.max(1, sizes[i % sizes.length] ?? 1);
    const piece = bytes.subarray(at, at + size);
    const used = reader.read(piece, pieces);
    at += used;
    if (used < piece.length) break;
  }
  const body = Buffer.concat(pieces).toString("latin1");
  return { body, rest: bytes.toString("latin1", at), done: reader.done };
}

describe("the body of an answer", () => {
  test("of announced length ends there", () => {
    expect(read(5, "helloHTTP/1.1")).toEqual({ body: "hello", rest: "HTTP/1.1", done: true });
    expect(read(5, "hell")).toMatchObject({ done: false });
    expect(bodyReader(0).done).toBe(true);
  });

  test("in chunks is what is in them, however the bytes come", () => {
    const chunk = tuple(string({ minLength: 1, maxLength: 40, unit: "binary-ascii" }), boolean());
    const sizes = array(integer({ min: 1, max: 30 }), { minLength: 1 });
    assert(
      property(array(chunk), sizes, (chunks, cuts) => {
        const framed = chunks.map(([text, extended]) => {
          const size = text.length.toString(16);
          return `${extended ? `${size.toUpperCase()};x="y"` : size}\r\n${text}\r\n`;
        });
        const all = `${framed.join("")}0\r\nX-Trailer: 1\r\n\r\nrest`;
        const { body, rest, done } = read("chunked", all, cuts);
        expect({ body, rest, done }).toEqual({
          body: chunks.map(([text]) => text).join(""),
          rest: "rest",
          done: true,
        });
      }),
    );
  });

  test.each([
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhelloo\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\n\r\n",
    "5\r\nhello\r\n0\r\n\n",
    "-5\r\nhello\r\n",
    "+5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    " 5\r\nhello\r\n",
    "\r\nhello",
    "g\r\n",
    "ffffffffffffffffff\r\n",
    "5;a\n\r\nhello\r\n",
    `5;${"x".repeat(20_000)}\r\nhello\r\n`,
    `0\r\n${"x: y\r\n".repeat(5000)}\r\n`,
  ])("in chunks is refused when they are malformed: %j", (text) => {
    expect(() => read("chunked", text)).toThrow(HttpAnswerError);
    expect(() => read("chunked", text, [1])).toThrow(HttpAnswerError);
  });
});
