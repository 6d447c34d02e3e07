import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkSettings, parseSettings } from "../../lib/settings/file.ts";
import { isSecretName } from "../../lib/secrets.ts";
import {
  type Client,
  configOf,
  put,
  startMemoryServer,
  textOf,
  workspaceAt,
} from "../support/memory-host.ts";

const asHost = { host: true, token: null } as const;
const password = "hunter2-swordfish";

async function viewerOf(client: Client): Promise<string> {
  return (await client.post("/tokens", { scope: "viewer" }, asHost)).json.token;
}

describe("I03: the engine's credentials", () => {
  it("are not in the address that viewers see; collaborators see it as configured", async () => {
    const baseUrl = `http://bob:${password}@127.0.0.1:1/`;
    const workspace = workspaceAt("/ws", { baseUrl, opencode: { baseUrl, directory: "/ws" } });
    const { client } = await startMemoryServer(configOf({ workspaces: [workspace] }));
    const viewer = await viewerOf(client);
    for (const path of [
      "/workspaces",
      "/status",
      `/w/${workspace.id}/workspaces`,
      `/w/${workspace.id}/status`,
    ]) {
      const seen = await client.get(path, { token: viewer });
      expect(seen.text).not.toContain(password);
      expect(seen.text).toContain("127.0.0.1:1");
      expect((await client.get(path)).text).toContain(baseUrl);
    }
  });
});

describe("I04: secrets beside the configuration", () => {
  const spec = `git+https://bob:${password}@example.com/plugin.git`;

  it("the address of a plugin stands without its password in the audit log, on disk too", async () => {
    const { client, workspace, host } = await startMemoryServer();
    await client.post(`/workspace/${workspace}/plugins`, { spec });
    await client.delete(`/workspace/${workspace}/plugins/${encodeURIComponent(spec)}`);
    const log = (await textOf(host.data, `audit/${workspace}.jsonl`)) ?? "";
    expect(log.trim().split("\n")).toHaveLength(2);
    expect(log).toContain("example.com/plugin.git");
    expect(log).not.toContain(password);
  });

  it("viewers see entries of older servers without it as well, and all else unchanged", async () => {
    const { client, workspace, host } = await startMemoryServer();
    const entry = {
      id: "1",
      workspaceId: workspace,
      actor: { type: "remote", tokenHash: "ab".repeat(32), scope: "collaborator" },
      action: "plugins.add",
      target: "opencode.json",
      summary: `Added ${spec}`,
      timestamp: 5,
    };
    await put(host.data, `audit/${workspace}.jsonl`, `${JSON.stringify(entry)}\n`);
    const path = `/workspace/${workspace}/audit`;
    const seen = await client.get(path, { token: await viewerOf(client) });
    expect(seen.text).not.toContain(password);
    expect(seen.json.items).toEqual([
      { ...entry, summary: expect.stringContaining("example.com/plugin.git") },
    ]);
    expect((await client.get(path)).json.items).toEqual([entry]);
  });

  it.each(["token2", "API_KEY_1", "apiKey2", "PASSWORD3", "githubtoken", "clientsecret", "x-refreshtoken"])(
    "a key called %s is secret",
    (name) => expect(isSecretName(name)).toBe(true),
  );

  it.each(["maxTokens", "max_tokens_1", "tokenizer", "model2", "secretary", "keyboard"])(
    "a key called %s is none",
    (name) => expect(isSecretName(name)).toBe(false),
  );
});

