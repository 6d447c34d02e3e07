import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clientToken } from "../support/server.ts";
import { approvals } from "./approvals.ts";
import { open, send, sendRaw } from "./client.ts";
import { lifecycle } from "./lifecycle.ts";
import type { Runtime, Subject } from "./subject.ts";
import { webSockets } from "./websockets.ts";

/**
 * What the server does on every runtime. Each runtime's test file calls this; where a runtime falls short its
 * `gaps` say so in a sentence, and the case asks for what is left.
 */
export function behaviour(runtime: Runtime): void {
  describe(`behaviour on ${runtime.name}`, () => {
    let auto: Subject;
    let manual: Subject;
    beforeAll(async () => {
      auto = await runtime.start({ approval: "auto" });
      manual = await runtime.start({
        approval: "manual",
        env: { OPENWORK_APPROVAL_TIMEOUT_MS: "10000", OPENWORK_ALLOWED_HOSTS: "agents.example" },
      });
    }, 60_000);
    afterAll(async () => {
      await Promise.all([auto?.stop(), manual?.stop()]);
    });
    access(() => auto);
    http(() => auto, runtime);
    state(() => auto);
    files(() => auto);
    approvals(() => manual, runtime);
    names(() => manual);
    webSockets(runtime);
    if (runtime.gaps.noProcess === undefined) lifecycle(runtime);
  });
}

function access(of: () => Subject): void {
  it("answers health to anybody, and tells who is who", async () => {
    const health = await send(of(), "GET", "/health", { token: null });
    expect(health).toMatchObject({ status: 200, json: { ok: true, version: expect.any(String) } });
    expect(await send(of(), "GET", "/whoami", { token: null })).toMatchObject({
      status: 401,
      json: { code: "unauthorized" },
    });
    expect(await send(of(), "GET", "/whoami")).toMatchObject({
      json: { ok: true, actor: { type: "remote", scope: "collaborator" } },
    });
    expect(await send(of(), "GET", "/approvals")).toMatchObject({ status: 401 });
    expect(await send(of(), "GET", "/approvals", { token: null, host: true })).toMatchObject({ status: 200 });
  });

  it("issues tokens, holds them to their scope and revokes them at once", async () => {
    const made = await send(of(), "POST", "/tokens", {
      host: true,
      json: { scope: "viewer", label: "tablet" },
    });
    expect(made).toMatchObject({ status: 201, json: { scope: "viewer", label: "tablet" } });
    const token = String(made.json["token"]);
    expect(await send(of(), "GET", "~/config", { token })).toMatchObject({ status: 200 });
    const write = await send(of(), "POST", "~/plugins", { token, json: { spec: "x" } });
    expect(write).toMatchObject({ status: 403, json: { code: "forbidden" } });
    const revoked = await send(of(), "DELETE", `/tokens/${String(made.json["id"])}`, { host: true });
    expect(revoked).toMatchObject({ status: 200, json: { ok: true } });
    expect(await send(of(), "GET", "~/config", { token })).toMatchObject({ status: 401 });
  });
}

/** What comes back under a name of the caller's choice. */
function askAs(subject: Subject, host: string, path: string, header = "accept: */*"): Promise<string> {
  return sendRaw(subject, `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n${header}\r\nconnection: close\r\n\r\n`);
}

function names(of: () => Subject): void {
  it("shows public pages under its own names alone, and everything to those who have a token", async () => {
    expect(await askAs(of(), "evil.example", "/ui")).toMatch(/^HTTP\/1.1 403 [^]*"code":"host_not_allowed"/);
    expect(await askAs(of(), "evil.example", "/openapi.json")).toMatch(/^HTTP\/1.1 403 /);
    expect(await askAs(of(), "evil.example", "/health")).toMatch(/^HTTP\/1.1 200 /);
    expect(await askAs(of(), "agents.example", "/ui")).toMatch(/^HTTP\/1.1 200 /);
    expect(await askAs(of(), "[::1]:8787", "/ui")).toMatch(/^HTTP\/1.1 200 /);
    const token = `authorization: Bearer ${clientToken}`;
    expect(await askAs(of(), "evil.example", "/status", token)).toMatch(/^HTTP\/1.1 200 /);
  });
}

