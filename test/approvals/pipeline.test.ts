import { describe, expect, it, vi } from "vitest";
import type { Exchange } from "../support/memory-host.ts";
import { Client, configOf, put, startMemoryServer, textOf } from "../support/memory-host.ts";

const manual = configOf({ approval: { mode: "manual", timeoutMs: 2000 } });
const commented = `{
  // the model we like
  "model": "a/b", // inline
  "plugin": ["one"]
}
`;

async function waiting(client: Client): Promise<Exchange["json"]> {
  const page = await client.get("/approvals?wait=5", { host: true, token: null });
  return page.json.items[0];
}

function decide(client: Client, id: string, reply: string): Promise<Exchange> {
  return client.post(`/approvals/${id}`, { reply }, { host: true, token: null });
}

describe("plan → approve → commit → record → announce", () => {
  it("shows the host a one-line diff, and allowing it changes that line alone", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    await put(storage, "opencode.jsonc", commented);
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "two" });
    const request = await waiting(client);
    expect(request.diff).toContain('-  "plugin": ["one"]');
    expect(request.diff).toMatch(/^\+ {2}"plugin": \["one", ?"two"\]$/m);
    expect(request.diff.match(/^[+-](?![+-])/gm)).toHaveLength(2);
    expect(request.expiresAt).toBeGreaterThan(request.createdAt);
    expect(await textOf(storage, "opencode.jsonc")).toBe(commented);
    await decide(client, request.id, "allow");
    expect((await write).status).toBe(200);
    const after = (await textOf(storage, "opencode.jsonc")) ?? "";
    expect(after).toContain("// the model we like");
    expect(after).toContain("// inline");
    expect(after).toContain('"two"');
  });

  it("a directory that goes whole is looked through for the host's sake alone", async () => {
    const walksOf = async (config = configOf()): Promise<string[]> => {
      const { client, workspace, storage, handler } = await startMemoryServer(config);
      await put(storage, "dir/a/b.txt", "text");
      const walk = vi.spyOn(storage, "walk");
      const removed = client.delete(`/workspace/${workspace}/files/raw?path=dir&recursive=true`);
      if (config === manual) await decide(client, (await waiting(client)).id, "allow");
      expect((await removed).status).toBe(200);
      expect(await storage.stat("dir")).toBeNull();
      const walked = walk.mock.calls.map(([path]) => path);
      await handler.close();
      return walked.filter((path) => path === "dir");
    };
    expect(await walksOf(manual)).not.toEqual([]);
    expect(await walksOf()).toEqual([]);
  });

  it("I12: a denial and a timeout change nothing, and the audit log tells of both", async () => {
    const { client, workspace, storage } = await startMemoryServer(
      configOf({ approval: { mode: "manual", timeoutMs: 300 } }),
    );
    const denied = client.post(`/workspace/${workspace}/plugins`, { spec: "two" });
    await decide(client, (await waiting(client)).id, "deny");
    expect(await denied).toMatchObject({
      status: 403,
      json: { code: "write_denied", details: { reason: "denied" } },
    });
    const late = await client.post(`/workspace/${workspace}/plugins`, { spec: "two" });
    expect(late).toMatchObject({
      status: 403,
      json: { code: "write_denied", details: { reason: "timeout" } },
    });
    expect(await storage.stat("opencode.jsonc")).toBeNull();
    const audit = await client.get(`/workspace/${workspace}/audit`);
    expect(audit.json.items.map((item: { outcome: string }) => item.outcome)).toEqual(["timeout", "denied"]);
  });

  it("I30: a merge is planned again over what another program wrote while the host thought", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    await put(storage, "opencode.jsonc", '{ "plugin": ["one"] }\n');
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "two" });
    const request = await waiting(client);
    await put(storage, "opencode.jsonc", '{ "plugin": ["one", "foreign"] }\n');
    await decide(client, request.id, "allow");
    expect((await write).json.items.map((item: { spec: string }) => item.spec)).toEqual([
      "one",
      "foreign",
      "two",
    ]);
  });

  it("I31: a caller that hangs up withdraws its write, which a later allow cannot apply", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    const gone = new AbortController();
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "two" }, { signal: gone.signal });
    const request = await waiting(client);
    gone.abort();
    await write;
    expect((await decide(client, request.id, "allow")).status).toBe(404);
    expect(await storage.stat("opencode.jsonc")).toBeNull();
    const audit = await client.get(`/workspace/${workspace}/audit`);
    expect(audit.json.items[0]).toMatchObject({ action: "plugins.add", outcome: "withdrawn" });
  });

  it("I31: revoking the token of a waiting write ends it with 401", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    const issued = (
      await client.post("/tokens", { scope: "collaborator", label: "phone" }, { host: true, token: null })
    ).json;
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "two" }, { token: issued.token });
    const request = await waiting(client);
    expect(request.tokenLabel).toBe("phone");
    await client.delete(`/tokens/${issued.id}`, { host: true, token: null });
    expect((await write).status).toBe(401);
    expect(await storage.stat("opencode.jsonc")).toBeNull();
    const audit = await client.get(`/workspace/${workspace}/audit`);
    expect(audit.json.items[0]).toMatchObject({ outcome: "revoked" });
  });

  it("I32: what is wrong is refused before the host is asked", async () => {
    const { client, workspace } = await startMemoryServer(manual);
    expect((await client.post(`/workspace/${workspace}/plugins`, { spec: " " })).status).toBe(400);
    expect(
      (await client.post(`/workspace/${workspace}/mcp`, { name: "-x", config: { type: "remote", url: "u" } }))
        .status,
    ).toBe(400);
    expect((await client.get("/approvals", { host: true, token: null })).json.items).toEqual([]);
  });

  it("Prefer: respond-async answers 202 with a Location that tells the outcome, to its own caller alone", async () => {
    const { client, workspace } = await startMemoryServer(manual);
    const accepted = await client.post(
      `/workspace/${workspace}/plugins`,
      { spec: "two" },
      { headers: { prefer: "respond-async" } },
    );
    expect(accepted.status).toBe(202);
    expect(accepted.headers.get("preference-applied")).toBe("respond-async");
    const location = accepted.headers.get("location") ?? "";
    expect((await client.get(location)).status).toBe(202);
    const stranger = (await client.post("/tokens", { scope: "viewer" }, { host: true, token: null })).json
      .token;
    expect((await client.get(location, { token: stranger })).status).toBe(404);
    const polled = client.get(`${location}?wait=5`);
    await decide(client, (await waiting(client)).id, "allow");
    expect(await polled).toMatchObject({ status: 200, json: { items: [{ spec: "two" }] } });
    const invalid = await client.post(
      `/workspace/${workspace}/plugins`,
      { spec: "" },
      { headers: { prefer: "respond-async" } },
    );
    expect(invalid.status).toBe(400);
  });

  it("a write waiting when its workspace is deleted is not applied", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "two" });
    const request = await waiting(client);
    await client.delete(`/workspaces/${workspace}`, { host: true, token: null });
    expect((await write).json.code).toBe("workspace_not_found");
    // The host is not left with a question that no answer can bring about.
    expect((await client.get("/approvals", { host: true, token: null })).json.items).toEqual([]);
    const reply = await client.post(`/approvals/${request.id}`, { reply: "allow" }, { host: true });
    expect(reply.json.code).toBe("approval_not_found");
    expect(await storage.stat("opencode.jsonc")).toBeNull();
  });
});

