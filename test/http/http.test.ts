import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { logFormatter } from "../../lib/log.ts";
import { StorageError } from "../../lib/storage.ts";
import { clientToken, configOf, startMemoryServer, workspaceAt } from "../support/memory-host.ts";

describe("a fault of the server", () => {
  it("is logged with a stack that people can read", async () => {
    const data = Object.assign(createMemoryStorage({ name: "data" }), {
      append: () =>
        Promise.reject(new StorageError("io", "It broke.", {}, new TypeError("Nobody thought of this."))),
    });
    const { client, workspace, host } = await startMemoryServer(configOf(), { data });
    expect((await client.post(`/workspace/${workspace}/plugins`, { spec: "x" })).status).toBe(500);
    const pretty = logFormatter("pretty", { runId: "r", version: "1", hostName: "h" });
    const text = host.logged.map((record) => pretty({ ...record, time: 0 })).join("");
    expect(text).toMatch(
      /^A request failed with storage_failed\nTypeError: Nobody thought of this\.\n {4}at /m,
    );
    expect(text).not.toContain("\\u000a");
  });
});

describe("routing", () => {
  it("I69: a wrong method is 405 with Allow, and HEAD works wherever GET does", async () => {
    const { client, workspace } = await startMemoryServer();
    const wrong = await client.send("PUT", `/workspace/${workspace}/plugins`);
    expect(wrong).toMatchObject({ status: 405, json: { code: "method_not_allowed" } });
    expect(wrong.headers.get("allow")?.split(", ").toSorted()).toEqual(["GET", "HEAD", "OPTIONS", "POST"]);
    const get = await client.get("/status");
    const head = await client.send("HEAD", "/status");
    expect(head.status).toBe(200);
    expect(head.text).toBe("");
    expect(Number(head.headers.get("content-length"))).toBeGreaterThan(100);
    expect(get.headers.get("content-type")).toBe("application/json");
    expect((await client.send("HEAD", "/tokens")).status).toBe(401);
  });

  it("matching is exact: case, trailing and doubled slashes count; unknown routes are 404 before any authentication", async () => {
    const { client, workspace } = await startMemoryServer();
    for (const path of [
      "/Health",
      "/health/",
      "//health",
      "/w//health",
      "/w//status",
      "/workspace",
      `/workspace/${workspace}/plugins/`,
      "/nope",
      "/",
    ]) {
      expect({ path, ...(await client.get(path, { token: null })) }).toMatchObject({
        path,
        status: 404,
        json: { code: "not_found" },
      });
    }
    expect((await client.get("/x/../health", { token: null })).status).toBe(200);
  });

  it("the log keeps no credentials that a path names", async () => {
    const { client, host, workspace } = await startMemoryServer();
    const spec = "git+https://user:sk-hidden@h/x.git";
    await client.delete(`/workspace/${workspace}/plugins/${encodeURIComponent(spec)}`);
    await client.delete(`/workspace/${workspace}/plugins/plain%2Fname`);
    expect(JSON.stringify(host.logged)).not.toContain("sk-hidden");
    const [cleaned, plain] = host.logged.slice(-2).map((line) => line.attributes?.["path"]);
    expect(cleaned).toBe(`/workspace/${workspace}/plugins/${encodeURIComponent("git+https://***@h/x.git")}`);
    expect(plain).toBe(`/workspace/${workspace}/plugins/plain%2Fname`);
  });

  it("I15: a malformed percent escape is a 400 in JSON with CORS headers and one log line", async () => {
    const { client, host } = await startMemoryServer();
    for (const path of [
      "/workspace/%E0%A4%A/config",
      "/workspace/%/plugins",
      "/w/%zz/health",
      "/w/%E0/workspace/%E0/config",
    ]) {
      const logged = host.logged.length;
      const answer = await client.get(path);
      expect(answer).toMatchObject({ status: 400, json: { code: "invalid_path" } });
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(host.logged.length - logged).toBe(1);
    }
  });

  it("I15: a malformed escape in a query is a 400 and never another path than was meant", async () => {
    const { client, workspace } = await startMemoryServer();
    const path = `/workspace/${workspace}/files/raw?path=`;
    for (const name of ["%zz", "a%", "a%FFb", "%c0%ae%c0%ae/f", "%ED%A0%80"]) {
      for (const method of ["PUT", "GET", "DELETE"]) {
        const answer = await client.send(method, path + name);
        expect({ name, method, ...answer }).toMatchObject({ status: 400, json: { code: "invalid_path" } });
      }
    }
    expect((await client.send("PUT", `${path}100%25+%C3%A9`)).json.path).toBe("100% é");
  });

  it("I67: a mount of an unknown workspace is 404 workspace_not_found", async () => {
    const { client, workspace } = await startMemoryServer();
    for (const path of [
      "/w/ws_nope/health",
      "/w/ws_nope/capabilities",
      "/w/ws_nope/status",
      "/w/ws_nope/ui",
    ]) {
      expect({ path, ...(await client.get(path)) }).toMatchObject({
        path,
        status: 404,
        json: { code: "workspace_not_found" },
      });
    }
    expect((await client.get(`/w/${workspace}/health`, { token: null })).status).toBe(200);
  });

  it("I70: a mount confines to its workspace", async () => {
    const config = configOf({ workspaces: [workspaceAt("/a"), workspaceAt("/b")] });
    const [a, b] = config.workspaces.map((workspace) => workspace.id);
    const { client } = await startMemoryServer(config);
    expect((await client.get(`/w/${b}/workspace/${b}/config`)).status).toBe(200);
    expect((await client.get(`/w/${b}/workspace/${a}/config`)).status).toBe(404);
    expect((await client.get(`/w/${b}/workspaces`)).json).toMatchObject({ activeId: b, items: [{ id: b }] });
    expect((await client.get(`/w/${b}/status`)).json).toMatchObject({
      activeWorkspaceId: b,
      workspaceCount: 1,
    });
    expect((await client.get(`/w/${b}/whoami`)).status).toBe(200);
    expect((await client.get(`/w/${b}/tokens`, { host: true })).status).toBe(404);
  });

  it("I03, I17: viewers get neither the engine's credentials nor writable capabilities", async () => {
    const opencode = { baseUrl: "http://127.0.0.1:1", directory: "/ws", username: "u", password: "secret-p" };
    const { client } = await startMemoryServer(configOf({ workspaces: [workspaceAt("/ws", { opencode })] }));
    const viewer = (await client.post("/tokens", { scope: "viewer" }, { host: true, token: null })).json
      .token;
    for (const path of ["/workspaces", "/status"]) {
      const seen = await client.get(path, { token: viewer });
      expect(seen.text).not.toContain("secret-p");
      expect(seen.text).toContain("http://127.0.0.1:1");
      expect((await client.get(path)).text).toContain("secret-p");
    }
    const capabilities = (await client.get("/capabilities", { token: viewer })).json;
    expect(capabilities.plugins).toEqual({ read: true, write: false });
    expect(capabilities.toolProviders.files.injection).toBe(false);
    expect((await client.get("/capabilities")).json.plugins.write).toBe(true);
  });
});

