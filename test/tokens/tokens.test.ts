import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { createHandler } from "../../handlers/index.ts";
import { sha256Hex } from "../../lib/hash.ts";
import { TokenStore } from "../../lib/tokens.ts";
import { Client, configOf, memoryHost, put, startMemoryServer, textOf } from "../support/memory-host.ts";

const asHost = { host: true, token: null } as const;

describe("issued tokens", () => {
  it("are shown once, listed newest first without hash, and stored as hashes only", async () => {
    const { client, host } = await startMemoryServer();
    const first = (await client.post("/tokens", { scope: " viewer ", label: "  phone " }, asHost)).json;
    const second = await client.post("/tokens", { scope: "owner", label: 5 }, asHost);
    expect(second.status).toBe(201);
    expect(first).toMatchObject({ scope: "viewer", label: "phone" });
    expect(first.token).toMatch(/^owt_[0-9a-f]{32}$/);
    const list = (await client.get("/tokens", asHost)).json.items;
    expect(list.map((item: { id: string }) => item.id)).toEqual([second.json.id, first.id]);
    expect(JSON.stringify(list)).not.toContain(sha256Hex(first.token));
    const stored = (await textOf(host.tokenStore.storage, "tokens.json")) ?? "";
    expect(stored).not.toContain(first.token);
    expect(JSON.parse(stored)).toMatchObject({
      schemaVersion: 1,
      tokens: [{}, { hash: sha256Hex(first.token), label: "phone" }],
    });
    expect(stored.endsWith("}\n")).toBe(true);
  });

  it("wrong scopes and ids are told as such", async () => {
    const { client } = await startMemoryServer();
    for (const scope of ["admin", "", 5, null, undefined]) {
      expect(await client.post("/tokens", { scope }, asHost)).toMatchObject({
        status: 400,
        json: { code: "invalid_scope" },
      });
    }
    expect(await client.post("/tokens", null, asHost)).toMatchObject({
      status: 400,
      json: { code: "invalid_payload" },
    });
    expect(await client.delete("/tokens/nope", asHost)).toMatchObject({
      status: 404,
      json: { code: "token_not_found" },
    });
  });

  it("I21: fifty made at once are all there, and a revoked one stays revoked over a restart", async () => {
    const { client, host } = await startMemoryServer();
    const made = await Promise.all(
      Array.from({ length: 50 }, async () => (await client.post("/tokens", { scope: "owner" }, asHost)).json),
    );
    expect((await client.get("/tokens", asHost)).json.items).toHaveLength(50);
    const [gone, kept] = made;
    await client.delete(`/tokens/${gone.id}`, asHost);
    const again = new Client(await createHandler(memoryHost(configOf(), { tokenStore: host.tokenStore })));
    expect((await again.get("/whoami", { token: gone.token })).status).toBe(401);
    expect((await again.get("/whoami", { token: kept.token })).json.actor.scope).toBe("owner");
  });

  it("I22: a damaged store refuses the start with file and position, and is not overwritten", async () => {
    for (const damaged of ['{"tokens": [', "", '{"tokens": 5}', "[]"]) {
      const storage = createMemoryStorage({ name: "config" });
      await put(storage, "tokens.json", damaged);
      const starting = createHandler(
        memoryHost(configOf(), { tokenStore: { storage, path: "tokens.json" } }),
      );
      await expect(starting).rejects.toMatchObject({
        code: "token_store_damaged",
        message: expect.stringContaining("tokens.json"),
      });
      expect(await textOf(storage, "tokens.json")).toBe(damaged);
    }
  });

  it("I22: what another process does to the store is noticed, and its rows survive ours", async () => {
    const { client, host } = await startMemoryServer();
    const mine = (await client.post("/tokens", { scope: "viewer" }, asHost)).json;
    const other = new TokenStore(host.tokenStore);
    const { token } = await other.create("collaborator", "theirs");
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect((await client.get("/whoami", { token })).json.actor.scope).toBe("collaborator");
    await client.post("/tokens", { scope: "owner" }, asHost);
    await other.revoke(mine.id);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect((await client.get("/whoami", { token: mine.token })).status).toBe(401);
    expect((await client.get("/tokens", asHost)).json.items).toHaveLength(2);
  });

  it("a store of the existing server is honoured; rows that are no tokens are skipped and kept", async () => {
    const storage = createMemoryStorage({ name: "config" });
    const rows = [
      { id: "1", hash: sha256Hex("owt_old"), scope: "collaborator", createdAt: 5, label: "old", extra: true },
      { id: "2", hash: "x", scope: "admin" },
      "nonsense",
    ];
    await put(storage, "tokens.json", JSON.stringify({ schemaVersion: 1, updatedAt: 1, tokens: rows }));
    const client = new Client(
      await createHandler(memoryHost(configOf(), { tokenStore: { storage, path: "tokens.json" } })),
    );
    expect((await client.get("/whoami", { token: "owt_old" })).json.actor.scope).toBe("collaborator");
    expect((await client.get("/tokens", asHost)).json.items).toEqual([
      { id: "1", scope: "collaborator", createdAt: 5, label: "old" },
    ]);
    await client.post("/tokens", { scope: "viewer" }, asHost);
    const kept = JSON.parse((await textOf(storage, "tokens.json")) ?? "").tokens;
    expect(kept.slice(1)).toEqual(rows);
  });

  it("I12: making and revoking are audited, with the host as the actor", async () => {
    const { client } = await startMemoryServer();
    const { id } = (await client.post("/tokens", { scope: "viewer", label: "tv" }, asHost)).json;
    await client.delete(`/tokens/${id}`, asHost);
    const { items } = (await client.get("/audit", asHost)).json;
    expect(items.map((item: { action: string }) => item.action)).toEqual(["tokens.revoke", "tokens.create"]);
    expect(items[0]).toMatchObject({ target: id, actor: { type: "host" } });
  });
});
