import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { Catalog } from "../../lib/catalog.ts";
import { IgnoreRules } from "../../lib/catalog/ignore.ts";
import type { Storage } from "../../lib/storage.ts";
import { eventually, SessionClient, startDiskServer } from "./support.ts";

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
});

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
