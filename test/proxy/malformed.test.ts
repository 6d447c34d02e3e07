import { describe, expect, test } from "vitest";
import { parseAnswerHead } from "../../lib/http/answer-head.ts";
import { call, proxyTo } from "../support/proxy-server.ts";
import { answerOf, RawTarget } from "../support/raw-target.ts";

const target = new RawTarget();
const server = proxyTo(target);

const ok = "HTTP/1.1 200 OK\r\n";
/** An answer that a reader finds behind the body if it takes the other one of two framings. */
const poison = answerOf("poison");

describe("answers that two readers might read differently", () => {
  test.each([
    [
      "a length beside chunks",
      `${ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${poison}`,
    ],
    [
      "chunks beside a length",
      `${ok}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${poison}`,
    ],
    ["two lengths", `${ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello${poison}`],
    ["the same length twice", `${ok}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello${poison}`],
    ["a list of lengths", `${ok}Content-Length: 5, 5\r\n\r\nhello${poison}`],
    ["a length with a sign", `${ok}Content-Length: +5\r\n\r\nhello${poison}`],
    ["a negative length", `${ok}Content-Length: -1\r\n\r\nhello${poison}`],
    ["a length in hexadecimal", `${ok}Content-Length: 0x5\r\n\r\nhello${poison}`],
    ["an empty length", `${ok}Content-Length: \r\n\r\nhello${poison}`],
    ["a length beyond all numbers", `${ok}Content-Length: 99999999999999999999\r\n\r\nhello`],
    ["an unknown encoding", `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ["chunks twice", `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["an encoding that is nearly chunked", `${ok}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ["chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["a folded header", `${ok}X-A: 1\r\n Content-Length: 5\r\n\r\nhello`],
    ["a header folded by a tab", `${ok}X-A: 1\r\n\t2\r\nContent-Length: 5\r\n\r\nhello`],
    ["a fold before any header", `${ok} X-A: 1\r\nContent-Length: 5\r\n\r\nhello`],
    ["a blank before the colon", `${ok}Content-Length : 5\r\n\r\nhello`],
    ["a header without a colon", `${ok}Content-Length 5\r\n\r\nhello`],
    ["a header without a name", `${ok}: 5\r\nContent-Length: 5\r\n\r\nhello`],
    ["a bare line feed", `${ok}X-A: 1\nContent-Length: 5\r\n\r\nhello`],
    ["a bare carriage return", `${ok}X-A: 1\rContent-Length: 5\r\n\r\nhello`],
    ["a NUL", `${ok}X-A: \0\r\nContent-Length: 5\r\n\r\nhello`],
  ])("%s: none of it is passed on, and nothing else comes from there", async (_name, answer) => {
    target.answer = ({ socket }) => socket.write(answer, "latin1");
    const { status, body, headers } = await call(server, "/x");
    expect([status, JSON.parse(body)]).toMatchObject([502, { code: "opencode_unreachable" }]);
    // Which half of the sentence it is differs; the caller is told which target and what of its answer is wrong.
    expect(body).toMatch(/its answer has|a header of its answer is malformed/);
    expect(headers["x-a"]).toBeUndefined();
    await expect.poll(() => target.newest.destroyed).toBe(true);
    target.answer = ({ socket }) => socket.write(answerOf("next"));
    expect((await call(server, "/next")).body).toBe("next");
  });
});

describe("what is no answer in HTTP/1.1 is told at once, though its sender waits for more", () => {
  test.each([
    ["a greeting", "SSH-2.0-OpenSSH_9.6\r\n"],
    ["a greeting without an end", "220 mail.example ESMTP"],
    ["a body without a head", "<html>hello</html>"],
    ["bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"],
    ["an empty line first", `\r\n${answerOf("hello")}`],
    ["HTTP/2", "HTTP/2.0 200 OK\r\n\r\n"],
    ["HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n"],
    ["HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"],
    ["lower case", "http/1.1 200 OK\r\n\r\n"],
    ["two blanks", "HTTP/1.1  200 OK\r\n\r\n"],
    ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
    ["a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"],
    ["a status beyond 599", "HTTP/1.1 600 OK\r\n\r\n"],
    ["a status below 100", "HTTP/1.1 099 OK\r\n\r\n"],
    ["no status", "HTTP/1.1 OK\r\n\r\n"],
    ["a reason with a NUL", "HTTP/1.1 200 O\0K\r\n\r\n"],
  ])("%s", async (_name, text) => {
    target.answer = ({ socket }) => socket.write(text, "latin1");
    const { status, body } = await call(server, "/x");
    expect([status, JSON.parse(body)]).toMatchObject([502, { code: "opencode_unreachable" }]);
    expect(body).toContain("it does not answer in HTTP/1.1");
    expect(body).toContain(`127.0.0.1:${target.port}`);
  });

  test("another protocol that nobody asked for", async () => {
    target.answer = ({ socket }) =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    const { status, body } = await call(server, "/x");
    expect([status, body]).toEqual([502, expect.stringContaining("switched protocols unasked")]);
    await expect.poll(() => target.newest.destroyed).toBe(true);
  });

  test("headers that invite to go back and forth in them take no time (CVE-2024-45296)", () => {
    const before = performance.now();
    const blanks = "\t ".repeat(8000);
    for (let i = 0; i < 50; i += 1) {
      expect(() => parseAnswerHead(`HTTP/1.1 200 OK\r\nX-A:${blanks}\x01`, "GET")).toThrow("malformed");
      expect(parseAnswerHead(`HTTP/1.1 200 OK\r\nX-A:${blanks}a${blanks}`, "GET").headers["x-a"]).toBe("a");
    }
    // At a tenth of a second each it would be more.
    expect(performance.now() - before).toBeLessThan(3000);
  });
});

/** Header lines of so many bytes. */
const filler = (size: number): string => {
  const lines = Array.from({ length: Math.ceil(size / 1000) }, (_, i) => `X-${i}: ${"a".repeat(990)}\r\n`);
  return lines.join("");
};

describe("heads without measure", () => {
  test("one of 15 KiB passes", async () => {
    target.answer = ({ socket }) => socket.write(answerOf("hello", filler(14_000)));
    const { headers, body } = await call(server, "/x");
    expect([body, headers["x-13"]?.length]).toEqual(["hello", 990]);
  });

  test.each([
    ["a long one", `${ok}${filler(40_000)}\r\n`],
    ["one line", `${ok}X-A: ${"a".repeat(40_000)}\r\n\r\n`],
    ["one that never ends", `${ok}X-A: ${"a".repeat(40_000)}`],
    ["one of an interim answer", `HTTP/1.1 103 Early Hints\r\n${filler(40_000)}\r\n${answerOf("hello")}`],
  ])("%s is refused", async (_name, text) => {
    target.answer = ({ socket }) => socket.write(text);
    const { status, body } = await call(server, "/x");
    expect([status, body]).toEqual([502, expect.stringContaining("larger than 16 KiB")]);
    await expect.poll(() => target.newest.destroyed).toBe(true);
  });
});

describe("chunks that are none", () => {
  test.each([
    ["no size", "\r\nhello\r\n0\r\n\r\n"],
    ["a size that is no number", "g\r\nhello\r\n0\r\n\r\n"],
    ["a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"],
    ["a size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"],
    ["a size beyond all numbers", "fffffffffffffffff\r\nhello"],
    ["a bare line feed behind the size", "5\nhello\r\n0\r\n\r\n"],
    ["a bare carriage return behind the size", "5\rxhello\r\n0\r\n\r\n"],
    ["something else in the place of its line end", "5\r\nhelloxy0\r\n\r\n"],
    ["something else in the place of the last line end", "5\r\nhello\r\n0\r\n\rx"],
    ["more than its size", "5\r\nhello!\r\n0\r\n\r\n"],
    ["a bare line feed in an extension", "5;a\n\r\nhello\r\n0\r\n\r\n"],
  ])("%s: what came before them comes, and no end", async (_name, rest) => {
    target.answer = ({ socket }) =>
      socket.write(`${ok}Transfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\n${rest}`);
    const got = await call(server, "/x").catch((error: Error) => error);
    if (got instanceof Error) throw got;
    if (got.status === 200)
      expect(got).toMatchObject({ isWhole: false, body: expect.stringMatching(/^before/) });
    else expect([got.status, got.body]).toEqual([502, expect.stringContaining("a chunk of its answer")]);
    await expect.poll(() => target.newest.destroyed).toBe(true);
  });
});
