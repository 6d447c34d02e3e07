import { afterEach, describe, expect, test } from "vitest";
import {
  engineAddress,
  engineAuthorization,
  engineBase,
  engineDirectory,
  engineUrl,
} from "../../lib/engine.ts";
import { configOf, startMemoryServer, workspaceAt } from "../support/memory-host.ts";

let server: Awaited<ReturnType<typeof startMemoryServer>>;
let sent: { method: string; url: string; headers: Record<string, string> }[];

interface Engine {
  baseUrl?: string;
  directory?: string;
  username?: string;
  password?: string;
}

async function start(
  opencode: Engine,
  answer: (url: string) => Response | Promise<Response>,
  mode: "auto" | "manual" = "auto",
): Promise<string> {
  sent = [];
  const config = configOf({
    workspaces: [workspaceAt("/ws", { opencode })],
    approval: { mode, timeoutMs: 5000 },
  });
  const fake = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    sent.push({
      method: init?.method ?? "GET",
      url: String(input),
      headers: { ...(init?.headers as Record<string, string>) },
    });
    return answer(String(input));
  };
  server = await startMemoryServer(config, { fetch: fake as typeof fetch });
  return `/workspace/${server.workspace}/mcp`;
}

const audit = async (): Promise<{ action: string; target: string }[]> =>
  (await server.client.get(`/workspace/${server.workspace}/audit`)).json.items;

afterEach(() => server?.handler.close());

describe("the engine's address", () => {
  test.each([
    ["http://h:1", "http://h:1/mcp/x"],
    ["http://h:1/", "http://h:1/mcp/x"],
    ["https://h/pre/fix/?q=1#f", "https://h/pre/fix/mcp/x"],
    [" http://u:p@h:1/a ", "http://h:1/a/mcp/x"],
  ])("I61: %j keeps its path prefix", (baseUrl, url) => {
    expect(engineUrl(engineBase({ baseUrl }), "/mcp/x")).toBe(url);
  });

  test.each(["h:1", "ftp://h", "file:///x", "http://", "/x"])("%j is opencode_url_invalid", (baseUrl) => {
    expect(() => engineBase({ baseUrl })).toThrow(
      expect.objectContaining({ code: "opencode_url_invalid", status: 400 }),
    );
  });

  test.each([
    ["http://h:1/a?api_key=sk-secret", "http://h:1/a?api_key=***"],
    ["http://u:p@h:1/?token=sk-secret", "http://h:1/?token=***"],
    ["u:p@h", "u:p@h"],
    ["http://h:1", "http://h:1"],
  ])("anybody may be told %j as %j", (baseUrl, shown) => {
    expect(engineAddress({ baseUrl })).toBe(shown);
  });

  test("credentials only when both parts are there, in UTF-8", () => {
    expect(engineAuthorization({ username: "é", password: "p:w" })).toBe(
      `Basic ${Buffer.from("é:p:w").toString("base64")}`,
    );
    expect(engineAuthorization({ username: "u", password: " " })).toBeNull();
    expect(engineAuthorization({ password: "p" })).toBeNull();
  });

  test("a directory that no header can hold is encoded", () => {
    expect(engineDirectory({ directory: "/a b" })).toBe("/a b");
    expect(engineDirectory({ directory: "/ä\n" })).toBe("%2F%C3%A4");
    expect(engineDirectory({ directory: " " })).toBeNull();
  });
});

