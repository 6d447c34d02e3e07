import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createRawFetch } from "../../adapters/node/raw-fetch.ts";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { NodeResponse } from "../../adapters/node/http.ts";
import type { Host, ServerConfig } from "../../lib/host.ts";
import { temporaryDir } from "../storage/temporary-dir.ts";
import {
  clientToken,
  configOf,
  startMemoryServer,
  workspaceAt,
  type Client,
  type Exchange,
  type MemoryHost,
} from "../support/memory-host.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";

const packed = gzipSync("hello gzip");

let upstream: Upstream;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  upstream = await startUpstream((req, res) => {
    const path = (req.url ?? "").split("?", 1)[0] ?? "";
    if (path.endsWith("/gzip")) {
      const wants = String(req.headers["accept-encoding"] ?? "").includes("gzip");
      res.writeHead(200, {
        "content-type": "text/plain",
        vary: "Accept-Encoding",
        ...(wants ? { "content-encoding": "gzip" } : {}),
      });
      res.end(wants ? packed : "hello gzip");
    } else if (path.endsWith("/redirect")) res.writeHead(302, { location: "/landed?x=1" }).end();
    else if (path.endsWith("/away")) res.writeHead(302, { location: "http://169.254.169.254/latest" }).end();
    else if (path.endsWith("/headers")) {
      res.setHeader("set-cookie", ["a=1; Path=/", "b=2; Path=/"]);
      const named = {
        connection: "keep-alive, X-Hop",
        "x-hop": "1",
        "keep-alive": "timeout=1",
        trailer: "x",
      };
      const challenge = {
        "www-authenticate": "Basic",
        "proxy-authenticate": "Basic",
        "access-control-allow-credentials": "true",
      };
      res.writeHead(401, { ...named, ...challenge, "x-up": "yes" }).end("c");
    } else if (path.endsWith("/slow")) return true;
    else if (path.endsWith("/broken")) {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write("data: 1\n\n", () => setTimeout(() => res.destroy(), 300));
    } else if (path === "/config") {
      res
        .writeHead(200, { "content-type": "application/json" })
        .end('{"provider":{"x":{"options":{"apiKey":"sk-secret"}}}}');
    } else if (path.endsWith("/empty")) res.writeHead(204).end();
    else return false;
    return true;
  });
});

afterAll(() => upstream.stop());
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

interface Options extends Partial<ServerConfig> {
  baseUrl?: string;
  overrides?: Partial<Host>;
}

async function start(
  options: Options = {},
): Promise<{ client: Client; host: MemoryHost; id: string; token(scope: string): Promise<string> }> {
  const { baseUrl = upstream.url, overrides, ...config } = options;
  const opencode = { baseUrl, username: "u", password: "p" };
  const workspaces = [
    workspaceAt("/ws", { opencode: { ...opencode, directory: "/ws" } }),
    workspaceAt("/other", { opencode: { ...opencode, directory: "/other" } }),
  ];
  const server = await startMemoryServer(configOf({ workspaces, ...config }), {
    rawFetch: createRawFetch(),
    Response: NodeResponse,
    ...overrides,
  });
  closing.push(() => server.handler.close());
  return {
    client: server.client,
    host: server.host,
    id: server.workspace,
    async token(scope) {
      const { json } = await server.client.post("/tokens", { scope }, { host: true, token: null });
      return json.token as string;
    },
  };
}

const query = (directory: string): string => `?x=a%20b&directory=${encodeURIComponent(directory)}`;

describe("the order of checks", () => {
  test("what a viewer may not do is said before the workspace is looked for, and what it may after", async () => {
    const { client, token } = await start();
    const viewer = { token: await token("viewer") };
    const codeOf = async (method: "get" | "post", path: string): Promise<unknown> =>
      method === "get"
        ? (await client.get(path, viewer)).json.code
        : (await client.post(path, {}, viewer)).json.code;
    expect(await codeOf("post", "/w/ws_nope/opencode/session")).toBe("forbidden");
    expect(await codeOf("get", "/w/ws_nope/opencode/session")).toBe("workspace_not_found");
    expect((await client.post("/w/ws_nope/opencode/session", {})).json.code).toBe("workspace_not_found");
    const empty = await start({ workspaces: [] });
    const body = await empty.client.post("/opencode/session", {}, { token: await empty.token("viewer") });
    expect(body.json.code).toBe("forbidden");
  });
});

