import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { clientToken } from "../support/memory-host.ts";
import { proxyTo } from "../support/proxy-server.ts";
import { answerOf, chunk, RawTarget, reset, room, type RawRequest } from "../support/raw-target.ts";

const target = new RawTarget();
const server = proxyTo(target);

const megabyte = 1024 * 1024;
const piece = "b".repeat(64 * 1024);

/** Sends a request with a body of some megabytes piece by piece, all of it before it reads anything where told so. */
async function upload(framing: "length" | "chunks", readsAtOnce: boolean): Promise<string> {
  const socket = connect(server.port, "127.0.0.1");
  let text = "";
  const closed = once(socket, "close");
  socket.on("error", (error) => (text += ` ${error.message}`));
  const read = (): void => void socket.on("data", (bytes) => (text += bytes.toString("latin1")));
  if (readsAtOnce) read();
  const length = 8 * megabyte;
  const kind = framing === "length" ? `Content-Length: ${length}` : "Transfer-Encoding: chunked";
  socket.write(
    `POST /opencode/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${clientToken}\r\nConnection: close\r\n${kind}\r\n\r\n`,
  );
  const data = framing === "length" ? piece : chunk(piece);
  for (let sent = 0; sent < length && socket.writable; sent += piece.length) {
    if (!socket.write(data) && socket.writable) await room(socket);
  }
  if (framing === "chunks" && socket.writable) socket.write("0\r\n\r\n");
  if (!readsAtOnce) read();
  await closed;
  return text;
}

const never = new Promise(() => undefined);
const long = "c".repeat(3 * megabyte);

describe.each([
  ["a short answer", "too much"],
  ["a long answer", long],
])("%s before the body of the request was read", (_name, body) => {
  const answer = answerOf(body).replace("200 OK", "413 Content Too Large");
  const ways: [string, (request: RawRequest) => unknown][] = [
    ["keeps reading", async (request) => (request.socket.write(answer), request.body())],
    ["reads no more", ({ socket }) => (socket.write(answer), never)],
    ["ends its side, and reads no more", ({ socket }) => (socket.end(answer), never)],
  ];
  // With what was sent unread, which makes it a reset; of a long answer that takes a part along.
  if (body !== long) ways.push(["closes", ({ socket }) => socket.write(answer, () => socket.destroy())]);

  describe.each(ways)("by a target that %s", (_way, answers) => {
    test.each([
      ["length", true],
      ["length", false],
      ["chunks", true],
      ["chunks", false],
    ] as const)(
      "reaches a caller that sends with %s (and reads at once: %s)",
      async (framing, readsAtOnce) => {
        for (let i = 0; i < 5; i += 1) {
          const sockets: Socket[] = [];
          target.answer = (request) => (sockets.push(request.socket), answers(request));
          const text = await upload(framing, readsAtOnce);
          expect(text.slice(0, 12)).toBe("HTTP/1.1 413");
          const got = text.slice(text.indexOf("\r\n\r\n") + 4);
          expect(got === body).toBe(true);
          expect(sockets).toHaveLength(1);
          // Half a request went over it, and the end shows to those who read.
          sockets[0]?.resume();
          await expect.poll(() => sockets[0]?.destroyed ?? false).toBe(true);
        }
      },
      30_000,
    );
  });
});

describe("no answer, but a reset, before the body of the request was read", () => {
  test.each([
    ["length", true],
    ["length", false],
    ["chunks", true],
    ["chunks", false],
  ] as const)("is told a caller that sends with %s (and reads at once: %s)", async (framing, readsAtOnce) => {
    const before = target.requests.length;
    target.answer = ({ socket }) => reset(socket);
    const text = await upload(framing, readsAtOnce);
    expect(text).toMatch(/^HTTP\/1\.1 502 [^]*"opencode_unreachable"[^]*"(?:ECONNRESET|EPIPE)"/);
    expect(target.requests).toHaveLength(before + 1);
  });
});

describe("an answer that goes on while its request does", () => {
  test("both come whole", async () => {
    // An echo, chunk for chunk.
    target.answer = async ({ socket, body }) => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      socket.on("data", (bytes: Buffer) => socket.write(chunk(bytes.toString("latin1")), "latin1"));
      await body();
      socket.write("0\r\n\r\n");
    };
    const socket = connect(server.port, "127.0.0.1");
    let text = "";
    socket.on("data", (bytes) => (text += bytes.toString("latin1")));
    socket.write(
      `POST /opencode/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${clientToken}\r\nContent-Length: 30\r\nConnection: close\r\n\r\n`,
    );
    await expect.poll(() => text).toContain("\r\n\r\n");
    for (const part of ["0123456789", "abcdefghij", "ABCDEFGHIJ"]) {
      socket.write(part);
      await expect.poll(() => text).toContain(part);
    }
    await expect.poll(() => text.endsWith("0\r\n\r\n")).toBe(true);
  });
});