describe("CVE-2022-24757: secrets in errors and logs", () => {
  const secret = `sk-proj-${"S3cr3t".repeat(5)}`;

  it("what does not parse, or is of another shape, is not repeated to the log", async () => {
    const { client, workspace, host } = await startMemoryServer();
    const base = `/workspace/${workspace}`;
    const bodies: [string, string, string][] = [
      ["POST", `${base}/plugins`, secret],
      ["POST", `${base}/plugins`, "S3cr3t-short"],
      ["POST", `${base}/plugins`, `{"spec": ${secret}}`],
      ["PATCH", `${base}/config`, `{"opencode": "${secret}"}`],
      ["POST", `${base}/mcp`, `{"name": "x", "config": "${secret}"}`],
      ["POST", `${base}/import`, `{"skills": "${secret}"}`],
      ["POST", `${base}/import`, `{"commands": [{"path": ["${secret}"]}], "files": "${secret}"}`],
      ["POST", "/tokens", `"${secret}"`],
    ];
    for (const [method, path, body] of bodies) {
      const answer = await client.send(method, path, { body, host: true });
      expect({ body, status: answer.status }).toEqual({ body, status: 400 });
    }
    expect(host.logged).toHaveLength(bodies.length);
    expect(JSON.stringify(host.logged)).not.toContain("S3cr3t");
  });

  it("a large body of the wrong shape gets a small answer and a small log line", async () => {
    const { client, workspace, host } = await startMemoryServer();
    const large = "x!".repeat(300_000);
    const base = `/workspace/${workspace}`;
    const requests: [string, unknown][] = [
      [`${base}/import`, { skills: large }],
      [`${base}/import`, { opencodePath: large }],
      [`${base}/skills`, { name: large, content: "x" }],
      [`${base}/commands`, { name: large, template: "x" }],
      [`${base}/mcp`, { name: large, config: { type: "remote", url: "http://x" } }],
      [`${base}/plugins`, { spec: { [large]: 1 } }],
    ];
    for (const [path, json] of requests) {
      const answer = await client.post(path, json);
      expect({ path, status: answer.status }).toEqual({ path, status: 400 });
      expect(answer.text.length).toBeLessThan(2000);
    }
    expect(JSON.stringify(host.logged).length).toBeLessThan(10_000);
  });

  it("labels are short, so that the token store can always be read again", async () => {
    const { client, host } = await startMemoryServer();
    const long = await client.post("/tokens", { scope: "viewer", label: "l".repeat(201) }, asHost);
    expect(long).toMatchObject({
      status: 400,
      json: { code: "invalid_payload", details: { path: "label" } },
    });
    expect(await host.tokenStore.storage.stat("tokens.json")).toBeNull();
    expect((await client.post("/tokens", { scope: "viewer", label: "l".repeat(200) }, asHost)).status).toBe(
      201,
    );
  });

  it("a settings file of the wrong shape is told without the passwords it holds", () => {
    const wrong = [
      { workspaces: { path: "/x", opencodePassword: password } },
      { workspaces: [[{ opencodePassword: password }]] },
      { approval: [password] },
      { token: [password] },
      { hostToken: { a: password } },
      { workspaces: [{ path: "/x", opencodePassword: { a: password } }] },
    ];
    for (const file of wrong) {
      let message = "";
      try {
        checkSettings(file, "server.json");
      } catch (error) {
        message = String(error);
      }
      expect(message).toContain("server.json");
      expect(message).not.toContain(password);
    }
    expect(() => parseSettings(`{"token": "${password}", }}`)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining(password) }),
    );
  });
});

describe("timing, stack traces: strangers", () => {
  it("learn nothing of a token store that was damaged while the server ran; known tokens go on (I22)", async () => {
    const { client, host } = await startMemoryServer();
    const damaged = '{"tokens":[{"id":"a","hash":"deadbeef';
    await put(host.tokenStore.storage, host.tokenStore.path, damaged);
    await new Promise((resolve) => void setTimeout(resolve, 150));
    const answer = await client.get("/status", { token: "garbage" });
    expect(answer).toMatchObject({ status: 500, json: { code: "token_store_damaged" } });
    expect(answer.text).not.toMatch(/deadbeef|tokens\.json|position/);
    expect((await client.get("/status", { token: null })).status).toBe(401);
    expect((await client.get("/status")).status).toBe(200);
    expect((await client.post("/tokens", { scope: "viewer" }, asHost)).status).toBe(500);
    expect(await textOf(host.tokenStore.storage, host.tokenStore.path)).toBe(damaged);
  });

  it("get the same answer for every unknown path, header and token", async () => {
    const { client, host } = await startMemoryServer();
    const token = fc.stringMatching(/^[\x21-\x7e]{1,60}$/);
    await fc.assert(
      fc.asyncProperty(token, fc.constantFrom("/status", "/workspaces", "/whoami"), async (value, path) => {
        const answer = await client.get(path, { token: value });
        expect(answer.status).toBe(401);
        expect(answer.text).not.toContain(host.config.clientToken);
      }),
      { numRuns: 100 },
    );
    expect(JSON.stringify(host.logged)).not.toContain(host.config.clientToken);
  });
});
