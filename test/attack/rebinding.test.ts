import { request } from "node:http";
import { hostname } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createMemoryHost } from "../../adapters/memory-host.ts";
import { createHandler, routes } from "../../handlers/index.ts";
import { isLoopback } from "../../lib/http/allowed-hosts.ts";
import { clientToken, hostToken, startServer, type Json, type TestServer } from "../support/server.ts";

interface Answer {
  status: number;
  json: Json;
}

/** What a page gets that reached a server under a name of its own. */
function ask(
  server: TestServer,
  host: string,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(`${server.url}${path}`, { method, headers: { ...headers, host } }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      res.on("end", () => {
        const json = text.startsWith("{") ? (JSON.parse(text) as Json) : {};
        resolve({ status: res.statusCode ?? 0, json });
      });
    });
    sent.on("error", reject).end();
  });
}

const status = async (...given: Parameters<typeof ask>): Promise<number> => (await ask(...given)).status;
const pages = routes.filter((route) => route.access === "public" && !route.anyHost).map(({ path }) => path);
const bearer = { authorization: `Bearer ${clientToken}` };

describe("a page that points its own name at this machine (CVE-2025-66414)", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ flags: ["--cors", "https://app.example:8443"] });
  });
  afterAll(() => server?.stop());

  it("sees nothing that is public but the health and where the page is, which anybody may see", async () => {
    expect(pages).toEqual(expect.arrayContaining(["/ui", "/ui/assets/toy.js", "/openapi.json"]));
    for (const path of [...pages, `/w/${server.id}/ui`]) {
      expect(await ask(server, "evil.example:8787", path), path).toMatchObject({
        status: 403,
        json: {
          code: "host_not_allowed",
          message: expect.stringContaining('"evil.example:8787"'),
          details: { host: "evil.example:8787" },
        },
      });
    }
    expect(routes.filter((route) => route.anyHost).map(({ path }) => path)).toEqual(["/health", "/"]);
    expect(await status(server, "evil.example", "/health")).toBe(200);
    expect(await status(server, "evil.example", "/")).toBe(404);
  });

  it.each([
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhostx",
    "xlocalhost",
    "app.example.evil",
    "app.example:1",
    "0x7f.1",
  ])("is refused under the name %s", async (name) => {
    expect(await status(server, name, "/ui")).toBe(403);
  });

  it.each([
    "127.0.0.1",
    "127.0.0.1:8787",
    "[::1]:1",
    "192.168.1.2",
    "localhost",
    "LOCALHOST.:80",
    "agent.localhost:8787",
    "app.example:8443",
    hostname(),
    `${hostname().toUpperCase()}:8787`,
  ])("is none under the name %s", async (name) => {
    expect(await status(server, name, "/ui")).toBe(200);
  });

  it("is told from a tunnel by a token, which works under every name", async () => {
    expect(await status(server, "agent.trycloudflare.com", "/status", bearer)).toBe(200);
    expect(await status(server, "agent.trycloudflare.com", "/openapi.json", bearer)).toBe(200);
    const host = { "x-openwork-host-token": hostToken };
    expect(await status(server, "agent.trycloudflare.com", "/approvals", host)).toBe(200);
    expect(await status(server, "agent.trycloudflare.com", "/ui", host)).toBe(200);
    expect(await status(server, "agent.trycloudflare.com", "/ui", { authorization: "Bearer x" })).toBe(403);
    // Without one nothing changes: the client learns that its token is not known.
    expect(await status(server, "agent.trycloudflare.com", "/status", { authorization: "Bearer x" })).toBe(
      401,
    );
    expect(await status(server, "agent.trycloudflare.com", "/ui", {}, "OPTIONS")).toBe(204);
  });

  it("gains nothing by a header that only proxies should send", async () => {
    expect(await status(server, "evil.example", "/ui", { "x-forwarded-host": "localhost" })).toBe(403);
    const trusting = await startServer({ flags: ["--trust-proxy", "--allowed-hosts", "agents.example"] });
    const forwarded = { "x-forwarded-host": "agents.example" };
    expect(await status(trusting, "evil.example", "/ui", forwarded)).toBe(403);
    expect(await status(trusting, "127.0.0.1", "/ui", forwarded)).toBe(200);
    expect(await status(trusting, "agents.example", "/ui", forwarded)).toBe(200);
    expect(await status(trusting, "127.0.0.1", "/ui", { "x-forwarded-host": "evil.example" })).toBe(403);
    await trusting.stop();
  });
});

describe("allowed hosts", () => {
  it("are all on an address that other machines reach, unless some are named", async () => {
    const open = await startServer({ flags: ["--host", "0.0.0.0"] });
    expect(await status(open, "agents.example", "/ui")).toBe(200);
    await open.stop();
    const named = await startServer({
      flags: ["--host", "0.0.0.0", "--allowed-hosts", "agents.example, *.team.example; one.example:8443"],
    });
    const expected: [string, number][] = [
      ["agents.example:1", 200],
      ["x.agents.example", 403],
      ["a.b.team.example:80", 200],
      ["team.example", 403],
      ["evilteam.example", 403],
      ["one.example:8443", 200],
      ["one.example", 403],
      ["10.0.0.1", 200],
    ];
    for (const [name, code] of expected)
      expect([name, await status(named, name, "/ui")]).toEqual([name, code]);
    await named.stop();
  });

  it("can be everything on loopback too", async () => {
    const server = await startServer({ env: { OPENWORK_ALLOWED_HOSTS: "*" } });
    expect(await status(server, "agents.example", "/ui")).toBe(200);
    await server.stop();
  });

  it("do not narrow a handler inside somebody else's server, which has its own address", async () => {
    const page = new Request("http://somebody.example/agent/ui");
    const open = await createHandler(createMemoryHost(), { basePath: "/agent" });
    expect((await open(page))?.status).toBe(200);
    await open.close();
    const settings = { allowedHosts: ["other.example"] };
    for (const options of [{}, { allowedHosts: ["third.example"] }]) {
      const narrow = await createHandler(createMemoryHost({ settings }), { basePath: "/agent", ...options });
      expect((await narrow(page))?.status).toBe(403);
      await narrow.close();
    }
  });
});

it.each([
  ["127.0.0.1", true],
  ["127.8.9.1", true],
  ["localhost", true],
  ["::1", true],
  ["0.0.0.0", false],
  ["::", false],
  ["192.168.1.2", false],
  ["127.evil.example", false],
])("%s is loopback: %s", (address, expected) => expect(isLoopback(address)).toBe(expected));
