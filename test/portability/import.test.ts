import { afterEach, describe, expect, it } from "vitest";
import { toBase64 } from "../../lib/base64.ts";
import { configOf, put, startMemoryServer, textOf } from "../support/memory-host.ts";
import { treeOf } from "./tree.ts";

type Server = Awaited<ReturnType<typeof startMemoryServer>>;
const open: Server[] = [];

async function start(...args: Parameters<typeof startMemoryServer>): Promise<Server & { path: string }> {
  const server = await startMemoryServer(...args);
  open.push(server);
  return { ...server, path: `/workspace/${server.workspace}/import` };
}

afterEach(async () => {
  for (const server of open.splice(0)) await server.handler.close();
});

const base64 = (text: string): string => toBase64(new TextEncoder().encode(text));
const file = (path: string, contentBase64 = ""): object => ({ path, contentBase64 });
const skillText = (name: string): string => `---\nname: ${name}\ndescription: d\n---\nbody\n`;

describe("importing what any client writes", () => {
  it("merges configurations, treating permission as any other key", async () => {
    const { client, storage, path } = await start();
    await put(
      storage,
      "opencode.json",
      '{\n  // kept\n  "model": "m",\n  "permission": {"edit": "ask"}\n}\n',
    );
    await put(storage, ".opencode/openwork.json", '{"a": 1, "b": {"x": 1}}');
    const answer = await client.post(path, {
      opencode: { permission: { bash: "deny" } },
      openwork: { b: 2 },
    });
    expect([answer.status, answer.json]).toEqual([200, { ok: true }]);
    const text = (await textOf(storage, "opencode.json")) ?? "";
    expect(text).toContain("// kept");
    expect(text).not.toContain("edit");
    expect(JSON.parse((await textOf(storage, ".opencode/openwork.json")) ?? "")).toEqual({ a: 1, b: 2 });
  });

  it("replaces configurations on request", async () => {
    const { client, storage, path } = await start();
    await put(storage, "opencode.json", "{ broken");
    await put(storage, ".opencode/openwork.json", "broken");
    const mode = { opencode: "replace", openwork: "replace" };
    expect((await client.post(path, { mode, opencode: { model: "n" }, openwork: {} })).status).toBe(200);
    expect(await textOf(storage, "opencode.json")).toBe('{\n  "model": "n"\n}\n');
    expect(await textOf(storage, ".opencode/openwork.json")).toBe("{}\n");
  });

  it("writes skills and commands as their own endpoints do, where they live (I51)", async () => {
    const { client, storage, path } = await start();
    await put(storage, ".claude/skills/c/SKILL.md", skillText("c"));
    await put(storage, ".opencode/commands/file.md", "---\nname: listed\n---\nold");
    await put(storage, ".opencode/commands/stays.md", "stays");
    const answer = await client.post(path, {
      skills: [
        { name: "c", content: "new", description: "d" },
        { name: "n", content: skillText("n") },
      ],
      commands: [
        { name: "listed", template: "new" },
        {
          content: "---\nname: inner\nagent: a\nmodel: m\nsubtask: true\ndescription: theirs\n---\nT",
          description: "ours",
        },
      ],
    });
    expect(answer.status).toBe(200);
    expect(await textOf(storage, ".claude/skills/c/SKILL.md")).toBe(
      "---\nname: c\ndescription: d\n---\nnew\n",
    );
    expect(await textOf(storage, ".opencode/skills/n/SKILL.md")).toBe(skillText("n"));
    expect(await textOf(storage, ".opencode/commands/file.md")).toContain("new");
    expect(await textOf(storage, ".opencode/commands/stays.md")).toBe("stays");
    expect(await textOf(storage, ".opencode/commands/inner.md")).toBe(
      "---\nname: inner\ndescription: ours\nagent: a\nmodel: m\nsubtask: true\n---\n\nT\n",
    );
  });

  it("replaces skills and commands only when there are some, and never .claude", async () => {
    const { client, storage, path } = await start();
    await put(storage, ".opencode/skills/old/SKILL.md", skillText("old"));
    await put(storage, ".opencode/skills/keep/SKILL.md", skillText("keep"));
    await put(storage, ".opencode/skills/keep/extra/x.txt", "x");
    await put(storage, ".claude/skills/c/SKILL.md", skillText("c"));
    await put(storage, ".opencode/commands/old.md", "old");
    const mode = { skills: "replace", commands: "replace" };
    const before = await treeOf(storage);
    expect((await client.post(path, { mode, skills: [], commands: [] })).status).toBe(200);
    expect(await treeOf(storage)).toEqual(before);
    const skills = [{ name: "keep", content: "c", description: "d" }];
    expect((await client.post(path, { mode, skills, commands: [{ name: "n", template: "t" }] })).status).toBe(
      200,
    );
    expect(Object.keys(await treeOf(storage)).filter((file) => file.includes("s/"))).toEqual([
      ".claude/skills/c/SKILL.md",
      ".opencode/commands/n.md",
      ".opencode/skills/keep/SKILL.md",
    ]);
    expect(await storage.stat(".opencode/skills/old")).toBeNull();
  });

  it("an empty import succeeds and is audited", async () => {
    const { client, workspace, path } = await start();
    expect((await client.post(path, {})).json).toEqual({ ok: true });
    const audit = await client.get(`/workspace/${workspace}/audit`);
    expect(audit.json.items).toMatchObject([{ action: "config.import", target: "workspace" }]);
  });
});