describe("what goes up", () => {
  test("our credentials, cookies and hop-by-hop headers stay; the engine's come (CVE-2026-23527)", async () => {
    const { client } = await start();
    const headers = {
      cookie: "k=v",
      origin: "http://o",
      "x-openwork-client-id": "c",
      "x-custom": "1",
      "x-hop": "2",
      connection: "keep-alive, X-Hop",
      te: "trailers",
      "proxy-authorization": "Basic x",
    };
    await client.get("/opencode/h", { headers, host: true });
    const { headers: arrived } = upstream.last();
    expect(arrived).toMatchObject({
      authorization: `Basic ${btoa("u:p")}`,
      "x-custom": "1",
      "x-opencode-directory": "/ws",
    });
    for (const name of [
      "cookie",
      "origin",
      "te",
      "x-hop",
      "proxy-authorization",
      "x-openwork-client-id",
      "x-openwork-host-token",
    ]) {
      expect(arrived[name]).toBeUndefined();
    }
    expect(JSON.stringify(arrived)).not.toContain(clientToken);
  });

  test("a path prefix of the engine URL, escapes and double slashes are kept (I61)", async () => {
    const { client, id } = await start({ baseUrl: `${upstream.url}/prefix/` });
    for (const path of ["/a//b", "/a%2Fb/%7Ec", "/", "//x", "/a?b=%20c&d"]) {
      await client.get(`/w/${id}/opencode${path}`);
      expect(upstream.last().url).toBe(`/prefix${path}`);
    }
    await client.get("/opencode");
    expect(upstream.last().url).toBe("/prefix/");
  });

  test("bodies of every method but GET and HEAD are passed on", async () => {
    const { client } = await start();
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      expect((await client.send(method, "/opencode/p", { json: { a: 1 } })).json).toMatchObject({
        method,
        body: '{"a":1}',
      });
    }
    expect((await client.delete("/opencode/p")).json.body).toBe("");
    expect(upstream.last().headers["transfer-encoding"]).toBeUndefined();
  });
});

describe.each([
  ["with Node's own client", {}],
  ["with a client that decodes", { rawFetch: undefined as never }],
])("what comes down %s", (_name, overrides: Partial<Host>) => {
  test("compressed answers can be read (I60)", async () => {
    const { client } = await start({ overrides });
    const answer = await client.get("/opencode/gzip", { headers: { "accept-encoding": "gzip" } });
    if (answer.headers.get("content-encoding") === "gzip") {
      const raw = await client.handler(
        new Request("http://x/opencode/gzip", {
          headers: { authorization: `Bearer ${clientToken}`, "accept-encoding": "gzip" },
        }),
      );
      expect(new Uint8Array(await raw.arrayBuffer())).toEqual(new Uint8Array(packed));
    } else expect(answer.text).toBe("hello gzip");
    expect(answer.headers.get("vary")?.toLowerCase()).toMatch(/accept-encoding.*origin/);
  });

  test("redirects are passed back, those into the engine as addresses of the proxy (I62)", async () => {
    const { client, id } = await start({ overrides });
    const inside = await client.get(`/w/${id}/opencode/redirect`);
    expect([inside.status, inside.headers.get("location")]).toEqual([302, `/w/${id}/opencode/landed?x=1`]);
    const away = await client.get("/opencode/away");
    expect([away.status, away.headers.get("location")]).toEqual([302, "http://169.254.169.254/latest"]);
  });

  test("hop-by-hop headers and challenges stay, cookies come one by one (I63)", async () => {
    const { client } = await start({ overrides });
    const { status, headers } = await client.get("/opencode/headers");
    expect(status).toBe(401);
    for (const name of [
      "www-authenticate",
      "proxy-authenticate",
      "keep-alive",
      "x-hop",
      "trailer",
      "access-control-allow-credentials",
    ]) {
      expect(headers.get(name), name).toBeNull();
    }
    expect(headers.getSetCookie()).toEqual(["a=1; Path=/", "b=2; Path=/"]);
    expect(headers.get("x-up")).toBe("yes");
    expect(headers.get("access-control-allow-origin")).toBe("*");
  });

  test("answers without a body have none", async () => {
    const { client } = await start({ overrides });
    expect((await client.get("/opencode/empty")).status).toBe(204);
    expect(await client.send("HEAD", "/opencode/x")).toMatchObject({ status: 200, text: "" });
  });

  test("an engine that is not there is a 502 with target and cause, one that is silent a 504 (I66)", async () => {
    const gone = await start({ baseUrl: "http://127.0.0.1:9/p", overrides });
    const refused = await gone.client.get("/opencode/x");
    expect(refused).toMatchObject({
      status: 502,
      json: { code: "opencode_unreachable", details: { target: "http://127.0.0.1:9" } },
    });
    expect(refused.json.details.cause).toMatch(/ECONNREFUSED|bad port/);
    const slow = await start({ engine: { start: false, timeoutMs: 100 }, overrides });
    expect(await slow.client.get("/opencode/slow")).toMatchObject({
      status: 504,
      json: { code: "opencode_timeout" },
    });
  });

  test("a stream that breaks off breaks off", async () => {
    const { client } = await start({ overrides });
    const headers = { authorization: `Bearer ${clientToken}` };
    const response = await client.handler(new Request("http://x/opencode/broken", { headers }));
    await expect(response.text()).rejects.toThrow();
  });
});

