import { describe, expect, test } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import type { Storage } from "../../lib/storage.ts";
import {
  clientToken,
  configOf,
  put,
  startMemoryServer,
  workspaceAt,
  type Client,
} from "../support/memory-host.ts";
import { SessionClient } from "./support.ts";

async function issue(client: Client, scope: string): Promise<{ token: string; id: string }> {
  const { json } = await client.post("/tokens", { scope }, { token: null, host: true });
  return json;
}

describe("file sessions", () => {
  test("I11: over the cap of a token the newcomer is refused with Retry-After, and nobody is evicted", async () => {
    const { client, workspace } = await startMemoryServer();
    const other = await issue(client, "viewer");
    const mine = await SessionClient.open(client, workspace);
    for (let n = 0; n < 32; n += 1)
      await SessionClient.open(client, workspace, { token: other.token }, { ttlSeconds: 60 });
    const refused = await client.post(`/workspace/${workspace}/files/sessions`, {}, { token: other.token });
    expect(refused.status).toBe(429);
    expect(refused.json).toMatchObject({ code: "too_many_requests", details: { most: 32 } });
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(50);
    expect((await mine.snapshot()).status).toBe(200);
    await SessionClient.open(client, workspace);
  });

  test("I11: 256 in all, and the sessions of a revoked token make room", async () => {
    const { client, workspace } = await startMemoryServer();
    const tokens = await Promise.all(Array.from({ length: 8 }, () => issue(client, "viewer")));
    for (const { token } of tokens) {
      for (let n = 0; n < 32; n += 1) await SessionClient.open(client, workspace, { token });
    }
    const path = `/workspace/${workspace}/files/sessions`;
    expect((await client.post(path, {})).json).toMatchObject({
      code: "too_many_requests",
      details: { most: 256 },
    });
    await client.delete(`/tokens/${tokens[0]?.id}`, { token: null, host: true });
    expect((await client.post(path, {})).status).toBe(200);
  });

  test("a session is its token's alone and dies with it, with its time, or when it is closed", async () => {
    const { client, workspace } = await startMemoryServer();
    const other = await issue(client, "owner");
    const session = await SessionClient.open(client, workspace);
    const stolen = await client.get(`${session.path}/catalog/snapshot`, { token: other.token });
    expect([stolen.status, stolen.json.code]).toEqual([403, "forbidden"]);
    const theirs = await SessionClient.open(client, workspace, { token: other.token });
    await client.delete(`/tokens/${other.id}`, { token: null, host: true });
    expect((await theirs.snapshot()).status).toBe(401);
    expect((await client.delete(session.path)).json).toEqual({ ok: true });
    expect((await session.snapshot()).json.code).toBe("file_session_not_found");
  });

  test("the order of checks: read-only, scope, session, writable, body", async () => {
    const config = configOf({ readOnly: true });
    const server = await startMemoryServer(config);
    const readOnly = await SessionClient.open(server.client, server.workspace);
    expect((await readOnly.write("nonsense")).json.code).toBe("read_only");
    const { client, workspace } = await startMemoryServer();
    const viewer = await issue(client, "viewer");
    const reading = await SessionClient.open(client, workspace, { token: viewer.token }, { write: true });
    expect((await reading.write("nonsense")).json).toMatchObject({
      code: "forbidden",
      details: { required: "collaborator" },
    });
    const missing = await client.post("/files/sessions/none/ops", { operations: "nonsense" });
    expect(missing.json.code).toBe("file_session_not_found");
    const locked = await SessionClient.open(client, workspace, {}, { write: false });
    expect((await locked.ops("nonsense")).json.code).toBe("forbidden");
    const session = await SessionClient.open(client, workspace);
    expect((await session.ops("nonsense")).json.code).toBe("invalid_payload");
    expect((await client.post("/files/sessions/none/renew", null)).json.code).toBe("invalid_payload");
  });

  test("I70: everything works under /w/:id, and only for sessions of that workspace", async () => {
    const config = configOf({ workspaces: [workspaceAt("/one"), workspaceAt("/two")] });
    const { client, host } = await startMemoryServer(config);
    const [one, two] = config.workspaces.map((workspace) => workspace.id);
    await put(host.storages.get(two ?? "") ?? host.data, "f", "2");
    const opened = await client.post(`/w/${two}/workspace/${two}/files/sessions`, {});
    const path = `/files/sessions/${opened.json.session.id}`;
    expect((await client.get(`/w/${two}${path}/catalog/snapshot`)).json.total).toBe(1);
    expect((await client.post(`/w/${two}${path}/read-batch`, { paths: ["f"] })).json.items[0].ok).toBe(true);
    const op = { type: "mkdir", path: "d" };
    expect((await client.post(`/w/${two}${path}/ops`, { operations: [op] })).json.items[0].ok).toBe(true);
    const write = { path: "g", contentBase64: "" };
    expect((await client.post(`/w/${two}${path}/write-batch`, { writes: [write] })).json.items[0].ok).toBe(
      true,
    );
    expect((await client.get(`/w/${two}${path}/catalog/events`)).json.items).toHaveLength(2);
    expect((await client.post(`/w/${two}${path}/renew`, {})).status).toBe(200);
    for (const [method, rest] of [
      ["GET", "/catalog/snapshot"],
      ["POST", "/renew"],
      ["DELETE", ""],
    ] as const) {
      const elsewhere = await client.send(
        method,
        `/w/${one}${path}${rest}`,
        method === "POST" ? { json: {} } : {},
      );
      expect(elsewhere.json.code).toBe("file_session_not_found");
    }
    expect((await client.delete(`/w/${two}${path}`)).json).toEqual({ ok: true });
  });

  test("I44: a session of a large tree is open before the tree is read, and no change after it goes untold", async () => {
    const storage = createMemoryStorage();
    await put(storage, "before", "1");
    const gate = new AbortController();
    const large = new Proxy(storage, {
      get(target, key) {
        if (key === "walk") {
          return async function* walk(...args: Parameters<Storage["walk"]>) {
            await new Promise((resolve) => gate.signal.addEventListener("abort", resolve));
            yield* target.walk(...args);
          };
        }
        const value: unknown = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const { client, workspace } = await startMemoryServer(configOf(), { storage: () => large });
    const session = await SessionClient.open(client, workspace);
    await put(storage, "meanwhile", "2");
    const asked = session.events("since=0");
    gate.abort();
    const { json } = await asked;
    expect(json).toMatchObject({ items: [], reset: true });
    const snapshot = await session.snapshot();
    expect(snapshot.json.items.map((item: { path: string }) => item.path)).toEqual(["before", "meanwhile"]);
    expect(snapshot.json.cursor).toBe(json.cursor);
    const { items } = (await session.write({ path: "after", contentBase64: "" })).json;
    expect((await session.events(`since=${json.cursor}`)).json).toMatchObject({
      items: [{ type: "write", path: "after", revision: items[0].revision }],
    });
    expect((await session.events(`since=${json.cursor}`)).json.reset).toBeUndefined();
  });

  test("a session whose workspace was deleted is workspace_not_found", async () => {
    const { client, workspace } = await startMemoryServer();
    const session = await SessionClient.open(client, workspace);
    await client.delete(`/workspaces/${workspace}`, { token: null, host: true });
    expect((await session.snapshot()).json.code).toBe("workspace_not_found");
    expect((await client.post(`${session.path}/renew`, {})).json.code).toBe("workspace_not_found");
    expect(clientToken).toBeTruthy();
  });

  test("lifetimes are clamped, and anything that is no number means 15 minutes", async () => {
    const { client, workspace } = await startMemoryServer();
    const ttl = async (ttlSeconds: unknown): Promise<number> => {
      const { json } = await client.post(`/workspace/${workspace}/files/sessions`, { ttlSeconds });
      return Math.round(json.session.ttlMs / 1000);
    };
    expect(await ttl(1)).toBe(30);
    expect(await ttl(-5)).toBe(30);
    expect(await ttl(1e9)).toBe(86_400);
    expect(await ttl("60")).toBe(900);
    expect(await ttl(null)).toBe(900);
  });
});
