import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { Catalog } from "../../lib/catalog.ts";
import { IgnoreRules } from "../../lib/catalog/ignore.ts";
import type { Change, Storage } from "../../lib/storage.ts";
import { put, startMemoryServer } from "../support/memory-host.ts";
import { b64, eventually, SessionClient, startDiskServer } from "./support.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("ignore rules", () => {
  it("what an inner ignore file lets in again is not ignored, nor is what lies in it", async () => {
    const storage = createMemoryStorage({
      files: {
        ".gitignore": "build\n*.log\nsecret\n",
        "app/.gitignore": "!build/\n!keep.log\n",
        "odd/[b]*/.gitignore": "!build\n",
      },
    });
    const files = [".gitignore", "app/.gitignore", "odd/[b]*/.gitignore"];
    const rules = await IgnoreRules.load(storage, files);
    // As `git check-ignore` has it.
    expect(rules.verdict("build/one", false)).toBe("ignored");
    expect(rules.verdict("app/build", true)).toBe("kept");
    expect(rules.verdict("app/build/one", false)).toBe("kept");
    expect(rules.verdict("app/build/deep/two", false)).toBe("kept");
    expect(rules.verdict("app/build/deep/keep.log", false)).toBe("kept");
    expect(rules.verdict("app/build/deep/other.log", false)).toBe("ignored");
    expect(rules.verdict("app/build/secret/one", false)).toBe("ignored");
    expect(rules.verdict("odd/[b]*/build/one", false)).toBe("kept");
    expect(rules.verdict("odd/b/build/one", false)).toBe("ignored");
  });

  it("rules that were read before an ignore file changed do not judge after it", async () => {
    const storage = createMemoryStorage({ files: { ".gitignore": "old\n", old: "", new: "" } });
    const catalog: Catalog = new Catalog({
      workspaceId: "ws_1",
      storage: changingAfterRead(storage, async () => {
        const change = { op: "write", path: ".gitignore", body: bytes("new\n") } as const;
        await storage.commit([change]);
        await catalog.own([change]);
      }),
      data: createMemoryStorage(),
    });
    catalog.setLive(true);
    const query = { dirs: true, ignored: false, limit: 10 };
    expect((await catalog.page(query)).items.map(({ path }) => path)).toEqual([".gitignore", "old"]);
    catalog.close();
  });

  it("whoever leaves out what is ignored is told that a file went there", async () => {
    const server = await startDiskServer();
    try {
      mkdirSync(dirname(join(server.dir, "dir/one")), { recursive: true });
      writeFileSync(join(server.dir, "dir/one"), "1");
      writeFileSync(join(server.dir, "two"), "2");
      const session = await SessionClient.open(server.client, server.workspace);
      const { cursor } = (await session.snapshot()).json;
      await session.ops(
        { type: "rename", from: "dir", to: "node_modules/dir" },
        { type: "rename", from: "two", to: "three" },
      );
      await eventually(async () => {
        const { items } = (await session.events(`since=${cursor}&ignore=default`)).json;
        expect(items).toMatchObject([
          { type: "delete", path: "dir", seq: cursor + 1 },
          { type: "rename", path: "two", toPath: "three", seq: cursor + 2 },
        ]);
        expect(items[0]).not.toHaveProperty("toPath");
      });
    } finally {
      await server.stop();
    }
  });

  it("whoever leaves out what is ignored is told of files that come from there", async () => {
    const { storage, session } = await inMemory({ "node_modules/a": "1", "node_modules/b": "2", kept: "3" });
    const { cursor } = (await session.snapshot("ignore=default")).json;
    await session.ops(
      { type: "rename", from: "node_modules/a", to: "a" },
      { type: "rename", from: "node_modules/b", to: ".git/b" },
      { type: "rename", from: "kept", to: "moved" },
    );
    const { items } = (await session.events(`since=${cursor}&ignore=default`)).json;
    const { revision } = (await storage.stat("a")) ?? {};
    expect(items).toMatchObject([
      { type: "write", path: "a", revision, seq: cursor + 1 },
      { type: "rename", path: "kept", toPath: "moved", seq: cursor + 3 },
    ]);
    expect(items[0]).not.toHaveProperty("toPath");
  });

  it("whoever leaves out what is ignored starts over when a whole directory comes from there", async () => {
    const { session } = await inMemory({ "node_modules/d/a": "1" });
    const { cursor } = (await session.snapshot("ignore=default")).json;
    await session.ops({ type: "rename", from: "node_modules/d", to: "d" });
    const { json } = await session.events(`since=${cursor}&ignore=default`);
    expect(json).toEqual({ items: [], cursor: cursor + 1, reset: true });
    expect((await session.events(`since=${cursor}`)).json.items).toMatchObject([{ type: "rename" }]);
  });

  it("whoever leaves out what is ignored starts over when rules let in or leave out what was there", async () => {
    const { storage, session } = await inMemory({ a: "1", b: "2", "dir/c": "3" });
    let { cursor } = (await session.snapshot("ignore=default")).json;
    const after = async (rules: string | null): Promise<{ reset?: true; items: { path: string }[] }> => {
      const path = ".gitignore";
      const change: Change =
        rules === null ? { op: "remove", path } : { op: "write", path, body: bytes(rules) };
      await storage.commit([change]);
      let json = { items: [], cursor };
      await eventually(async () => {
        ({ json } = await session.events(`since=${cursor}&ignore=default`));
        expect(json.cursor).toBeGreaterThan(cursor);
      });
      ({ cursor } = json);
      return json;
    };
    expect(await after("a\n")).toMatchObject({ items: [], reset: true });
    expect(await after("a\n# the same\n")).toMatchObject({ items: [{ path: ".gitignore" }] });
    expect(await after("a\nnothing-yet\n")).not.toHaveProperty("reset");
    expect(await after("dir/\n")).toMatchObject({ items: [], reset: true });
    expect(await after(null)).toMatchObject({ items: [], reset: true });
  });

  it("an ignore file that comes or goes with its directory is no reason to start over", async () => {
    const { session } = await inMemory({ a: "1" });
    const { cursor } = (await session.snapshot("ignore=default")).json;
    await session.write(
      { path: "p/.gitignore", contentBase64: b64("out\n") },
      { path: "p/out", contentBase64: b64("1") },
      { path: "p/in", contentBase64: b64("1") },
    );
    const paths = async (since: number): Promise<string[]> => {
      const { json } = await session.events(`since=${since}&ignore=default`);
      expect(json).not.toHaveProperty("reset");
      return json.items.map(({ path }: { path: string }) => path);
    };
    expect(await paths(cursor)).toEqual(["p/.gitignore", "p/in"]);
    await session.ops({ type: "delete", path: "p", recursive: true });
    expect(await paths(cursor + 3)).toEqual(["p"]);
  });
});

async function inMemory(
  files: Record<string, string>,
): Promise<{ storage: Storage; session: SessionClient }> {
  const { client, workspace, storage } = await startMemoryServer();
  for (const [path, text] of Object.entries(files)) await put(storage, path, text);
  return { storage, session: await SessionClient.open(client, workspace) };
}

/** A storage in which something happens right after the ignore file was first read. */
function changingAfterRead(storage: Storage, change: () => Promise<void>): Storage {
  let isChanged = false;
  const own: Pick<Storage, "readFile"> = {
    async readFile(path, options) {
      const file = await storage.readFile(path, options);
      if (!isChanged) {
        isChanged = true;
        await change();
      }
      return file;
    },
  };
  return new Proxy(storage, {
    get(target, name: keyof Storage) {
      if (name === "readFile") return own.readFile;
      const member = target[name];
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}
