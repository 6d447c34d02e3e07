import { Agent } from "node:http";
import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { clientToken } from "../support/memory-host.ts";
import { call, startProxyServer, type ProxyServer } from "../support/proxy-server.ts";
import { answerOf, chunk, chunkedHead, RawTarget } from "../support/raw-target.ts";
import { openSocket } from "../support/websocket.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";

const target = new RawTarget();
const warnings: Error[] = [];
const warn = (warning: Error): void => void warnings.push(warning);
let terminal: Terminal;
let server: ProxyServer;
let withTerminal: ProxyServer;

beforeAll(async () => {
  // What Node says of more than ten listeners for one thing.
  process.on("warning", warn);
  await target.start();
  terminal = await startTerminal();
  server = await startProxyServer(`http://127.0.0.1:${target.port}`);
  withTerminal = await startProxyServer(terminal.url);
});

afterAll(async () => {
  process.off("warning", warn);
  await server?.stop();
  await withTerminal?.stop();
  terminal?.stop();
  target.stop();
});

afterEach(async () => {
  // Warnings come a little later.
  await new Promise(setImmediate);
  expect(warnings.splice(0)).toEqual([]);
});

const many = 40;

describe("listeners do not gather on a connection", () => {
  test("of a caller that offers another protocol with each of its requests", async () => {
    target.answer = ({ socket, line }) => socket.write(answerOf(line));
    const socket = connect(server.port, "127.0.0.1");
    let text = "";
    socket.on("data", (bytes) => (text += bytes.toString("latin1")));
    for (let i = 0; i < many; i += 1) {
      const offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
      socket.write(
        `GET /opencode/${i}. HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${clientToken}\r\n${offer}\r\n`,
      );
      await expect.poll(() => text).toContain(`GET /${i}.`);
    }
    socket.destroy();
  });

  test("that carries uploads and downloads in turn, to a caller and to the target", async () => {
    target.answer = async ({ socket, line, body }) => {
      await body();
      const text = "a".repeat(200_000);
      socket.write(line.startsWith("GET") ? answerOf(text) : `${chunkedHead}${chunk(text)}0\r\n\r\n`);
    };
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let i = 0; i < many; i += 1) {
      const body = i % 2 === 0 ? [Buffer.alloc(100_000), Buffer.alloc(100_000)] : "";
      expect((await call(server, "/x", { method: "POST", body, agent })).body).toHaveLength(200_000);
      expect((await call(server, "/x", { agent })).body).toHaveLength(200_000);
    }
    agent.destroy();
  });

  test("of a caller whose uploads are answered early", async () => {
    target.answer = ({ socket }) => socket.write(answerOf("too much"));
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const body = Array.from({ length: 20 }, () => Buffer.alloc(50_000));
    for (let i = 0; i < many; i += 1) {
      expect((await call(server, "/x", { method: "POST", body, agent })).body).toBe("too much");
    }
    agent.destroy();
  });

  test("of a caller that sends many requests ahead", async () => {
    target.answer = ({ socket, line }) => socket.write(answerOf(line));
    const socket = connect(server.port, "127.0.0.1");
    let text = "";
    socket.on("data", (bytes) => (text += bytes.toString("latin1")));
    const lines = Array.from({ length: many }, (_, i) => `GET /opencode/${i}. HTTP/1.1\r\n`);
    socket.write(
      lines.map((line) => `${line}Host: a\r\nAuthorization: Bearer ${clientToken}\r\n\r\n`).join(""),
    );
    await expect.poll(() => text).toContain(`GET /${many - 1}.`);
    expect([...text.matchAll(/GET \/(\d+)\./g)].map(([, i]) => Number(i))).toEqual([...lines.keys()]);
    socket.destroy();
  });

  test("of a caller who reads a long answer slowly", async () => {
    target.answer = ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${many * 1_000_000}\r\n\r\n`);
      for (let i = 0; i < many; i += 1) socket.write(Buffer.alloc(1_000_000));
    };
    const socket = connect(server.port, "127.0.0.1");
    socket.write(`GET /opencode/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${clientToken}\r\n\r\n`);
    let size = 0;
    for await (const bytes of socket) {
      size += (bytes as Buffer).length;
      if (size > many * 1_000_000) break;
      await new Promise(setImmediate);
    }
    expect(size).toBeGreaterThan(many * 1_000_000);
  });

  test("that becomes a WebSocket", async () => {
    const headers = { authorization: `Bearer ${clientToken}` };
    for (let i = 0; i < 3; i += 1) {
      const url = `http://127.0.0.1:${withTerminal.port}/opencode/pty/p1/connect`;
      const opened = await openSocket(url, { headers });
      if (!opened.socket) throw new Error(`answered ${opened.status}`);
      opened.socket.send("hello");
      await opened.inbox.until("heard hello");
      opened.socket.close();
    }
  });
});
