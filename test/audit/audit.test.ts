import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { AuditLog, type AuditRecord } from "../../lib/audit.ts";
import type { ByteRange, Storage } from "../../lib/storage.ts";
import { put, startMemoryServer, textOf } from "../support/memory-host.ts";

function record(target: string): AuditRecord {
  const actor = { type: "remote", tokenHash: "aa", scope: "collaborator" } as const;
  return { actor, action: "plugins.add", target, summary: `Added ${target}` };
}

async function targets(log: AuditLog, limit: number, storage?: Storage): Promise<unknown[]> {
  const items = await log.read(storage ? { id: "ws_1", storage } : { id: "ws_1" }, limit);
  return items.map((item) => (item as { target: unknown }).target);
}

describe("the audit log", () => {
  it("reads newest first, across chunks of any length and characters of any width", async () => {
    const log = new AuditLog(createMemoryStorage());
    const names = Array.from({ length: 3000 }, (_, i) => `${i}-${"é漢😀".repeat(i % 50)}`);
    for (let i = 0; i < names.length; i += 100) await log.record("ws_1", names.slice(i, i + 100).map(record));
    expect(await targets(log, 200)).toEqual(names.toReversed().slice(0, 200));
    expect(await targets(log, 3000)).toEqual(names.toReversed());
  });

  it("a line longer than a chunk is read whole", async () => {
    const log = new AuditLog(createMemoryStorage());
    const long = "x".repeat(300_000);
    await log.record("ws_1", [record("first"), record(long), record("last")]);
    expect(await targets(log, 10)).toEqual(["last", long, "first"]);
  });

  it("I34: a torn last line neither hides the others nor swallows the next entry", async () => {
    const data = createMemoryStorage();
    await put(data, "audit/ws_1.jsonl", '{"id":"1","target":"whole","timestamp":7}\n{"id":"2","targ');
    const log = new AuditLog(data);
    expect(await log.lastTimestamp({ id: "ws_1" })).toBe(7);
    expect(await targets(log, 5)).toEqual(["whole"]);
    await log.record("ws_1", [record("next")]);
    expect(await targets(log, 5)).toEqual(["next", "whole"]);
    expect(await textOf(data, "audit/ws_1.jsonl")).toContain('"targ\n{');
  });

  it("I82: is rotated by size, and old parts stay readable in order", async () => {
    const data = createMemoryStorage();
    const log = new AuditLog(data);
    const filler = JSON.stringify({ id: "f", target: "filler", timestamp: 1, pad: "p".repeat(1000) });
    await data.append("audit/ws_1.jsonl", [
      JSON.stringify({ target: "oldest" }),
      ...Array<string>(33_500).fill(filler),
    ]);
    await log.record("ws_1", [record("after rotation")]);
    const names = (await data.list("audit"))?.map((entry) => entry.path) ?? [];
    expect(names).toHaveLength(2);
    expect(names).toContain("audit/ws_1.jsonl");
    expect(await targets(log, 2)).toEqual(["after rotation", "filler"]);
    const all = await targets(log, 40_000);
    expect(all.at(-1)).toBe("oldest");
    expect(all).toHaveLength(33_502);
  });

  it("two servers that find a log full at once both record", async () => {
    const data = createMemoryStorage();
    await data.append("audit/ws_1.jsonl", Array<string>(34).fill("x".repeat(1024 * 1024)));
    const logs = [new AuditLog(data), new AuditLog(data)];
    await Promise.all(logs.map((log, index) => log.record("ws_1", [record(`of ${index}`)])));
    expect((await targets(logs[0] as AuditLog, 2)).toSorted()).toEqual(["of 0", "of 1"]);
  });

  it("a legacy log of one endless line, or of none, costs no more than a log of our own may have", async () => {
    for (const filler of ["x", "\n"]) {
      const storage = createMemoryStorage();
      const last = JSON.stringify({ target: "last", timestamp: 5 });
      await put(storage, ".opencode/openwork/audit.jsonl", `${filler.repeat(70 * 1024 * 1024)}\n${last}\n`);
      let bytes = 0;
      const counting = Object.assign(Object.create(storage) as Storage, {
        stat: (path: string) => storage.stat(path),
        read: (path: string, options: { range: ByteRange }) => {
          bytes += options.range.end + 1 - options.range.start;
          return storage.read(path, options);
        },
      });
      const log = new AuditLog(createMemoryStorage());
      expect(await targets(log, 200, counting)).toEqual(["last"]);
      expect(bytes).toBeLessThan(filler === "x" ? 2 * 1024 * 1024 : 65 * 1024 * 1024);
    }
  });

  it("a workspace whose id begins like another's has a log of its own", async () => {
    const log = new AuditLog(createMemoryStorage());
    await log.record("ws_1", [record("one")]);
    await log.record("ws_12", [record("twelve")]);
    expect(await targets(log, 5)).toEqual(["one"]);
  });

  it("the legacy log in the workspace is read only while there is no other", async () => {
    const storage = createMemoryStorage();
    await put(storage, ".opencode/openwork/audit.jsonl", '{"target":"legacy","timestamp":5}\nnot json\n');
    const log = new AuditLog(createMemoryStorage());
    expect(await targets(log, 5, storage)).toEqual(["legacy"]);
    expect(await log.lastTimestamp({ id: "ws_1", storage })).toBe(5);
    await log.record("ws_1", [record("new")]);
    expect(await targets(log, 5, storage)).toEqual(["new"]);
  });

  it("unreadable lines count for the limit and are skipped", async () => {
    const data = createMemoryStorage();
    await put(data, "audit/ws_1.jsonl", '{"target":"a"}\n[1]\nnope\n{"target":"b"}\n');
    expect(await targets(new AuditLog(data), 3)).toEqual(["b"]);
    expect(await targets(new AuditLog(data), 4)).toEqual(["b", "a"]);
  });

  it("the time of the configuration is that of the last entry", async () => {
    const { client, workspace } = await startMemoryServer();
    expect((await client.get(`/workspace/${workspace}/config`)).json.updatedAt).toBeNull();
    await client.post(`/workspace/${workspace}/plugins`, { spec: "a" });
    const { items } = (await client.get(`/workspace/${workspace}/audit`)).json;
    expect((await client.get(`/workspace/${workspace}/config`)).json.updatedAt).toBe(items[0].timestamp);
  });
});
