import * as fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { composeCommand, readCommand } from "../../lib/opencode/command-text.ts";
import { commandName } from "../../lib/opencode/command-name.ts";
import { ApiError } from "../../lib/errors.ts";
import { configOf, put, startMemoryServer, textOf } from "../support/memory-host.ts";

type Server = Awaited<ReturnType<typeof startMemoryServer>>;
const open: Server[] = [];

async function start(...args: Parameters<typeof startMemoryServer>): Promise<Server & { base: string }> {
  const server = await startMemoryServer(...args);
  open.push(server);
  return { ...server, base: `/workspace/${server.workspace}/commands` };
}

afterEach(async () => {
  for (const server of open.splice(0)) await server.handler.close();
});

function names(json: { items: { name: string }[] }): string[] {
  return json.items.map((item) => item.name);
}

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof ApiError ? error.code : "other";
  }
  return "none";
}

describe("command files", () => {
  it("are written with all keys in their order", () => {
    const { text } = composeCommand({
      name: "///all ",
      template: "  do it\n",
      description: "what",
      agent: "build",
      model: "a/b",
      subtask: true,
    });
    expect(text).toBe(
      "---\nname: all\ndescription: what\nagent: build\nmodel: a/b\nsubtask: true\n---\n\ndo it\n",
    );
  });

  it("take falsy options for absent ones", () => {
    expect(
      composeCommand({
        name: "x",
        template: "y",
        description: "",
        agent: null,
        model: false,
        subtask: "true",
      }).text,
    ).toBe("---\nname: x\nmodel: null\nsubtask: false\n---\n\ny\n");
  });

  it("check the template before the name", () => {
    expect(code(() => composeCommand({ name: "bad name", template: " \n" }))).toBe(
      "invalid_command_template",
    );
    expect(code(() => composeCommand({ name: "bad name", template: "x" }))).toBe("invalid_command_name");
    for (const name of [
      "",
      "a.b",
      "a/b",
      "é",
      "..",
      "a\n",
      "x".repeat(201),
      "/".repeat(100_000),
      null,
      undefined,
    ]) {
      expect(code(() => commandName(name))).toBe(
        typeof name === "string" && name.trim() === "a" ? "none" : "invalid_command_name",
      );
    }
  });

  it("read back as what was asked for", () => {
    const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 120 });
    fc.assert(
      fc.property(text, text, text, fc.boolean(), (template, description, model, subtask) => {
        fc.pre(template.trim() !== "");
        const { text } = composeCommand({ name: "c", template, description, model, subtask });
        expect(readCommand("c.md", text, "workspace")).toEqual({
          name: "c",
          description,
          template: template.trim(),
          model,
          subtask,
          scope: "workspace",
        });
      }),
    );
  });
});