function http(of: () => Subject, runtime: Runtime): void {
  it("answers preflights and marks every answer for the allowed origins", async () => {
    const preflight = await send(of(), "OPTIONS", "/anything", {
      token: null,
      headers: { origin: "https://app.example", "access-control-request-method": "PATCH" },
    });
    expect([preflight.status, preflight.text]).toEqual([204, ""]);
    expect(preflight.headers.get("access-control-allow-methods")).toContain("PATCH");
    for (const path of ["/health", "/nowhere"]) {
      const answer = await send(of(), "GET", path, { headers: { origin: "https://app.example" } });
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(answer.headers.get("vary")).toMatch(/origin/i);
    }
  });

  it("answers HEAD like GET without the body, and 405 with what a path takes", async () => {
    const get = await send(of(), "GET", "/capabilities");
    const head = await send(of(), "HEAD", "/capabilities");
    expect([head.status, head.text]).toEqual([200, ""]);
    expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
    expect(head.headers.get("content-length")).toBe(String(new TextEncoder().encode(get.text).length));
    const wrong = await send(of(), "PUT", "/whoami");
    expect(wrong).toMatchObject({ status: 405, json: { code: "method_not_allowed" } });
    expect(wrong.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
  });

  it("matches paths exactly, resolves dot segments and decodes parameters once", async () => {
    for (const path of ["/Health", "/health/", "//health", "/w/nowhere/status", "/nowhere"]) {
      expect((await send(of(), "GET", path)).status, path).toBe(404);
    }
    expect((await send(of(), "GET", "/x/../health")).status).toBe(200);
    expect(await send(of(), "GET", "/workspace/%zz/config")).toMatchObject({
      status: 400,
      json: { code: "invalid_path" },
    });
    const escaped = of().id.replaceAll("_", "%5f");
    expect((await send(of(), "GET", `/workspace/${escaped}/config`)).status).toBe(200);
  });

  it("serves a mount, and only its own workspace through it", async () => {
    const { id } = of();
    const mounted = await send(of(), "GET", `/w/${id}/workspaces`);
    expect(mounted.json).toMatchObject({ activeId: id, items: [{ id }] });
    expect((await send(of(), "GET", `/w/${id}/workspace/${id}/config`)).status).toBe(200);
    expect((await send(of(), "GET", `/w/${id}/workspace/ws_000000000000/config`)).status).toBe(404);
    const page = await send(of(), "GET", `/w/${id}/ui`, { token: null });
    const [, script = ""] = /<script type="module" src="([^"]+)"/.exec(page.text) ?? [];
    const asset = new URL(script, `${of().url}/w/${id}/ui`).pathname;
    expect(asset).toBe("/ui/assets/toy.js");
    expect((await send(of(), "GET", asset, { token: null })).status).toBe(200);
  });

  it("says what is wrong with a body, whatever its size", async () => {
    const bad = await send(of(), "POST", "~/plugins", { body: "{" });
    expect(bad).toMatchObject({ status: 400, json: { code: "invalid_json" } });
    const wrong = await send(of(), "PATCH", "~/config", { json: { opencode: [] } });
    expect(wrong).toMatchObject({ status: 400, json: { code: "invalid_payload" } });
    const large = await send(of(), "POST", "~/plugins", { body: "x".repeat(2_000_000) }).catch(() => null);
    // The refusal may overtake the body, and then some clients see the connection end.
    if (large) expect(large).toMatchObject({ status: 413, json: { code: "body_too_large" } });
  });

  const { bareRefusals, noProcess } = runtime.gaps;
  it("refuses what is no HTTP, with JSON where it can", async () => {
    const refusal =
      bareRefusals === undefined
        ? /^HTTP\/1.1 400 [^]*"code":"invalid_request"/
        : noProcess === undefined
          ? /^HTTP\/1.1 4\d\d /
          : /^HTTP\/1.1 [45]\d\d /;
    for (const text of [
      "hello\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET nopath HTTP/1.1\r\nHost: h\r\n\r\n",
    ]) {
      expect(await sendRaw(of(), text), text).toMatch(refusal);
    }
  });

  it("never lets a Host header move the path", async () => {
    const own = new URL(of().url).host;
    // A server may know a name that was good before.
    for (let i = 0; i < 2; i += 1) expect((await send(of(), "GET", "/health")).status).toBe(200);
    const moved = ["/", "/health", "/health?", "/health?x=", "/health#", "?", "#", "@b", "\\b"];
    for (const host of ["a/health?", "a#", "a@b", "a\\b", ...moved.map((end) => own + end)]) {
      const answer = await sendRaw(
        of(),
        `GET /nowhere HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      // A platform in front answers itself, some of it as a failure of its own.
      expect(answer, host).toMatch(noProcess === undefined ? /^HTTP\/1.1 4\d\d/ : /^HTTP\/1.1 [45]\d\d/);
    }
    const nameless = await sendRaw(of(), "GET /health HTTP/1.0\r\n\r\n");
    // It needs the name to find the Worker.
    expect(nameless).toMatch(noProcess === undefined ? /^HTTP\/1.[01] 200 / : /^HTTP\/1.1 400 /);
  });

  it("answers a body that claims to be huge itself", async () => {
    const request = `POST /workspace/${of().id}/plugins HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer client-token-of-the-tests\r\nContent-Length: 900000000\r\n\r\n`;
    expect(await sendRaw(of(), request)).toMatch(/^HTTP\/1.1 413 [^]*"code":"body_too_large"/);
  });
}

function state(of: () => Subject): void {
  it("changes one setting and keeps every comment", async () => {
    const text = '{\n  // the model\n  "model": "a/b", // why\n  "theme": "dark",\n}\n';
    const put = await send(of(), "PUT", "~/files/raw?path=opencode.jsonc", { body: text });
    expect(put.status, put.text).toBe(201);
    const patched = await send(of(), "PATCH", "~/config", { json: { opencode: { theme: "light" } } });
    expect(patched.status, patched.text).toBe(200);
    const after = await send(of(), "GET", "~/files/raw?path=opencode.jsonc");
    expect(after.text).toBe(text.replace("dark", "light"));
    expect(await send(of(), "GET", "~/config")).toMatchObject({
      json: { opencode: { model: "a/b", theme: "light" } },
    });
  });

  it("adds and removes plugins, MCP servers, skills and commands", async () => {
    const plugins = await send(of(), "POST", "~/plugins", { json: { spec: "a-plugin@1.0.0" } });
    expect(plugins.json).toMatchObject({ items: [{ spec: "a-plugin@1.0.0" }] });
    expect((await send(of(), "DELETE", "~/plugins/a-plugin")).json).toMatchObject({ items: [] });
    const mcp = { name: "docs", config: { type: "local", command: ["docs"] } };
    expect((await send(of(), "POST", "~/mcp", { json: mcp })).json).toMatchObject({
      items: [{ name: "docs" }],
    });
    expect((await send(of(), "DELETE", "~/mcp/docs")).json).toMatchObject({ items: [] });
    const skill = { name: "notes", content: "# Notes", description: "Takes notes." };
    expect((await send(of(), "POST", "~/skills", { json: skill })).status).toBe(200);
    expect((await send(of(), "GET", "~/skills")).json).toMatchObject({ items: [{ name: "notes" }] });
    expect((await send(of(), "GET", "~/skills/notes")).json).toMatchObject({
      content: expect.stringContaining("# Notes"),
    });
    expect((await send(of(), "DELETE", "~/skills/notes")).status).toBe(200);
    const command = { name: "go", template: "Go $1" };
    expect((await send(of(), "POST", "~/commands", { json: command })).json).toMatchObject({
      items: [{ name: "go", template: "Go $1" }],
    });
    expect((await send(of(), "DELETE", "~/commands/go")).json).toEqual({ ok: true });
  });

  it("records who did what, and tells of it as events", async () => {
    const before = await send(of(), "GET", "~/events");
    const cursor = Number(before.json["cursor"]);
    const news = send(of(), "GET", `~/events?since=${cursor}&wait=10`);
    await send(of(), "POST", "~/plugins", {
      json: { spec: "another" },
      headers: { "x-openwork-client-id": "phone" },
    });
    expect((await news).json).toMatchObject({ items: [{ seq: cursor + 1, workspaceId: of().id }] });
    const audit = await send(of(), "GET", "~/audit?limit=1");
    expect(audit.json).toMatchObject({ items: [{ action: "plugins.add", actor: { clientId: "phone" } }] });
  });

  it("exports what it can import again", async () => {
    const exported = await send(of(), "GET", "~/export");
    expect(exported.status, exported.text).toBe(200);
    const imported = await send(of(), "POST", "~/import", { json: exported.json });
    expect(imported, imported.text).toMatchObject({ status: 200, json: { ok: true } });
  });
}

function files(of: () => Subject): void {
  it("takes bytes in and gives them out, whole and in ranges, with conditions", async () => {
    const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7919) & 255);
    const put = await send(of(), "PUT", "~/files/raw?path=data/blob.bin", { body: bytes });
    expect(put, put.text).toMatchObject({ status: 201, json: { bytes: bytes.length } });
    const get = await open(of(), "GET", "~/files/raw?path=data/blob.bin");
    expect(Buffer.from(await get.arrayBuffer()).equals(bytes)).toBe(true);
    const range = await open(of(), "GET", "~/files/raw?path=data/blob.bin", {
      headers: { range: "bytes=100000-199999" },
    });
    expect(range.status).toBe(206);
    expect(Buffer.from(await range.arrayBuffer()).equals(bytes.subarray(100_000, 200_000))).toBe(true);
    const etag = get.headers.get("etag") ?? "";
    const same = await send(of(), "GET", "~/files/raw?path=data/blob.bin", {
      headers: { "if-none-match": etag },
    });
    expect([same.status, same.text]).toEqual([304, ""]);
    const lost = await send(of(), "PUT", "~/files/raw?path=data/blob.bin", {
      body: "x",
      headers: { "if-match": '"0:0"' },
    });
    expect(lost.status).toBe(412);
  });

  it("takes uploads into the inbox", async () => {
    const form = new FormData();
    form.set("file", new Blob(["hello"]), "hello.txt");
    const upload = await send(of(), "POST", "~/inbox", { body: form });
    expect(upload.status, upload.text).toBe(200);
    const list = await send(of(), "GET", "~/inbox");
    const [item] = list.json["items"] as { id: string; name: string }[];
    expect(item?.name).toBe("hello.txt");
    expect((await send(of(), "GET", `~/inbox/${item?.id ?? ""}`)).text).toBe("hello");
  });

  it("streams events of files as they happen", async () => {
    const leaving = new AbortController();
    const response = await open(of(), "GET", "~/files/events", { signal: leaving.signal });
    expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const readUntil = async (wanted: string): Promise<void> => {
      for (const end = Date.now() + 15_000; !text.includes(wanted) && Date.now() < end;) {
        const part = await reader?.read();
        if (!part || part.done) return;
        text += part.value;
      }
    };
    await readUntil("event: ready");
    await send(of(), "PUT", "~/files/raw?path=seen.txt", { body: "now" });
    await readUntil("seen.txt");
    leaving.abort();
    expect(text).toContain("seen.txt");
  });
}