describe("who may do what", () => {
  test("viewers read; permission answers are the owner's, in every spelling (I08)", async () => {
    const { client, token } = await start();
    const viewer = await token("viewer");
    const owner = await token("owner");
    expect((await client.get("/opencode/session", { token: viewer })).status).toBe(200);
    expect((await client.post("/opencode/session", {}, { token: viewer })).status).toBe(403);
    for (const path of ["/permission/p/%72eply", "/session/s/permissions/p", "//PERMISSION/p/reply/"]) {
      expect((await client.post(`/opencode${path}`, {})).json).toMatchObject({
        code: "forbidden",
        details: { required: "owner" },
      });
      expect((await client.post(`/opencode${path}`, {}, { token: owner })).status).toBe(200);
    }
  });

  test("viewers see configurations without keys, collaborators with them (I04)", async () => {
    const { client, token } = await start();
    const viewer = await token("viewer");
    expect((await client.get("/opencode/config", { token: viewer })).text).not.toContain("sk-secret");
    expect((await client.get("/opencode//CONFIG", { token: viewer })).text).not.toContain("sk-secret");
    expect((await client.get("/opencode/config")).text).toContain("sk-secret");
  });

  test("protected files are closed to viewers here too (I05)", async () => {
    const { client, token } = await start();
    const viewer = await token("viewer");
    for (const path of [
      "/file/content?path=.env",
      "/file/content?path=a/server.pem",
      "/api/fs/read/.env",
      "/FILE/content?path=.env",
    ]) {
      expect((await client.get(`/opencode${path}`, { token: viewer })).status, path).toBe(403);
      expect((await client.get(`/opencode${path}`)).status, path).toBe(200);
    }
  });

  test("read-only: reading goes on, all else is refused, the router's too (I09)", async () => {
    const { client, id } = await start({ readOnly: true, routerPort: upstream.port });
    expect((await client.get("/opencode/session")).status).toBe(200);
    const refused = [
      await client.post("/opencode/session", {}),
      await client.get("/opencode/pty/x/connect"),
      await client.post("/opencode-router/send", {}, { host: true }),
      await client.post(`/workspace/${id}/engine/reload`, {}),
      await client.delete(`/workspace/${id}/sessions/s`),
    ];
    expect(refused.map(({ json }) => json.code)).toEqual(Array.from(refused, () => "read_only"));
  });

  test("the directory is pinned to configured workspaces (I06)", async () => {
    const { client } = await start();
    expect((await client.get("/opencode/path", { headers: { "x-opencode-directory": "/etc" } })).status).toBe(
      403,
    );
    expect((await client.get("/opencode/path?directory=%2Fetc")).status).toBe(403);
    await client.get("/opencode/path", { headers: { "x-opencode-directory": "%2Fother" } });
    expect(upstream.last().headers["x-opencode-directory"]).toBe("/other");
  });

  test("a workspace that was given by a link may be named by where it really is, never what is not served", async () => {
    using dir = temporaryDir();
    const real = join(dir.path, "real");
    const hidden = join(dir.path, "hidden");
    const link = join(dir.path, "link");
    for (const path of [real, hidden]) mkdirSync(path);
    symlinkSync(real, link);
    const opencode = { baseUrl: upstream.url, directory: link };
    const { client, id } = await start({
      workspaces: [workspaceAt(link, { opencode })],
      overrides: { storage: ({ path }) => createDiskStorage(path, { watch: false }) },
    });
    const get = (path: string, directory?: string): Promise<Exchange> =>
      client.get(
        `/opencode/path${path}`,
        directory ? { headers: { "x-opencode-directory": directory } } : {},
      );
    expect((await get("", real)).status).toBe(200);
    expect(upstream.last().headers["x-opencode-directory"]).toBe(link);
    expect((await get(query(`${real}/`), link)).status).toBe(200);
    expect(upstream.last()).toMatchObject({
      url: `/path${query(link)}`,
      headers: { "x-opencode-directory": link },
    });
    const made = { location: { directory: real }, title: real, parts: ["é"] };
    expect((await client.post("/opencode/api/session", made)).status).toBe(200);
    expect(JSON.parse(upstream.last().body)).toEqual({ ...made, location: { directory: link } });
    for (const other of [hidden, dir.path, `${real}/..`, `${real}/../hidden`, `${real}-evil`]) {
      expect((await get("", other)).status, other).toBe(403);
      expect((await get(query(other))).status, other).toBe(403);
      expect((await client.post("/opencode/api/session", at(other))).status, other).toBe(403);
    }
    const elsewhere = await start({
      workspaces: [workspaceAt(link, { opencode: { ...opencode, directory: "/in-a-container" } })],
      overrides: { storage: ({ path }) => createDiskStorage(path, { watch: false }) },
    });
    expect((await elsewhere.client.get(`/opencode/path${query(real)}`)).status).toBe(403);
    await client.delete(`/workspaces/${id}`, { host: true, token: null });
    expect((await get("", real)).status).toBe(400);
  });

  test("a mount that does not exist is a 404 (I67)", async () => {
    const { client } = await start({ routerPort: upstream.port });
    for (const path of ["/w/ws_0/opencode/x", "/w/ws_0/opencode-router/health"]) {
      expect((await client.get(path)).json.code).toBe("workspace_not_found");
    }
  });
});

