import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { clientToken } from "../support/memory-host.ts";
import { begin, call, outcomeOf, proxyTo } from "../support/proxy-server.ts";
import {
  answerOf,
  chunk,
  chunkedHead,
  Gate,
  RawTarget,
  reset,
  type RawRequest,
} from "../support/raw-target.ts";

const target = new RawTarget();
const server = proxyTo(target);

const ways: readonly (readonly [name: string, breakOff: (socket: Socket) => unknown])[] = [
  ["by a reset", reset],
  ["by an end", (socket) => socket.end()],
];
const half = "a".repeat(500_000);
const sizedHead = `HTTP/1.1 200 OK\r\nContent-Length: ${2 * half.length}\r\n\r\n`;

describe.each(ways)("a target that breaks off %s", (name, breakOff) => {
  test.each([
    ["before its answer", ""],
    ["in its status line", "HTTP/1.1 20"],
    ["in its headers", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A"],
    ["before the end of its headers", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"],
    ["after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n"],
  ])("%s has not answered", async (_place, text) => {
    target.answer = ({ socket }) => socket.write(text, () => breakOff(socket));
    const { status, body } = await call(server, "/x");
    expect([status, JSON.parse(body)]).toMatchObject([
      502,
      {
        code: "opencode_unreachable",
        details: { target: `http://127.0.0.1:${target.port}`, cause: "ECONNRESET" },
      },
    ]);
  });

  test.each([
    ["at the beginning of a body", sizedHead],
    ["in a body of known length", sizedHead + half],
    ["one byte before its end", `${sizedHead}${half}${half.slice(1)}`],
    ["at the beginning of chunks", chunkedHead],
    ["in the size of a chunk", `${chunkedHead}${chunk(half)}5`],
    ["in a chunk", `${chunkedHead}${chunk(half)}${chunk(half).slice(0, 1000)}`],
    ["between chunks", chunkedHead + chunk(half)],
    ["before the last line of chunks", `${chunkedHead}${chunk(half)}0\r\n`],
  ])("%s never gives a whole answer", async (_place, text) => {
    const seen = new Gate();
    target.answer = async ({ socket }) => {
      socket.write(text);
      await seen.passed;
      breakOff(socket);
    };
    const answer = await begin(server, "/x");
    seen.open();
    const { status, body, isWhole } = await outcomeOf(answer);
    expect([status, isWhole]).toEqual([200, false]);
    expect(body.length).toBeLessThan(2 * half.length);
  });

  test("in a body that the end of the connection ends", async () => {
    const seen = new Gate();
    target.answer = async ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\n\r\n${half}`);
      await seen.passed;
      breakOff(socket);
    };
    const answer = await begin(server, "/x");
    seen.open();
    // Of these the end alone is an end.
    const { isWhole } = await outcomeOf(answer);
    expect(isWhole).toBe(name === "by an end");
  });

  test("has a caller of HTTP/1.0, who knows the end by the connection's alone, see a reset", async () => {
    const seen = new Gate();
    target.answer = async ({ socket }) => {
      socket.write(chunkedHead + chunk("hello"));
      await seen.passed;
      breakOff(socket);
    };
    const socket = connect(server.port, "127.0.0.1");
    const failed = new Promise((resolve) => {
      socket.on("error", resolve).on("end", () => resolve("a clean end"));
    });
    socket.write(`GET /opencode/x HTTP/1.0\r\nAuthorization: Bearer ${clientToken}\r\n\r\n`);
    let text = "";
    while (!text.endsWith("hello")) text += String((await once(socket, "data"))[0]);
    seen.open();
    expect(await failed).toMatchObject({ code: "ECONNRESET" });
  });
});

/** Lets the target answer and the test wait for its request. */
function arrival(answer: (request: RawRequest) => unknown): Promise<Socket> {
  return new Promise((resolve) => {
    target.answer = (request) => {
      resolve(request.socket);
      return answer(request);
    };
  });
}

describe("a caller that goes away", () => {
  test.each([
    ["before there is an answer", ""],
    ["in a body of known length", sizedHead + half],
    ["in chunks", chunkedHead + chunk(half)],
    [
      "in a stream of events",
      `${chunkedHead.replace("\r\n\r\n", "\r\nContent-Type: text/event-stream\r\n\r\n")}${chunk("data: 1\n\n")}`,
    ],
  ])("%s has the target go too, on a connection that is never used again", async (_when, text) => {
    const arrived = arrival(({ socket }) => socket.write(text));
    const caller = connect(server.port, "127.0.0.1").on("error", () => undefined);
    caller.write(`GET /opencode/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${clientToken}\r\n\r\n`);
    const socket = await arrived;
    if (text !== "") await once(caller, "data");
    caller.destroy();
    await expect.poll(() => socket.destroyed).toBe(true);
    target.answer = (request) => {
      expect(request.socket).not.toBe(socket);
      request.socket.write(answerOf("next"));
    };
    expect((await call(server, "/next")).body).toBe("next");
    expect(server.crashes).toEqual([]);
  });

  test.each([
    ["of known length", "Content-Length: 1000000"],
    ["in chunks", "Transfer-Encoding: chunked"],
  ])("in the body of its request (%s) leaves no whole one behind", async (_name, framing) => {
    let got = "";
    const read = new Gate();
    const arrived = arrival(async (request) => {
      got = await request.body();
      read.open();
    });
    const caller = connect(server.port, "127.0.0.1").on("error", () => undefined);
    const head = `POST /opencode/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${clientToken}\r\n${framing}\r\n\r\n`;
    caller.write(head + (framing.startsWith("T") ? chunk("a".repeat(1000)) : "a".repeat(1000)));
    const socket = await arrived;
    caller.destroy();
    await read.passed;
    await expect.poll(() => socket.destroyed).toBe(true);
    expect(got.endsWith("0\r\n\r\n")).toBe(false);
    expect(got.length).toBeLessThan(2000);
  });
});
