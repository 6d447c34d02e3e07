import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBrowser } from "../support/browser.ts";
import { clientToken, hostToken, startServer, type Answer, type TestServer } from "../support/server.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";
import { openSocket, WebSocketServer } from "../support/websocket.ts";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const basic = (user: string, password: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});

describe("a token as the password of Basic authentication, for programs of the engine", () => {
  let upstream: Upstream;
  let server: TestServer;

  beforeAll(async () => {
    upstream = await startUpstream();
    server = await startServer({
      flags: [
        "--opencode-base-url",
        upstream.url,
        "--opencode-username=eu",
        "--opencode-password=ep",
        `--opencode-router-health-port=${upstream.port}`,
      ],
    });
  });

  afterAll(async () => {
    await server?.stop();
    await upstream?.stop();
  });

  const call = (path: string, headers: Record<string, string>, method = "GET"): Promise<Answer> =>
    server.request(method, path, { token: null, headers });
  const mounted = (): string => `/w/${server.id}/opencode/session`;

  test("opens both mounts of the engine, and goes no further than this server", async () => {
    for (const path of ["/opencode/session", mounted()]) {
      for (const user of ["opencode", "anybody", ""]) {
        expect((await call(path, basic(user, clientToken))).status, `${user} ${path}`).toBe(200);
        const { headers } = upstream.last();
        expect(headers["authorization"]).toBe(basic("eu", "ep")["authorization"]);
        expect(JSON.stringify(upstream.last())).not.toContain(clientToken);
      }
    }
    const lower = basic("opencode", clientToken)["authorization"]?.replace("Basic ", "basic  ") ?? "";
    expect((await call(mounted(), { authorization: lower })).status).toBe(200);
  });

  test("has the rights and the name of the token", async () => {
    const issued = await server.request<{ token: string; id: string }>("POST", "/tokens", {
      host: true,
      json: { scope: "viewer" },
    });
    const viewer = basic("opencode", issued.json.token);
    expect((await call(mounted(), viewer)).status).toBe(200);
    expect((await call(mounted(), viewer, "POST")).json["code"]).toBe("forbidden");
    expect((await call(mounted(), basic("opencode", clientToken), "POST")).status).toBe(200);
    const audit = await server.request<{ items: { actor: unknown }[] }>("GET", "~/audit?limit=1");
    const tokenHash = createHash("sha256").update(clientToken).digest("hex");
    expect(audit.json.items[0]?.actor).toEqual({ type: "remote", scope: "collaborator", tokenHash });
    await server.request("DELETE", `/tokens/${issued.json.id}`, { host: true });
    expect((await call(mounted(), viewer)).status).toBe(401);
  });

  test("opens nothing else, and nothing when it is wrong; no answer asks a browser for a password", async () => {
    const good = basic("opencode", clientToken);
    const refused: [string, Record<string, string>][] = [
      ["/whoami", good],
      ["/status", good],
      [`/workspace/${server.id}/config`, good],
      [`/w/${server.id}/workspace/${server.id}/config`, good],
      ["/opencode-router/bindings", good],
      [`/w/${server.id}/opencode-router/health`, good],
      ["/approvals", basic("opencode", hostToken)],
      [mounted(), basic("opencode", "nope")],
      [mounted(), basic("opencode", "")],
      [mounted(), basic("opencode", hostToken)],
      [mounted(), basic(clientToken, "")],
      [mounted(), { authorization: "Basic" }],
      [mounted(), { authorization: "Basic !!!" }],
      [mounted(), { authorization: `Basic ${clientToken}` }],
      [mounted(), { authorization: `Digest ${Buffer.from(`a:${clientToken}`).toString("base64")}` }],
    ];
    for (const [path, headers] of refused) {
      const answer = await call(path, headers);
      expect([path, headers, answer.status]).toEqual([path, headers, 401]);
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    }
  });

  test("is refused in whatever a browser sends (CVE-2025-24010)", async () => {
    const good = basic("opencode", clientToken);
    for (const mark of [
      { origin: "http://evil.example" },
      { origin: server.url },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "none" },
      { referer: "http://evil.example/" },
      { "user-agent": "Mozilla/5.0 (X11; Linux x86_64)" },
    ]) {
      for (const method of ["GET", "POST"]) {
        const answer = await call(mounted(), { ...good, ...mark }, method);
        expect([mark, method, answer.status]).toEqual([mark, method, 401]);
        expect(answer.json["message"]).toMatch(/Bearer/);
      }
    }
  });

  test("a real browser that was given the token as a password gets nowhere with it", async () => {
    const browser = await startBrowser();
    const before = upstream.arrived.length;
    try {
      const page = await browser.newPage({ extraHTTPHeaders: basic("opencode", clientToken) });
      const address = new URL(mounted(), server.url);
      expect((await page.goto(address.href))?.status()).toBe(401);
      expect(await page.textContent("body")).toContain("Basic credentials are for programs");
      const [image] = await Promise.all([
        page.waitForResponse(address.href),
        page.setContent(`<img src="${address.href}">`),
      ]);
      expect(image.status()).toBe(401);
      await page.goto(`${server.url}/health`);
      const statuses = await page.evaluate(async (path) => {
        const read = await fetch(path, { credentials: "include" });
        const posted = await fetch(path, { method: "POST", body: "{}" });
        return [read.status, posted.status];
      }, address.pathname);
      expect(statuses).toEqual([401, 401]);
      // By itself, from an address: nothing ever asks it for a password.
      const other = await browser.newPage();
      address.username = "opencode";
      address.password = clientToken;
      expect((await other.goto(address.href))?.status()).toBe(401);
    } finally {
      await browser.close();
    }
    expect(upstream.arrived.length).toBe(before);
  }, 60_000);
});

describe("the same for a WebSocket", () => {
  let terminal: Server;
  let server: TestServer;
  const asked: Record<string, unknown>[] = [];

  beforeAll(async () => {
    terminal = createServer();
    const wss = new WebSocketServer({ server: terminal });
    wss.on("connection", (socket, { headers }) => {
      asked.push(headers);
      socket.send("hello");
    });
    await new Promise<void>((resolve) => {
      terminal.listen(0, "127.0.0.1", resolve);
    });
    const { port } = terminal.address() as AddressInfo;
    server = await startServer({ flags: ["--opencode-base-url", `http://127.0.0.1:${port}`] });
  });

  afterAll(async () => {
    await server?.stop();
    terminal?.closeAllConnections();
    terminal?.close();
  });

  test("a program connects, a page does not", async () => {
    const url = `${server.url}/w/${server.id}/opencode/pty/x/connect`;
    const headers = basic("opencode", clientToken);
    const opened = await openSocket(url, { headers });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    await opened.inbox.until("hello");
    opened.socket.close();
    expect(asked[0]?.["authorization"]).toBeUndefined();
    const page = await openSocket(url, { headers: { ...headers, origin: server.url } });
    expect(page.status).toBe(401);
    expect(asked).toHaveLength(1);
  });
});
