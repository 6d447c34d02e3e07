import * as fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { toBase64 } from "../../lib/base64.ts";
import { configOf, put, startMemoryServer, workspaceAt } from "../support/memory-host.ts";
import { treeOf } from "./tree.ts";
import type { Host } from "../../lib/host.ts";
import type { Storage } from "../../lib/storage.ts";

type Server = Awaited<ReturnType<typeof startMemoryServer>>;
const open: Server[] = [];

afterEach(async () => {
  for (const server of open.splice(0)) await server.handler.close();
});

interface Pair extends Server {
  from: Storage;
  to: Storage;
  exportPath: string;
  importPath: string;
}

async function startPair(overrides: Partial<Host> = {}): Promise<Pair> {
  const [a, b] = [workspaceAt("/a"), workspaceAt("/b")];
  const server = await startMemoryServer(configOf({ workspaces: [a, b] }), overrides);
  open.push(server);
  const from = server.host.storages.get(a.id);
  const to = server.host.storages.get(b.id);
  if (!from || !to) throw new Error("no storages");
  return {
    ...server,
    from,
    to,
    exportPath: `/workspace/${a.id}/export`,
    importPath: `/workspace/${b.id}/import`,
  };
}

async function copy(pair: Pair, more: object = {}): Promise<number> {
  const exported = await pair.client.get(pair.exportPath);
  expect(exported.status).toBe(200);
  return (await pair.client.post(pair.importPath, { ...exported.json, ...more })).status;
}

async function fill(storage: Storage, files: Record<string, string | Uint8Array>): Promise<void> {
  await storage.commit(
    Object.entries(files).map(([path, body]) => ({
      op: "write",
      path,
      body: typeof body === "string" ? new TextEncoder().encode(body) : body,
    })),
  );
}

const everything: Record<string, string | Uint8Array> = {
  ".git/HEAD": "x",
  "opencode.json": '{ // a comment\r\n\t"model": "m",\r\n}',
  ".opencode/openwork.json": '{"v":1}',
  ".opencode/skills/plain/SKILL.md":
    "---\nname: 'plain'\ndescription: \"d\" # why\ntags: [a, b]\n---\n\n\nno newline at the end",
  ".opencode/skills/plain/run.sh": "#!/bin/sh\n",
  ".opencode/skills/plain/data/blob.bin": new Uint8Array([0, 255, 10, 13]),
  ".opencode/skills/plain/empty": "",
  ".opencode/skills/unnamed/SKILL.md": "\u{FEFF}---\r\ndescription: with BOM and CR LF\r\n---\r\nbody\r\n",
  ".opencode/skills/cat/nested/SKILL.md": "---\nname: nested\ndescription: d\n---\n",
  ".opencode/skills/cat/notes.txt": "of the category",
  ".opencode/skills/broken/SKILL.md": "---\na: [\n---\n",
  ".opencode/skills/latin/SKILL.md": new Uint8Array([0xe9]),
  ".opencode/skills/README.md": "no skill",
  ".claude/skills/other/SKILL.md": "---\nname: other\ndescription: d\n---\nbody",
  ".claude/skills/plain/SKILL.md": "---\nname: plain\ndescription: shadowed\n---\n",
  ".opencode/commands/full.md": "---\nname: renamed\nagent: a\nmodel: m\nsubtask: true\n---\n\nT\n",
  ".opencode/commands/same.md": "---\nname: renamed\n---\nother file, same name",
  ".opencode/commands/bare.md": "no front matter, no newline",
  ".opencode/commands/broken.md": "---\na: [\n---\n",
  ".opencode/commands/sub/in.md": "below",
  ".opencode/commands/note.txt": "x",
};

