import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { rm } from "node:fs/promises";
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
    server?.close();
    server?.closeAllConnections();
    await handler?.close();
    terminal?.stop();
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  });

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
    const { connect } = await import("node:net");
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    let text = "";
    socket.on("data", (data) => (text += String(data)));
    socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    await expect.poll(() => text).toContain("your own page");
    socket.destroy();
  });
});
