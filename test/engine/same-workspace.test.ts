import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEngine, type Engine } from "../support/engine.ts";
import { freshDirectory, startServer, type Json, type TestServer } from "../support/server.ts";

interface EngineConfig {
  username?: string;
  model?: string;
  plugin?: string[];
  instructions?: string[];
  permission?: Json;
}

interface EngineSkill {
  name: string;
  description: string;
  location: string;
  content: string;
}

interface EngineCommand {
  name: string;
  description?: string;
  agent?: string;
  template: string;
  subtask?: boolean;
}

// Without the engine's package for this platform there is nothing to compare with.
describe("what is written through the server is what the engine reads", () => {
  let workspace: string;
  let server: TestServer;
  let engine: Engine;

  beforeAll(async () => {
    workspace = await freshDirectory("workspace");
    // A repository of its own, so that neither program looks above it.
    await mkdir(join(workspace, ".git"));
    await writeFile(
      join(workspace, "opencode.jsonc"),
      '{\n  // Shared by both programs.\n  "username": "before",\n}\n',
    );
    [server, engine] = await Promise.all([startServer({ workspace }), startEngine({ directory: workspace })]);
  });

  afterAll(async () => {
    await Promise.all([server?.stop(), engine?.stop()]);
    await rm(workspace, { recursive: true, force: true, maxRetries: 3 });
  });

  async function change(method: string, path: string, json?: unknown): Promise<void> {
    const answer = await server.request(method, path, json === undefined ? {} : { json });
    expect([answer.status, answer.text]).toEqual([200, expect.anything()]);
    await engine.dispose();
  }

  const config = (): Promise<EngineConfig> => engine.get<EngineConfig>("/config");

  async function skill(name: string): Promise<EngineSkill | undefined> {
    return (await engine.get<EngineSkill[]>("/skill")).find((item) => item.name === name);
  }

  async function command(name: string): Promise<EngineCommand | undefined> {
    return (await engine.get<EngineCommand[]>("/command")).find((item) => item.name === name);
  }

  test("configuration: set, nested, taken away", async () => {
    expect((await config()).username).toBe("before");
    await change("PATCH", "~/config", {
      opencode: { username: "after", instructions: ["NOTES.md"], permission: { bash: "deny" } },
    });
    expect(await config()).toMatchObject({
      username: "after",
      instructions: ["NOTES.md"],
      permission: { bash: "deny" },
    });
    await change("PATCH", "~/config", {
      opencode: { instructions: { $unset: true }, permission: { edit: "ask" } },
    });
    const { instructions, permission } = await config();
    expect(instructions).toBeUndefined();
    expect(permission).toEqual({ bash: "deny", edit: "ask" });
  });

  test("plugins: listed once added, and not any more once removed", async () => {
    const file = join(workspace, "plugin.js");
    const spec = pathToFileURL(file).href;
    await writeFile(file, "export const Plugin = async () => ({});\n");
    await change("POST", "~/plugins", { spec });
    expect((await config()).plugin).toContain(spec);
    await change("DELETE", `~/plugins/${encodeURIComponent(spec)}`);
    expect((await config()).plugin ?? []).not.toContain(spec);
  });

  test("skills: created, changed, deleted", async () => {
    const body = "# Ünïcode 🎉\n\nSteps: one, two.\n";
    await change("POST", "~/skills", {
      name: "write-report",
      description: 'Says "when": always # not a comment',
      content: body,
    });
    expect(await skill("write-report")).toMatchObject({
      description: 'Says "when": always # not a comment',
      location: join(workspace, ".opencode/skills/write-report/SKILL.md"),
      content: expect.stringContaining("Ünïcode 🎉"),
    });
    await change("POST", "~/skills", {
      name: "write-report",
      content: "---\nname: write-report\ndescription: Changed\nlicense: MIT\n---\n\nOther steps.\n",
    });
    expect(await skill("write-report")).toMatchObject({
      description: "Changed",
      content: expect.stringContaining("Other steps."),
    });
    await change("DELETE", "~/skills/write-report");
    expect(await skill("write-report")).toBeUndefined();
  });

  test("commands: every field arrives, and deleting takes the command away", async () => {
    await change("POST", "~/commands", {
      name: "inspect",
      template: "Look at $ARGUMENTS: {{carefully}}.\n\n---\n\nThen tell.",
      description: "yes: a colon, and a # sign",
      agent: "build",
      model: "provider/model",
      subtask: true,
    });
    expect(await command("inspect")).toMatchObject({
      description: "yes: a colon, and a # sign",
      agent: "build",
      subtask: true,
      template: "Look at $ARGUMENTS: {{carefully}}.\n\n---\n\nThen tell.",
    });
    await change("DELETE", "~/commands/inspect");
    expect(await command("inspect")).toBeUndefined();
  });

  test("MCP servers: added switched off, replaced, removed", async () => {
    const status = (): Promise<Json> => engine.get<Json>("/mcp");
    await change("POST", "~/mcp", {
      name: "search",
      config: { type: "remote", url: "http://127.0.0.1:9/", enabled: false },
    });
    expect(await status()).toMatchObject({ search: { status: "disabled" } });
    await change("POST", "~/mcp", {
      name: "search",
      config: { type: "local", command: ["false"], enabled: false, environment: { A: "b" } },
    });
    expect(await engine.get("/config")).toMatchObject({
      mcp: { search: { type: "local", command: ["false"], environment: { A: "b" } } },
    });
    await change("DELETE", "~/mcp/search");
    expect(await status()).not.toHaveProperty("search");
  });

  test("an imported workspace is read as a whole", async () => {
    await change("POST", "~/import", {
      opencode: { username: "imported" },
      skills: [
        { name: "carried", content: "---\nname: carried\ndescription: Came with an import\n---\n\nText\n" },
      ],
      commands: [
        { name: "brought", template: "Bring it.", description: "Came too", model: "provider/model" },
      ],
    });
    expect((await config()).username).toBe("imported");
    expect((await skill("carried"))?.description).toBe("Came with an import");
    expect((await command("brought"))?.template).toBe("Bring it.");
  });

  test("both list the same project skills and commands", async () => {
    const ours = {
      skills: await server.request<{ items: { name: string }[] }>("GET", "~/skills"),
      commands: await server.request<{ items: { name: string }[] }>("GET", "~/commands"),
    };
    const skills = await engine.get<EngineSkill[]>("/skill");
    const commands = await engine.get<EngineCommand[]>("/command");
    const inWorkspace = skills.filter(({ location }) => location.startsWith(workspace));
    expect(ours.skills.json.items.map(({ name }) => name)).toEqual(
      inWorkspace.map(({ name }) => name).toSorted(),
    );
    for (const { name } of ours.commands.json.items)
      expect(commands.map((item) => item.name)).toContain(name);
  });
});