describe("I29 export and import", () => {
  it.each([
    {},
    { mode: { opencode: "replace", openwork: "replace", skills: "replace", commands: "replace" } },
  ])("give the same tree, byte for byte (%j)", async (mode) => {
    const pair = await startPair();
    await fill(pair.from, everything);
    expect(await copy(pair, mode)).toBe(200);
    const { ".git/HEAD": _git, ...expected } = await treeOf(pair.from);
    expect(await treeOf(pair.to)).toEqual(expected);
  });

  it("into the same workspace change nothing", async () => {
    const pair = await startPair();
    await fill(pair.from, everything);
    const before = await treeOf(pair.from);
    expect(await copy({ ...pair, importPath: pair.exportPath.replace("export", "import") })).toBe(200);
    expect(await treeOf(pair.from)).toEqual(before);
  });

  it("of an empty workspace make nothing", async () => {
    const pair = await startPair();
    expect(await copy(pair)).toBe(200);
    expect(await copy(pair, { mode: { opencode: "replace", openwork: "replace" } })).toBe(200);
    expect(await treeOf(pair.to)).toEqual({});
  });

  it("replacing leaves nothing behind that the export does not have", async () => {
    const pair = await startPair();
    await fill(pair.from, everything);
    await fill(pair.to, {
      ".opencode/skills/old/SKILL.md": "---\nname: old\ndescription: d\n---\n",
      ".opencode/skills/plain/old.txt": "old",
      ".opencode/skills/plain/data/more/old.txt": "old",
      ".opencode/commands/old.md": "old",
      "opencode.json": "{ broken",
    });
    const mode = { opencode: "replace", openwork: "replace", skills: "replace", commands: "replace" };
    expect(await copy(pair, { mode })).toBe(200);
    const { ".git/HEAD": _git, ...expected } = await treeOf(pair.from);
    expect(await treeOf(pair.to)).toEqual(expected);
  });

  it("carry the skills of parent folders with their files", async () => {
    const above = createMemoryStorage({
      files: { "up/SKILL.md": "---\ndescription: d\n---\nraw", "up/more.txt": "more" },
    });
    const pair = await startPair({ ancestors: () => [{ isGitRoot: async () => true, skills: [above] }] });
    expect(await copy(pair)).toBe(200);
    expect(await treeOf(pair.to)).toEqual({
      ".opencode/skills/up/SKILL.md": toBase64(new TextEncoder().encode("---\ndescription: d\n---\nraw")),
      ".opencode/skills/up/more.txt": toBase64(new TextEncoder().encode("more")),
    });
  });

  it("an edited configuration wins over the exported text", async () => {
    const pair = await startPair();
    await fill(pair.from, everything);
    expect(await copy(pair, { opencode: { model: "changed" }, openwork: { v: 2 } })).toBe(200);
    expect((await pair.client.get(pair.importPath.replace("import", "config"))).json).toMatchObject({
      opencode: { model: "changed" },
      openwork: { v: 2 },
    });
  });

  it("hold for any tree", async () => {
    const name = fc.stringMatching(/^[a-z0-9]{1,5}(-[a-z0-9]{1,3})?$/);
    const bytes = fc.uint8Array({ maxLength: 40 });
    const text = fc.string({ unit: "grapheme", maxLength: 60 });
    const file = fc.constantFrom("a.txt", "b/c.bin", "b/d/é.md", "日本.txt", "with blank");
    const skill = fc.tuple(
      fc.constantFrom(
        ".opencode/skills/",
        ".opencode/skills/cat--1/",
        ".claude/skills/",
        ".claude/skills/cat--2/",
      ),
      name,
      fc.oneof(
        text,
        text.map((body) => `---\ndescription: d\n---\n${body}`),
        bytes,
      ),
      fc.dictionary(file, bytes, { maxKeys: 3 }),
    );
    const command = fc.tuple(
      name,
      fc.oneof(
        text,
        text.map((body) => `---\nname: n\nmodel: m\n---\n${body}`),
        bytes,
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(skill, { maxLength: 5 }),
        fc.array(command, { maxLength: 4 }),
        async (skills, commands) => {
          const pair = await startPair();
          const files: Record<string, string | Uint8Array> = { ".git/HEAD": "x" };
          for (const [root, name, content, more] of skills) {
            files[`${root}${name}/SKILL.md`] = content;
            for (const [path, body] of Object.entries(more)) files[`${root}${name}/${path}`] = body;
          }
          for (const [name, content] of commands) files[`.opencode/commands/${name}.md`] = content;
          await fill(pair.from, files);
          expect(await copy(pair)).toBe(200);
          const { ".git/HEAD": _git, ...expected } = await treeOf(pair.from);
          expect(await treeOf(pair.to)).toEqual(expected);
          await pair.handler.close();
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("exports for viewers", () => {
  it("I04 I05 hold no secrets and no protected files, say so, and cannot be imported", async () => {
    const pair = await startPair();
    await fill(pair.from, {
      "opencode.jsonc":
        '{ // "apiKey": "in-a-comment"\n "mcp": {"m": {"type": "remote", "url": "u", "headers": {"A": "secret-1"}}} }',
      ".opencode/skills/s/SKILL.md": "---\ndescription: d\n---\n",
      ".opencode/skills/s/.env": "KEY=secret-2",
      ".opencode/skills/s/readme.txt": "fine",
    });
    const viewer = await pair.client.post("/tokens", { scope: "viewer" }, { host: true });
    const seen = await pair.client.get(pair.exportPath, { token: viewer.json.token });
    expect(seen.json.redacted).toBe(true);
    expect(seen.json.opencode.mcp.m.headers).toEqual({ A: "***" });
    expect(seen.text).not.toContain("in-a-comment");
    expect(seen.text).not.toContain(toBase64(new TextEncoder().encode("KEY=secret-2")));
    expect(seen.json.skills[0].files).toHaveLength(1);
    const back = await pair.client.post(pair.importPath, seen.json);
    expect([back.status, back.json.code]).toEqual([400, "invalid_payload"]);
    expect(await treeOf(pair.to)).toEqual({});
    const whole = await pair.client.get(pair.exportPath);
    expect(whole.json.redacted).toBeUndefined();
    expect(whole.text).toContain("secret-1");
  });

  it("without secrets are not marked", async () => {
    const pair = await startPair();
    await put(pair.from, "opencode.jsonc", '{"model": "m"}');
    const viewer = await pair.client.post("/tokens", { scope: "viewer" }, { host: true });
    const { json } = await pair.client.get(pair.exportPath, { token: viewer.json.token });
    expect(json).toMatchObject({ opencode: { model: "m" } });
    expect(json.redacted).toBeUndefined();
    expect(json.opencodeText).toBeUndefined();
  });
});
