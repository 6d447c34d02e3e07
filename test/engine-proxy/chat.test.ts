import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createOpencodeClient, type OpencodeClient } from "@opencode-ai/sdk";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Engine, startEngine } from "../support/engine.ts";
import { type ModelStub, startModelStub, stubConfig } from "../support/model-stub.ts";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";

const content = "written by the tool\n";
/** How long a turn may take on a busy machine, milliseconds. */
const turnMs = 60_000;

/** The official client of the engine, with this server as its base URL. */
function sdk(server: TestServer, token: string): OpencodeClient {
  return createOpencodeClient({
    baseUrl: `${server.url}/w/${server.id}/opencode`,
    directory: server.workspace,
    headers: { authorization: `Bearer ${token}` },
  });
}

async function issue(server: TestServer, scope: string): Promise<string> {
  const { json } = await server.request<{ token: string }>("POST", "/tokens", {
    host: true,
    json: { scope },
  });
  return json.token;
}

interface Permission {
  id: string;
  sessionID: string;
}

describe("a whole turn through the proxy with the official SDK (I07, I08, I60, I65)", () => {
  let stub: ModelStub;
  let engine: Engine;
  let server: TestServer;

  beforeAll(async () => {
    const workspace = await freshDirectory("chat");
    stub = await startModelStub(
      { name: "write", arguments: { filePath: join(workspace, "note.txt"), content } },
      "The note is written.",
    );
    await writeFile(join(workspace, "opencode.json"), JSON.stringify(stubConfig(stub)));
    engine = await startEngine({ directory: workspace, password: "pw" });
    server = await startServer({
      workspace,
      flags: [
        "--opencode-base-url",
        engine.url,
        "--opencode-username",
        "opencode",
        "--opencode-password",
        "pw",
      ],
    });
  }, 90_000);

  afterAll(async () => {
    await server?.stop();
    await engine?.stop();
    await stub?.stop();
  });

  test(
    "a collaborator prompts, the owner allows the edit, the file is there and the audit tells it",
    async () => {
      const collaborator = await issue(server, "collaborator");
      const owner = await issue(server, "owner");
      const client = sdk(server, collaborator);
      const seen: string[] = [];
      const events = await client.event.subscribe();
      const asked = new Promise<Permission>((resolve, reject) => {
        (async () => {
          for await (const event of events.stream) {
            const { type, properties } = event as unknown as { type: string; properties: Permission };
            seen.push(type);
            if (type === "permission.asked") resolve(properties);
          }
        })().catch(reject);
      });

      const session = await client.session.create({ body: { title: "chat" }, throwOnError: true });
      const { id } = session.data;
      const turn = client.session.prompt({
        path: { id },
        body: { parts: [{ type: "text", text: "Write the note." }] },
        throwOnError: true,
      });

      const permission = await asked;
      const reply = `/w/${server.id}/opencode/permission/${permission.id}/reply`;
      const refused = await server.request("POST", reply, { token: collaborator, json: { reply: "once" } });
      expect(refused.status).toBe(403);
      const sessionScoped = await client.postSessionIdPermissionsPermissionId({
        path: { id, permissionID: permission.id },
        body: { response: "once" },
      });
      expect(sessionScoped.response.status).toBe(403);
      const escaped = await server.request("POST", reply.replace("reply", "%72eply"), {
        token: collaborator,
        json: { reply: "once" },
      });
      expect(escaped.status).toBe(403);

      const allowed = await server.request("POST", reply, { token: owner, json: { reply: "once" } });
      expect(allowed.status).toBe(200);

      const { data } = await turn;
      expect(
        data.parts.some((part) => part.type === "text" && part.text.includes("The note is written.")),
      ).toBe(true);
      expect(await readFile(join(server.workspace, "note.txt"), "utf8")).toBe(content);
      const messages = await client.session.messages({ path: { id }, throwOnError: true });
      expect(messages.data.length).toBeGreaterThanOrEqual(2);
      expect(seen).toEqual(expect.arrayContaining(["server.connected", "session.idle"]));

      const audit = await server.request<{ items: { action: string; target: string; outcome?: string }[] }>(
        "GET",
        "~/audit",
      );
      const story = audit.json.items.map(
        ({ action, target, outcome }) => `${action} ${target} ${outcome ?? "done"}`,
      );
      expect(story).toContain(`opencode.proxy POST /session/${id}/message done`);
      expect(story).toContain(`opencode.proxy POST /permission/${permission.id}/reply denied`);
      expect(story).toContain(`opencode.proxy POST /permission/${permission.id}/reply done`);
    },
    turnMs,
  );

  test("a viewer follows the conversation, without keys and without a word of its own (I04)", async () => {
    const viewer = await issue(server, "viewer");
    const client = sdk(server, viewer);
    const sessions = await client.session.list({ throwOnError: true });
    expect(sessions.data.length).toBeGreaterThan(0);
    const config = await client.config.get();
    expect(config.response.status).toBe(200);
    expect(JSON.stringify(config.data)).not.toContain("stub-secret-key");
    const providers = await client.config.providers();
    expect(JSON.stringify(providers.data)).not.toContain("stub-secret-key");
    const written = await client.session.create({ body: { title: "no" } });
    expect(written.response.status).toBe(403);
  });
});