describe("CORS", () => {
  it("I68: every proxied method, useful headers exposed, preflights kept ten minutes", async () => {
    const { client } = await startMemoryServer();
    const preflight = await client.send("OPTIONS", "/any/path/at/all", {
      token: null,
      headers: { origin: "http://page.test", "access-control-request-private-network": "true" },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-max-age")).toBe("600");
    expect(preflight.headers.get("access-control-allow-private-network")).toBe("true");
    expect(preflight.headers.get("access-control-allow-methods")).toContain("PUT");
    const exposed = (await client.get("/nope")).headers.get("access-control-expose-headers") ?? "";
    for (const name of ["Content-Disposition", "ETag", "Location", "Retry-After"])
      expect(exposed).toContain(name);
  });

  it("an origin that is not in the list gets nothing, not even the private network", async () => {
    const { client } = await startMemoryServer(configOf({ corsOrigins: ["http://good.test"] }));
    const headers = { origin: "http://evil.test", "access-control-request-private-network": "true" };
    const refused = await client.send("OPTIONS", "/status", { token: null, headers });
    expect([...refused.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
    const good = await client.get("/status", { headers: { origin: "http://good.test" } });
    expect(good.headers.get("access-control-allow-origin")).toBe("http://good.test");
    expect(good.headers.get("vary")).toBe("Origin");
  });
});

function chunked(size: number): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (let sent = 0; sent < size; sent += 65_536) controller.enqueue(new Uint8Array(65_536).fill(32));
      controller.close();
    },
  });
}