const audit = async (client: Client, id: string): Promise<string[]> => {
  const { json } = await client.get(`/workspace/${id}/audit`);
  return (json.items as { action: string; target: string; outcome?: string }[]).map(
    ({ action, target, outcome }) => `${action} ${target} ${outcome ?? "done"}`,
  );
};

const rule = (action: string): object => ({ permission: [{ permission: "*", pattern: "*", action }] });
const at = (directory: string): object => ({ location: { directory } });

describe("what is asked and recorded (I07, I12)", () => {
  test("every call that acts, with how it ended; reading leaves none", async () => {
    const { client, id, token } = await start();
    await client.get("/opencode/session");
    await client.post("/opencode/session", {});
    await client.post("/opencode/status/headers", {});
    await client.post("/opencode/permission/p/reply", {});
    await client.post("/opencode/x", {}, { token: await token("viewer") });
    expect(await audit(client, id)).toEqual([
      "opencode.proxy POST /permission/p/reply denied",
      "opencode.proxy POST /status/headers failed",
      "opencode.proxy POST /session done",
    ]);
  });

  test("an engine that is not there is recorded as a failure", async () => {
    const { client, id } = await start({ baseUrl: "http://127.0.0.1:9" });
    await client.post("/opencode/session", {});
    expect(await audit(client, id)).toEqual(["opencode.proxy POST /session failed"]);
  });

  test("manual: commands and changes ask and show their body, prompts do not", async () => {
    const { client, id } = await start({ approval: { mode: "manual", timeoutMs: 5000 } });
    const before = upstream.arrived.length;
    expect((await client.post("/opencode/session/s/message", { parts: [] })).status).toBe(200);
    const asking = client.post("/opencode/session/s/shell", { command: "rm \u0072f", agent: "build" });
    await expect.poll(async () => (await client.get("/approvals", { host: true })).json.items.length).toBe(1);
    const [question] = (await client.get("/approvals", { host: true })).json.items;
    expect(question).toMatchObject({ action: "opencode.proxy", paths: ["/ws"], workspaceId: id });
    expect(question.summary).toContain("POST /session/s/shell");
    expect(question.diff).toContain('"command": "rm rf"');
    expect(upstream.arrived.length).toBe(before + 1);
    await client.post(`/approvals/${question.id}`, { reply: "allow" }, { host: true });
    expect((await asking).json.body).toBe(JSON.stringify({ command: "rm rf", agent: "build" }));

    const denied = client.send("PATCH", "/opencode/config", { json: { share: "auto" } });
    await expect.poll(async () => (await client.get("/approvals", { host: true })).json.items.length).toBe(1);
    const [other] = (await client.get("/approvals", { host: true })).json.items;
    await client.post(`/approvals/${other.id}`, { reply: "deny" }, { host: true });
    expect((await denied).json.code).toBe("write_denied");
    expect(await audit(client, id)).toEqual([
      "opencode.proxy PATCH /config denied",
      "opencode.proxy POST /session/s/shell done",
      "opencode.proxy POST /session/s/message done",
    ]);
  });

  test("manual: a prompt or session that brings its own permissions asks, others do not", async () => {
    const { client } = await start({ approval: { mode: "manual", timeoutMs: 5000 } });
    expect((await client.post("/opencode/session", rule("deny"))).status).toBe(200);
    expect(
      (await client.post("/opencode/session/s/message", { parts: [], big: "x".repeat(100_000) })).status,
    ).toBe(200);
    const granting = client.post("/opencode/session", rule("allow"));
    await expect.poll(async () => (await client.get("/approvals", { host: true })).json.items.length).toBe(1);
    const [question] = (await client.get("/approvals", { host: true })).json.items;
    expect(question.summary).toMatch(/^Change the engine/);
    await client.post(`/approvals/${question.id}`, { reply: "deny" }, { host: true });
    expect((await granting).status).toBe(403);
    const before = upstream.arrived.length;
    const hidden = { parts: [], big: "x".repeat(100_000), tools: { bash: true } };
    expect((await client.post("/opencode/session/s/message", hidden)).json.code).toBe("forbidden");
    expect(upstream.arrived.length).toBe(before);
  });

  test("a directory in a body is pinned like any other (I06)", async () => {
    const { client } = await start();
    expect((await client.post("/opencode/api/session", at("/ws"))).status).toBe(200);
    expect((await client.post("/opencode/api/session", at("/other"))).status).toBe(200);
    expect((await client.post("/opencode/api/session", at("/etc"))).status).toBe(403);
    expect(
      (await client.post("/opencode/api/session", { location: { directory: "/ws", workspaceID: "wrk_1" } }))
        .status,
    ).toBe(403);
    const move = { sessionID: "ses_1", destination: { directory: "/etc" } };
    expect((await client.post("/opencode/experimental/control-plane/move-session", move)).status).toBe(403);
  });

  test("manual: what the host could not be shown whole is refused", async () => {
    const { client } = await start({ approval: { mode: "manual", timeoutMs: 5000 } });
    const long = await client.post("/opencode/session/s/shell", {
      command: `true ${" ".repeat(70_000)}; rm`,
    });
    expect(long).toMatchObject({ status: 413, json: { code: "body_too_large" } });
  });

  test("the log says whom a request went to, and no token", async () => {
    const { client, host } = await start();
    await client.get("/opencode/x?secret=1");
    const line = host.logged.at(-1);
    expect(line?.body).toMatch(/^GET \/opencode\/x 200 \d+ms \(opencode\)$/);
    expect(line?.attributes).toMatchObject({ "proxy.service": "opencode", "proxy.base_url": upstream.url });
    expect(JSON.stringify(host.logged)).not.toContain(clientToken);
  });
});