describe("commands", () => {
  it("are listed sorted by name (I54), with problems beside them (I50)", async () => {
    const { client, storage, base } = await start();
    await put(
      storage,
      ".opencode/commands/a.md",
      '---\nname: z\ndescription: 5\nmodel: 5\nsubtask: "yes"\n---\nT',
    );
    await put(storage, ".opencode/commands/b.md", " body \n");
    await put(storage, ".opencode/commands/broken.md", "---\na: [\n---\n");
    await put(storage, ".opencode/commands/bad name.md", "x");
    await put(storage, ".opencode/commands/sub/in.md", "x");
    expect((await client.get(base)).json).toEqual({
      items: [
        { name: "b", template: "body", model: null, scope: "workspace" },
        { name: "z", template: "T", model: null, scope: "workspace" },
      ],
      problems: [
        {
          path: "/ws/.opencode/commands/broken.md",
          code: "invalid_frontmatter",
          message: expect.any(String),
        },
      ],
    });
  });

  it("I51 are updated and deleted by the name that is listed, wherever they live", async () => {
    const { client, storage, base } = await start();
    await put(storage, ".opencode/commands/file.md", "---\nname: listed\n---\nold");
    const saved = await client.post(base, { name: "listed", template: "new" });
    expect(saved.json.items).toMatchObject([{ name: "listed", template: "new" }]);
    expect(await storage.stat(".opencode/commands/listed.md")).toBeNull();
    expect(await textOf(storage, ".opencode/commands/file.md")).toContain("new");
    expect((await client.delete(`${base}/listed`)).json).toEqual({ ok: true });
    expect(names((await client.get(base)).json)).toEqual([]);
    expect(await storage.stat(".opencode/commands/file.md")).toBeNull();
  });

  it("I51 all files listed under a name go with it; a broken one goes by its file name", async () => {
    const { client, storage, base } = await start();
    await put(storage, ".opencode/commands/a.md", "---\nname: same\n---\n1");
    await put(storage, ".opencode/commands/same.md", "2");
    await put(storage, ".opencode/commands/broken.md", "---\na: [\n---\n");
    expect((await client.post(base, { name: "same", template: "3" })).status).toBe(200);
    expect(await textOf(storage, ".opencode/commands/a.md")).toContain("1");
    expect(await textOf(storage, ".opencode/commands/same.md")).toContain("3");
    await client.delete(`${base}/same`);
    await client.delete(`${base}/broken`);
    expect((await client.get(base)).json).toEqual({ items: [] });
  });

  it("delete nothing quietly, and audit it", async () => {
    const { client, base, workspace } = await start();
    expect((await client.delete(`${base}/%2Fnone`)).json).toEqual({ ok: true });
    expect((await client.delete(`${base}/bad%20name`)).json.code).toBe("invalid_command_name");
    const audit = await client.get(`/workspace/${workspace}/audit`);
    expect(audit.json.items).toMatchObject([{ action: "commands.delete", target: "/ws/.opencode/commands" }]);
  });

  it("of the user need host rights", async () => {
    const user = createMemoryStorage({ files: { "commands/mine.md": "x" } });
    const { client, base } = await start(configOf(), { user: { opencode: user, skills: [] } });
    const refused = await client.get(`${base}?scope=global`);
    expect([refused.status, refused.json.code]).toEqual([401, "unauthorized"]);
    expect((await client.get(`${base}?scope=global`, { host: true })).json.items).toEqual([
      { name: "mine", template: "x", model: null, scope: "global" },
    ]);
    const owner = await client.post("/tokens", { scope: "owner" }, { host: true });
    expect((await client.get(`${base}?scope=global`, { token: owner.json.token })).status).toBe(200);
    expect((await client.get(`${base}?scope=anything`)).json).toEqual({ items: [] });
  });

  it.each(["name", "template", "description", "agent", "model"])(
    "I53 a %s of another type is refused by its path",
    async (field) => {
      const { client, storage, base } = await start();
      for (const value of [5, true, {}, ["x"]]) {
        const answer = await client.post(base, { name: "a", template: "t", [field]: value });
        expect([answer.status, answer.json.code, answer.json.details.path]).toEqual([
          400,
          "invalid_payload",
          field,
        ]);
      }
      expect(await storage.stat(".opencode")).toBeNull();
    },
  );

  it("I32 are validated before the host is asked, which is shown the files that change", async () => {
    const { client, storage, base } = await start(
      configOf({ approval: { mode: "manual", timeoutMs: 5000 } }),
    );
    await put(storage, ".opencode/commands/file.md", "---\nname: listed\n---\nold");
    expect((await client.post(base, { name: "a b", template: "x" })).json.code).toBe("invalid_command_name");
    const answer = client.delete(`${base}/listed`);
    const asked = await client.get("/approvals?wait=5", { host: true });
    expect(asked.json.items).toMatchObject([
      { action: "commands.delete", paths: ["/ws/.opencode/commands/file.md"] },
    ]);
    await client.post(`/approvals/${asked.json.items[0].id}`, { reply: "allow" }, { host: true });
    expect((await answer).status).toBe(200);
  });
});
