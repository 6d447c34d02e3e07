import { once } from "node:events";
import { beforeEach, describe, expect, test } from "vitest";
import { begin, call, outcomeOf, proxyTo } from "../support/proxy-server.ts";
import { answerOf, chunk, chunkedHead, Gate, RawTarget, reset } from "../support/raw-target.ts";

const target = new RawTarget();
const server = proxyTo(target);

// No test begins with a connection of the one before it.
beforeEach(async () => {
  await target.hangUp();
  target.requests.length = 0;
  target.connections.length = 0;
  target.answer = ({ socket, line }) => socket.write(answerOf(line));
});

/** Leaves the server with one idle connection. */
async function warm(method = "GET"): Promise<void> {
  const body = method === "GET" ? "" : "hello";
  expect((await call(server, "/warm", { method, body })).body).toBe(`${method} /warm`);
  expect(target.open).toBe(1);
  target.requests.length = 0;
}

describe("a connection that is kept", () => {
  test("carries one request after the other", async () => {
    for (let i = 0; i < 5; i += 1) expect((await call(server, `/${i}`)).body).toBe(`GET /${i}`);
    expect(target.connections).toHaveLength(1);
  });

  test.each([
    ["an answer", answerOf("poison")],
    ["a timeout's notice", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
    ["a line end", "\r\n"],
    ["a byte", "x"],
  ])("on which %s comes unasked is not used again", async (_name, text) => {
    await warm();
    const idle = target.newest;
    idle.write(text);
    await expect.poll(() => idle.destroyed).toBe(true);
    const { status, body } = await call(server, "/next");
    expect([status, body]).toEqual([200, "GET /next"]);
    expect(target.connections).toHaveLength(2);
  });

  test.each([
    ["ends", (socket: typeof target.newest) => socket.end()],
    ["resets", reset],
  ])("that the target %s while it is idle fails no request", async (_name, close) => {
    for (let i = 0; i < 20; i += 1) {
      await warm(i % 2 === 0 ? "GET" : "POST");
      close(target.newest);
      // Whether the server has noticed by now is a matter of luck.
      for (let turns = i % 4; turns > 0; turns -= 1) await new Promise(setImmediate);
      expect(await call(server, "/next")).toMatchObject({ status: 200, body: "GET /next" });
      await target.hangUp();
    }
  });

  test("is let go after a while", async () => {
    await warm();
    await expect.poll(() => target.open, { timeout: 20_000 }).toBe(0);
  });
});

describe("a kept connection that the target closes just as a request goes out on it", () => {
  test.each(["GET", "HEAD"])("%s is sent once more, on a new one", async (method) => {
    await warm();
    const idle = target.newest;
    target.answer = ({ socket, line }) => (socket === idle ? socket.end() : socket.write(answerOf(line)));
    const { status, body } = await call(server, "/next", { method });
    expect([status, body]).toEqual([200, method === "GET" ? "GET /next" : ""]);
    expect(target.requests).toEqual([`${method} /next`, `${method} /next`]);
  });

  test("but not twice more", async () => {
    await warm();
    target.answer = ({ socket }) => socket.end();
    expect((await call(server, "/next")).status).toBe(502);
    expect(target.requests).toEqual(["GET /next", "GET /next"]);
  });

  test.each(["H", "HTTP/1.1 100 Continue\r\n\r\n"])("not after %j of an answer", async (text) => {
    await warm();
    target.answer = ({ socket }) => socket.end(text);
    expect((await call(server, "/next")).status).toBe(502);
    expect(target.requests).toEqual(["GET /next"]);
  });

  test.each(["POST", "PUT", "PATCH", "DELETE"])(
    "%s arrives once at most: it gets a new one at once",
    async (method) => {
      await warm();
      const idle = target.newest;
      target.answer = async ({ socket, body: read }) => {
        expect(socket).not.toBe(idle);
        await read();
        socket.end();
      };
      const body = method === "DELETE" ? "" : "hello";
      expect((await call(server, "/next", { method, body })).status).toBe(502);
      expect((await call(server, "/next", { method })).status).toBe(502);
      expect(target.requests).toEqual([`${method} /next`, `${method} /next`]);
    },
  );
});

describe("a connection on which something is left over", () => {
  test.each([
    ["a body of known length", `HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n${"a".repeat(100_000)}`],
    ["chunks", chunkedHead + chunk("a".repeat(100_000))],
  ])("is not used again when its caller went away in %s", async (_name, text) => {
    const gate = new Gate();
    target.answer = async ({ socket }) => {
      socket.write(text);
      await gate.passed;
      // What is left of it would be read as the next answer.
      socket.write(answerOf("poison"));
    };
    const answer = await begin(server, "/x");
    await once(answer, "data");
    answer.on("error", () => undefined).destroy();
    await expect.poll(() => target.newest.destroyed).toBe(true);
    gate.open();
    target.answer = ({ socket, line }) => socket.write(answerOf(line));
    expect((await call(server, "/next")).body).toBe("GET /next");
  });

  test("is not used again when more came than the answer", async () => {
    target.answer = ({ socket }) => socket.write(answerOf("hello") + answerOf("poison"));
    expect((await call(server, "/x")).body).toBe("hello");
    target.answer = ({ socket, line }) => socket.write(answerOf(line));
    expect((await call(server, "/next")).body).toBe("GET /next");
  });
});

describe("many requests at a time", () => {
  test("each gets its own answer, in whatever order they come, and few connections are kept", async () => {
    const count = 300;
    const waiting: (() => void)[] = [];
    const all = new Gate();
    target.answer = async ({ socket, line }) => {
      const gate = new Gate();
      waiting.push(gate.open);
      if (waiting.length === count) all.open();
      await gate.passed;
      const body = line.repeat(1 + (waiting.length % 7) * 1000);
      socket.write(answerOf(body));
    };
    const calls = Array.from({ length: count }, async (_, i) => {
      const { body, isWhole } = await call(server, `/${i}`);
      const line = `GET /${i}`;
      return isWhole && body.length % line.length === 0 && body === line.repeat(body.length / line.length);
    });
    await all.passed;
    for (let i = 0; i < count; i += 1) waiting[(i * 7) % count]?.();
    expect(await Promise.all(calls)).toEqual(Array.from({ length: count }, () => true));
    await expect.poll(() => target.open).toBeLessThanOrEqual(64);
    target.answer = ({ socket, line }) => socket.write(answerOf(line));
    const next = await Promise.all(Array.from({ length: count }, (_, i) => call(server, `/again/${i}`)));
    expect(next.map(({ body }) => body)).toEqual(Array.from({ length: count }, (_, i) => `GET /again/${i}`));
  });

  test("a slow one keeps no other waiting", async () => {
    const gate = new Gate();
    target.answer = async ({ socket, line }) => {
      if (line === "GET /slow") await gate.passed;
      socket.write(answerOf(line));
    };
    const slow = begin(server, "/slow");
    for (let i = 0; i < 20; i += 1) expect((await call(server, `/${i}`)).body).toBe(`GET /${i}`);
    gate.open();
    expect((await outcomeOf(await slow)).body).toBe("GET /slow");
  });
});