describe("reload and status", () => {
  test("changes of the agent's files ask for a reload until there was one", async () => {
    const { client, id } = await start();
    const events = async (): Promise<{ reloadRequired: boolean; reloadRequiredSince: number | null }> =>
      (await client.get(`/workspace/${id}/events`)).json;
    expect(await events()).toMatchObject({ reloadRequired: false, reloadRequiredSince: null });
    await client.post(`/workspace/${id}/plugins`, { spec: "some-plugin" });
    await expect
      .poll(events)
      .toMatchObject({ reloadRequired: true, reloadRequiredSince: expect.any(Number) as number });
    const { json } = await client.post(`/workspace/${id}/engine/reload`, {});
    expect(json).toMatchObject({
      ok: true,
      reloadedAt: expect.any(Number) as number,
      tookMs: expect.any(Number) as number,
    });
    expect(await events()).toMatchObject({ reloadRequired: false });
    await client.post(`/workspace/${id}/plugins`, { spec: "another" });
    await expect.poll(events).toMatchObject({ reloadRequired: true });
    await client.post("/opencode/instance/dispose", {});
    expect(await events()).toMatchObject({ reloadRequired: false });
  });

  test("user and password in the engine's address are told nobody and recorded nowhere (I04)", async () => {
    const baseUrl = upstream.url.replace("//", "//us%3Aer:pa%40ss@");
    const { client, host, id } = await start({ baseUrl, overrides: { fetch: createRawFetch() } });
    const away = await start({
      baseUrl: "http://user:pa%40ss@127.0.0.1:9",
      overrides: { fetch: createRawFetch() },
    });
    const reloaded = await client.post(`/workspace/${id}/engine/reload`, {});
    expect(reloaded.status).toBe(200);
    const audit = await client.get(`/workspace/${id}/audit`);
    expect(audit.json.items[0]).toMatchObject({ action: "engine.reload", target: `${upstream.url}/` });
    const status = await client.get(`/workspace/${id}/engine`);
    expect(status.json.baseUrl).toBe(`${upstream.url}/`);
    const proxied = await client.get("/opencode/x");
    expect(proxied.status).toBe(200);
    const failed = await away.client.post(`/workspace/${away.id}/engine/reload`, {});
    expect(failed.status).toBe(502);
    const unreachable = await away.client.get("/opencode/x");
    expect(unreachable.status).toBe(502);
    const records = await away.client.get(`/workspace/${away.id}/audit`);
    // A reload that fails leaves no entry (contract, section 8).
    expect(records.json.items).toEqual([]);
    const told = [reloaded, audit, status, proxied, failed, unreachable, records].map(({ json }) => json);
    expect(JSON.stringify([told, host.logged, away.host.logged])).not.toMatch(/pa(?:%40|@)ss/);
  });

  test.each([
    ["", "unconfigured"],
    ["ftp://x", "invalid_url"],
    ["http://127.0.0.1:9", "refused"],
    ["http://engine.invalid", "unknown_host"],
  ])("an engine at %j is %s", async (baseUrl, code) => {
    const { client, id } = await start({ baseUrl, overrides: { fetch: createRawFetch() } });
    expect((await client.get(`/workspace/${id}/engine`)).json).toMatchObject({
      ok: false,
      reachable: false,
      problem: { code },
    });
  });

  test("what answers but is no engine is told apart", async () => {
    const { client, id } = await start();
    expect((await client.get(`/workspace/${id}/engine`)).json).toMatchObject({
      ok: false,
      reachable: true,
      problem: { code: "not_an_engine" },
    });
  });
});