describe("I30: what moved while the host thought", () => {
  it("a skill that gained a file is not deleted with it: 409, everything stays, audited as failed", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    await put(storage, ".opencode/skills/s/SKILL.md", "---\nname: s\ndescription: d\n---\nx\n");
    const removal = client.delete(`/workspace/${workspace}/skills/s`);
    const request = await waiting(client);
    expect(request.diff).toContain("remove directory .opencode/skills/s");
    await put(storage, ".opencode/skills/s/notes.md", "precious");
    await decide(client, request.id, "allow");
    expect(await removal).toMatchObject({ status: 409, json: { code: "conflict" } });
    expect(await textOf(storage, ".opencode/skills/s/notes.md")).toBe("precious");
    const audit = await client.get(`/workspace/${workspace}/audit`);
    expect(audit.json.items[0]).toMatchObject({
      action: "skills.delete",
      outcome: "failed",
      approval: { id: request.id },
    });
  });

  it("a file that takes precedence and appears meanwhile is the one that is edited", async () => {
    const { client, workspace, storage } = await startMemoryServer(manual);
    await put(storage, "opencode.json", '{"plugin":[]}\n');
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "two" });
    const request = await waiting(client);
    await put(storage, "opencode.jsonc", '{"plugin":["new"]}\n');
    await decide(client, request.id, "allow");
    expect((await write).json.items.map((item: { spec: string }) => item.spec)).toEqual(["new", "two"]);
    expect(await textOf(storage, "opencode.json")).toBe('{"plugin":[]}\n');
  });
});