describe("bodies", () => {
  it("I81: JSON over its limit is 413, by its declared length and by the bytes that really come", async () => {
    const { client, workspace, handler } = await startMemoryServer();
    const path = `/workspace/${workspace}/plugins`;
    const big = await client.post(path, { spec: "x".repeat(1024 * 1024) });
    expect(big).toMatchObject({
      status: 413,
      json: { code: "body_too_large", details: { maxBytes: 1048576 } },
    });
    const request = new Request(`http://server.test${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${clientToken}` },
      body: chunked(4 * 1024 * 1024),
      duplex: "half",
    } as RequestInit);
    expect((await handler(request)).status).toBe(413);
    expect((await client.post(path, { spec: "fine" })).status).toBe(200);
  });

  it("hostile JSON is a 400 that says why, and the next request works", async () => {
    const { client, workspace } = await startMemoryServer();
    const path = `/workspace/${workspace}/mcp`;
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    const nested = `{"name":"x","config":${'{"a":'.repeat(100)}1${"}".repeat(100)}}`;
    for (const body of [
      "",
      "{",
      "\u0000",
      "null",
      "5",
      "[]",
      '"x"',
      deep,
      nested,
      '{"name":"x","config":{"__proto__":{"polluted":1}}}',
    ]) {
      const answer = await client.send("POST", path, { body });
      expect({ body: body.slice(0, 20), status: answer.status }).toEqual({
        body: body.slice(0, 20),
        status: 400,
      });
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    const good = { name: "ok", config: { type: "remote", url: "http://x.test" } };
    expect((await client.post(path, good)).status).toBe(200);
  });

  it("I53: any JSON in any field is answered with a 4xx or done, never a 500", async () => {
    const { client, workspace, host } = await startMemoryServer();
    const base = `/workspace/${workspace}`;
    const targets = [
      ["POST", `${base}/plugins`],
      ["POST", `${base}/mcp`],
      ["POST", `${base}/skills`],
      ["POST", `${base}/commands`],
      ["PATCH", `${base}/config`],
      ["POST", `${base}/import`],
    ] as const;
    const keys = [
      "spec",
      "name",
      "config",
      "content",
      "description",
      "template",
      "opencode",
      "openwork",
      "mode",
      "skills",
      "commands",
    ];
    const bodies = fc.dictionary(fc.constantFrom(...keys), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 5 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...targets), bodies, async ([method, path], json) => {
        const answer = await client.send(method, path, { json });
        expect(answer.status).toBeLessThan(500);
        if (answer.status >= 400)
          expect(answer.json).toMatchObject({ code: expect.any(String), message: expect.any(String) });
      }),
      { numRuns: 600 },
    );
    expect(host.logged.filter((line) => line.level === "ERROR")).toEqual([]);
    expect((await client.get(`${base}/config`)).status).toBe(200);
  });

  it("odd headers never break an answer", async () => {
    const { client } = await startMemoryServer();
    const value = fc.string({
      unit: fc.constantFrom("a", " ", ",", ";", "=", '"', "Bearer", "\t", "é"),
      maxLength: 200,
    });
    const name = fc.constantFrom(
      "authorization",
      "x-openwork-host-token",
      "x-openwork-client-id",
      "origin",
      "prefer",
      "content-length",
    );
    await fc.assert(
      fc.asyncProperty(name, value, async (header, text) => {
        const answer = await client.get("/whoami", { token: null, headers: { [header]: text.trim() } });
        expect([401]).toContain(answer.status);
      }),
      { numRuns: 300 },
    );
    expect(
      (await client.get("/whoami", { headers: { authorization: `bEaReR \t ${clientToken}  ` }, token: null }))
        .status,
    ).toBe(200);
  });
});