describe("DELETE mcp auth", () => {
  test("disconnects, then removes the sign-in; audited", async () => {
    const path = await start(
      { baseUrl: "http://e:1/base", directory: "/ws", username: "u", password: "p" },
      () => new Response("true"),
    );
    const { status, json } = await server.client.delete(`${path}/one/auth`);
    expect([status, json]).toEqual([200, { ok: true }]);
    const headers = {
      "content-type": "application/json",
      "x-opencode-directory": "/ws",
      authorization: `Basic ${btoa("u:p")}`,
    };
    expect(sent).toEqual([
      { method: "POST", url: "http://e:1/base/mcp/one/disconnect", headers },
      { method: "DELETE", url: "http://e:1/base/mcp/one/auth", headers },
    ]);
    expect(await audit()).toMatchObject([
      { action: "mcp.auth.remove", target: `${server.host.user.opencode.location}/mcp-auth.json` },
    ]);
  });

  test("a failing disconnect and a missing sign-in do not matter", async () => {
    const path = await start(
      { baseUrl: "http://e:1" },
      (url) => new Response("no", { status: url.endsWith("/auth") ? 404 : 500 }),
    );
    expect((await server.client.delete(`${path}/one/auth`)).status).toBe(200);
    expect(sent[0]?.headers).toEqual({ "content-type": "application/json" });
  });

  test.each([
    ['{"e":1}', { e: 1 }],
    ["oops", "oops"],
    ["", null],
  ])(
    "a refusal of the engine is opencode_request_failed, body %j; recorded as failed (I12)",
    async (text, body) => {
      const path = await start({ baseUrl: "http://e:1" }, () => new Response(text, { status: 403 }));
      const { status, json } = await server.client.delete(`${path}/one/auth`);
      expect([status, json.code]).toEqual([502, "opencode_request_failed"]);
      expect(json.details).toEqual({ status: 403, body, path: "/mcp/one/auth" });
      expect(await audit()).toMatchObject([{ action: "mcp.auth.remove", outcome: "failed" }]);
    },
  );

  test("a redirect is no success and is not followed", async () => {
    const path = await start(
      { baseUrl: "http://e:1" },
      () => new Response(null, { status: 302, headers: { location: "http://evil" } }),
    );
    expect((await server.client.delete(`${path}/one/auth`)).json.details.status).toBe(302);
    expect(sent).toHaveLength(2);
  });

  test("I66: an unreachable engine is 502 with the target's origin and the cause", async () => {
    const path = await start({ baseUrl: "http://u:hunter2@e:1/base" }, () => {
      throw new TypeError("fetch failed", {
        cause: Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }),
      });
    });
    const { status, json, text } = await server.client.delete(`${path}/one/auth`);
    expect([status, json.code]).toEqual([502, "opencode_unreachable"]);
    expect(json.details).toEqual({ target: "http://e:1", cause: "ECONNREFUSED" });
    expect(text).not.toContain("hunter2");
  });

  test("I32: name and configuration are checked before the host is asked; denied, nothing is sent", async () => {
    let path = await start({}, () => new Response(), "manual");
    expect((await server.client.delete(`${path}/bad%20name/auth`)).json.code).toBe("invalid_mcp_name");
    expect((await server.client.delete(`${path}/one/auth`)).json.code).toBe("opencode_unconfigured");
    await server.handler.close();
    path = await start({ baseUrl: "http://e:1" }, () => new Response(), "manual");
    const pending = server.client.delete(`${path}/one/auth`);
    const approvals = async (): Promise<{ id: string; paths: string[] }[]> =>
      (await server.client.get("/approvals", { host: true })).json.items;
    await expect.poll(approvals).toHaveLength(1);
    const [question] = await approvals();
    expect(question?.paths).toEqual([`${server.host.user.opencode.location}/mcp-auth.json`]);
    await server.client.post(`/approvals/${question?.id}`, { reply: "deny" }, { host: true });
    expect((await pending).json.code).toBe("write_denied");
    expect(sent).toEqual([]);
  });

  test.each(["auto", "manual"] as const)(
    "an engine that hangs holds up no other write (%s)",
    async (mode) => {
      const engine: { answers?: () => void } = {};
      const hanging = new Promise<void>((resolve) => (engine.answers = resolve));
      const path = await start(
        { baseUrl: "http://e:1" },
        () => hanging.then(() => new Response("true")),
        mode,
      );
      async function allow(): Promise<void> {
        if (mode === "auto") return;
        const asked = async (): Promise<{ id: string }[]> =>
          (await server.client.get("/approvals", { host: true })).json.items;
        await expect.poll(asked).toHaveLength(1);
        const [question] = await asked();
        await server.client.post(`/approvals/${question?.id}`, { reply: "allow" }, { host: true });
      }
      const signingOut = server.client.delete(`${path}/one/auth`);
      await allow();
      await expect.poll(() => sent.length).toBe(1);
      const adding = server.client.post(path, { name: "two", config: { type: "remote", url: "http://x" } });
      await allow();
      expect((await adding).status).toBe(200);
      expect(await audit()).toMatchObject([{ action: "mcp.add" }]);
      engine.answers?.();
      expect((await signingOut).status).toBe(200);
      expect(await audit()).toMatchObject([{ action: "mcp.auth.remove" }, { action: "mcp.add" }]);
    },
  );
});