describe("I28 an import is applied whole or not at all", () => {
  const good = {
    mode: { opencode: "replace", skills: "replace", commands: "replace" },
    opencode: { model: "n" },
    openwork: { a: 1 },
    skills: [{ name: "good", content: "c", description: "d" }],
    commands: [{ name: "good", template: "t" }],
  };
  const skill = (more: object): object => ({
    skills: [...good.skills, { name: "x", content: "c", description: "d", ...more }],
  });
  const command = (more: object): object => ({ commands: [...good.commands, more] });

  it.each<[object, number, string]>([
    [skill({ name: "BAD" }), 400, "invalid_skill_name"],
    [skill({ content: "" }), 400, "invalid_skill_content"],
    [skill({ description: "" }), 422, "invalid_description"],
    [skill({ content: "---\na: [\n---\n" }), 422, "invalid_frontmatter"],
    [skill({ content: 5 }), 400, "invalid_payload"],
    [skill({ path: "../x", content: skillText("x") }), 400, "invalid_payload"],
    [skill({ path: "/etc/x", content: skillText("x") }), 400, "invalid_payload"],
    [skill({ path: ".opencode/skills/../x", content: skillText("x") }), 400, "invalid_payload"],
    [skill({ path: ".opencode/skills/a/b/x", content: skillText("x") }), 400, "invalid_payload"],
    [skill({ path: ".opencode/plugins/x", content: skillText("x") }), 400, "invalid_payload"],
    [skill({ path: ".opencode/skills/y", content: skillText("x") }), 400, "invalid_skill_name"],
    [skill({ path: ".opencode/skills/x", content: skillText("y") }), 400, "invalid_skill_name"],
    [skill({ path: ".opencode/skills/x", content: "no front matter" }), 422, "invalid_description"],
    [skill({ files: [file("../x")] }), 400, "invalid_payload"],
    [skill({ files: [file("/x")] }), 400, "invalid_payload"],
    [skill({ files: [file("a//b")] }), 400, "invalid_payload"],
    [skill({ files: [file("a\u0000b")] }), 400, "invalid_payload"],
    [skill({ files: [file("a\nb")] }), 400, "invalid_payload"],
    [skill({ files: [file("")] }), 400, "invalid_payload"],
    [skill({ files: [file(".owtmp-0123456789abcdef0123")] }), 400, "invalid_payload"],
    [skill({ files: [file("x".repeat(256))] }), 400, "invalid_payload"],
    [skill({ files: [file("skill.MD")] }), 400, "invalid_payload"],
    [skill({ files: [file("a", "a")] }), 400, "invalid_payload"],
    [skill({ files: [file("a", "YQ")] }), 400, "invalid_payload"],
    [skill({ files: [file("a", "YQ==\n")] }), 400, "invalid_payload"],
    [skill({ files: [file("a.md"), file("A.md")] }), 400, "invalid_payload"],
    [skill({ files: [file("\u00e9"), file("e\u0301")] }), 400, "invalid_payload"],
    [skill({ files: [file("d/a"), file("D/b")] }), 400, "invalid_payload"],
    [skill({ files: [file("a"), file("a/b")] }), 400, "invalid_payload"],
    [skill({ files: [{ path: "a" }] }), 400, "invalid_payload"],
    [{ skills: Array.from({ length: 1001 }, () => good.skills[0]) }, 400, "invalid_payload"],
    [{ skills: {} }, 400, "invalid_payload"],
    [{ files: [file("opencode.jsonc")] }, 400, "invalid_payload"],
    [{ files: [file(".opencode/openwork/inbox/x")] }, 400, "invalid_payload"],
    [{ files: [file(".opencode/commands")] }, 400, "invalid_payload"],
    [{ files: [file(".opencode/commands/GOOD.md")] }, 400, "invalid_payload"],
    [
      { files: Array.from({ length: 5001 }, (_, i) => file(`.opencode/commands/${i}.txt`)) },
      400,
      "invalid_payload",
    ],
    [command({ content: "no name" }), 400, "invalid_command"],
    [command({ name: "x", content: "---\nname: x\n---\n" }), 400, "invalid_command_template"],
    [command({ name: "x" }), 400, "invalid_command_template"],
    [command({ name: "bad name", template: "x" }), 400, "invalid_command_name"],
    [command({ name: "x", template: "t", model: 5 }), 400, "invalid_payload"],
    [command({ path: ".opencode/commands/../x.md", content: "t" }), 400, "invalid_payload"],
    [command({ path: ".opencode/commands/x.txt", content: "t" }), 400, "invalid_payload"],
    [command({ path: ".opencode/commands/bad name.md", content: "t" }), 400, "invalid_command_name"],
    [command({ name: "y", path: ".opencode/commands/x.md", content: "t" }), 400, "invalid_command_name"],
    [{ opencode: [] }, 400, "invalid_payload"],
    [{ opencode: "x" }, 400, "invalid_payload"],
    [{ openwork: 5 }, 400, "invalid_payload"],
    [{ mode: "replace" }, 400, "invalid_payload"],
    [{ opencodePath: "../x" }, 400, "invalid_payload"],
    [{ redacted: true }, 400, "invalid_payload"],
  ])("%j is refused: %i %s", async (more, status, code) => {
    const { client, storage, workspace, path } = await start();
    await put(storage, "opencode.json", '{"model": "m"}');
    await put(storage, ".opencode/skills/old/SKILL.md", skillText("old"));
    await put(storage, ".opencode/commands/old.md", "old");
    const before = await treeOf(storage);
    const answer = await client.post(path, { ...good, ...more });
    expect([answer.status, answer.json.code]).toEqual([status, code]);
    expect(await treeOf(storage)).toEqual(before);
    expect((await client.get(`/workspace/${workspace}/audit`)).json.items).toEqual([]);
    expect((await client.post(path, good)).status).toBe(200);
  });

  it("a broken configuration to merge into stops all of it", async () => {
    const { client, storage, path } = await start();
    await put(storage, ".opencode/openwork.json", "{ broken");
    const before = await treeOf(storage);
    const { status, json } = await client.post(path, { ...good, mode: {} });
    expect([status, json.code]).toEqual([422, "invalid_json"]);
    expect(await treeOf(storage)).toEqual(before);
  });

  it("a SKILL.md too large to be read back is refused", async () => {
    const { client, path } = await start();
    const content = `${skillText("big")}${"x".repeat(1024 * 1024)}`;
    const answer = await client.post(path, { skills: [{ name: "big", content }] });
    expect([answer.status, answer.json.code]).toEqual([413, "file_too_large"]);
  });

  it("I32 the host is asked after validation and shown every path that changes, the contract's two first", async () => {
    const { client, storage, path } = await start(
      configOf({ approval: { mode: "manual", timeoutMs: 5000 } }),
    );
    await put(storage, ".opencode/skills/old/SKILL.md", skillText("old"));
    await put(storage, ".opencode/commands/old.md", "old");
    expect((await client.post(path, { ...good, commands: [{}] })).status).toBe(400);
    const answer = client.post(path, { ...good, files: [file(".opencode/skills/notes.txt", base64("n"))] });
    const asked = await client.get("/approvals?wait=5", { host: true });
    expect(asked.json.items).toHaveLength(1);
    const [item] = asked.json.items;
    expect(item).toMatchObject({ action: "config.import" });
    expect(item.paths.slice(0, 2)).toEqual(["/ws/opencode.jsonc", "/ws/.opencode/openwork.json"]);
    expect(item.paths.slice(2).toSorted()).toEqual([
      "/ws/.opencode/commands/good.md",
      "/ws/.opencode/commands/old.md",
      "/ws/.opencode/skills/good/SKILL.md",
      "/ws/.opencode/skills/notes.txt",
      "/ws/.opencode/skills/old",
    ]);
    await client.post(`/approvals/${item.id}`, { reply: "allow" }, { host: true });
    expect((await answer).status).toBe(200);
    expect(await textOf(storage, ".opencode/skills/notes.txt")).toBe("n");
  });

  it("I30 a file that changed while the host thought makes all of it a conflict", async () => {
    const { client, storage, path } = await start(
      configOf({ approval: { mode: "manual", timeoutMs: 5000 } }),
    );
    await put(storage, ".opencode/commands/old.md", "old");
    const answer = client.post(path, good);
    const asked = await client.get("/approvals?wait=5", { host: true });
    await put(storage, ".opencode/commands/old.md", "edited meanwhile");
    await client.post(`/approvals/${asked.json.items[0].id}`, { reply: "allow" }, { host: true });
    expect((await answer).status).toBe(409);
    expect(Object.keys(await treeOf(storage))).toEqual([".opencode/commands/old.md"]);
  });
});
