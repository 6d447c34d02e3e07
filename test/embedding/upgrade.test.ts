import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configure, createNodeHost, toNodeListener, toUpgradeListener } from "../../adapters/node.ts";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { freshDirectory } from "../support/server.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import { openSocket } from "../support/websocket.ts";

describe("terminals in somebody else's server (toUpgradeListener)", () => {
  let terminal: Terminal;
  let handler: Handler<null>;
  let server: Server;
  let dir: string;
  let url: string;
  let pty: string;
  const others: string[] = [];
  const open: Socket[] = [];
  const headers = { authorization: "Bearer c" };

  beforeAll(async () => {
    terminal = await startTerminal();
    dir = await freshDirectory("upgrade");
    const settings = {
      token: "c",
      hostToken: "h",
      approval: { mode: "auto" },
      workspaces: [{ path: dir, baseUrl: terminal.url }],
    };
    // Not the data of whoever runs the tests.
    const own = { dataDir: join(dir, ".data"), tokenStorePath: join(dir, ".tokens.json") };
    const config = { ...configure(settings), ...own };
    handler = await createHandler(createNodeHost(config), { basePath: "/agent" });
    pty = `/agent/w/${config.workspaces[0]?.id ?? ""}/opencode/pty/p1/connect`;
    const openwork = toNodeListener(handler);
    const upgrades = toUpgradeListener(handler);
    server = createServer((req, res) => openwork(req, res, () => res.end("your own page")));
    server.on("upgrade", (req, socket, head) => {
      if (req.url === "/none") upgrades(req, socket, head);
      else
        upgrades(req, socket, head, () => {
          others.push(req.url ?? "");
          socket.end("HTTP/1.1 410 Gone\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(async () => {
    for (const socket of open) socket.destroy();
    server?.close();
    server?.closeAllConnections();
    await handler?.close();
    terminal?.stop();
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  });

  /** Sends bytes, and tells what has come back. */
  function sent(bytes: string): () => string {
    let text = "";
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.on("data", (data) => (text += String(data))).on("error", () => undefined);
    socket.write(bytes);
    open.push(socket);
    return () => text;
  }

  it("reach the engine, with a token", async () => {
    const opened = await openSocket(url + pty, { headers });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    opened.socket.send("hello");
    await opened.inbox.until("heard hello");
    opened.socket.terminate();
    expect((await openSocket(url + pty, { headers: {} })).status).toBe(401);
  });

  it("leave what is somebody else's to the next, or decline it", async () => {
    expect((await openSocket(`${url}/live`, { headers })).status).toBe(410);
    expect(others).toEqual(["/live"]);
    expect((await openSocket(`${url}/none`, { headers })).status).toBe(404);
  });

  it("leave a request that merely offers another protocol to the listener of requests", async () => {
    const answered = sent("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    await expect.poll(answered).toContain("your own page");
  });

  it.each(["a/b", "a b"])("tell of a Host that is none: %s", async (host) => {
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer c";
    const answered = sent(`GET ${pty} HTTP/1.1\r\nHost: ${host}\r\n${upgrade}\r\n\r\n`);
    await expect.poll(answered).toMatch(/^HTTP\/1.1 400 [^]*"code":"invalid_request"/);
  });

  it("are found below the base path by a target in absolute form, too", async () => {
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer nonsense";
    const answered = sent(`GET http://x${pty} HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`);
    await expect.poll(answered).toMatch(/^HTTP\/1.1 401 /);
  });
});
