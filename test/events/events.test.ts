import { mkdir, mkdtemp, realpath, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { EventNumbers } from "../../lib/event-numbers.ts";
import { Feed } from "../../lib/feed.ts";
import type { Storage } from "../../lib/storage.ts";
import { WorkspaceEvents } from "../../lib/workspace-events.ts";
import { configOf, startMemoryServer, workspaceAt, type Client } from "../support/memory-host.ts";

describe("a numbered feed", () => {
  it("tells a reader that fell behind, or that is from another life, to start over", () => {
    const feed = new Feed<{ seq: number }>(3);
    for (let i = 0; i < 5; i += 1) feed.publish((seq) => ({ seq }));
    expect(feed.since(2)).toEqual({ items: [{ seq: 3 }, { seq: 4 }, { seq: 5 }], cursor: 5 });
    expect(feed.since(5)).toEqual({ items: [], cursor: 5 });
    expect(feed.since(1)).toEqual({ items: [], cursor: 5, reset: true });
    expect(feed.since(9)).toEqual({ items: [], cursor: 5, reset: true });
    expect(feed.since(2, 1)).toEqual({ items: [{ seq: 3 }], cursor: 3 });
  });

  it("wakes who waits, once, and forgets who went away", async () => {
    const feed = new Feed<{ seq: number }>(10);
    const gone = new AbortController();
    const left = feed.wait(0, 10_000, gone.signal);
    const waits = feed.wait(0, 10_000, new AbortController().signal);
    gone.abort();
    expect((await left).items).toEqual([]);
    feed.publish((seq) => ({ seq }));
    expect((await waits).items).toEqual([{ seq: 1 }]);
  });
});

/** Events over a memory storage that counts how it is looked at. */
async function counted(files: number): Promise<{
  events: WorkspaceEvents;
  storage: Storage;
  looked: { stats: number; walks: number };
}> {
  const texts = Array.from(
    { length: files },
    (_, i) => [`.opencode/commands/c${i}.md`, `text ${i}`] as const,
  );
  const storage = createMemoryStorage({ files: Object.fromEntries(texts) });
  const looked = { stats: 0, walks: 0 };
  const counting = Object.assign(Object.create(storage) as Storage, {
    stat: (path: string) => ((looked.stats += 1), storage.stat(path)),
    walk: (path: string, options?: object) => ((looked.walks += 1), storage.walk(path, options)),
    readFile: (path: string, options?: object) => storage.readFile(path, options),
  });
  const events = new WorkspaceEvents("ws", counting, new EventNumbers(createMemoryStorage(), "ws"));
  await events.begin();
  return { events, storage, looked };
}

describe("numbers of events", () => {
  it("are given once, also by servers that start at the same time on one data directory", async () => {
    const dir = await mkdtemp(join(tmpdir(), "openwork-numbers-"));
    try {
      for (const open of [() => createDiskStorage(dir), undefined]) {
        const shared = createMemoryStorage();
        const lives = Array.from({ length: 8 }, () => new EventNumbers(open?.() ?? shared, "ws"));
        const bases = await Promise.all(lives.map((numbers) => numbers.open()));
        expect(bases.toSorted((a, b) => a - b)).toEqual(lives.map((_, i) => i * 1_000_000));
      }
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  it("rise from one life to the next, also when one of two servers uses up more than it reserved", async () => {
    const data = createMemoryStorage();
    const first = new EventNumbers(data, "ws");
    const second = new EventNumbers(data, "ws");
    await Promise.all([first.open(), second.open()]);
    const third = new EventNumbers(data, "ws");
    expect(await third.open()).toBe(2_000_000);
    // It reserves more, and must not let go of what the others have.
    first.given(600_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await new EventNumbers(data, "ws").open()).toBe(3_000_000);
  });
});

describe("workspace events of a storage that cannot watch", () => {
  it("looks once for all readers that wait, not once for each", async () => {
    const { events, looked } = await counted(10);
    looked.walks = 0;
    // As every request has one of its own.
    const wait = (): Promise<unknown> => events.wait(events.cursor, 100, new AbortController().signal);
    await Promise.all(Array.from({ length: 50 }, wait));
    expect(looked.walks).toBeGreaterThan(0);
    expect(looked.walks).toBeLessThanOrEqual(12);
  });

  it("looks at thousands of files in one walk, and tells what came, changed and went", async () => {
    const { events, storage, looked } = await counted(3000);
    looked.stats = 0;
    events.noticeAll();
    await events.settled();
    expect(looked.stats).toBeLessThan(20);
    expect(events.cursor).toBe(0);
    const body = new TextEncoder().encode("new");
    await storage.commit([
      { op: "write", path: ".opencode/commands/c1.md", body },
      { op: "remove", path: ".opencode/commands/c2.md" },
      { op: "write", path: ".opencode/commands/new.md", body },
    ]);
    events.noticeAll();
    await events.settled();
    const { items } = await events.wait(0, 0, new AbortController().signal);
    expect(items.map((item) => item.paths)).toEqual([
      [".opencode/commands/c1.md", ".opencode/commands/c2.md", ".opencode/commands/new.md"],
    ]);
    await storage.commit([{ op: "remove", path: ".opencode", recursive: true }]);
    events.notice([".opencode"]);
    await events.settled();
    const after = await events.wait(1, 0, new AbortController().signal);
    expect(after.items[0]?.paths).toHaveLength(3000);
  });
});

describe("I98: workspace events on a real disk", () => {
  let root = "";
  let storage: Storage;
  let client: Client;
  let path = "";
  let stop: () => Promise<void>;

  beforeEach(async () => {
    root = await realpath(await mkdtemp(join(tmpdir(), "events-")));
    await mkdir(join(root, ".opencode/skills/old"), { recursive: true });
    await writeFile(join(root, ".opencode/skills/old/SKILL.md"), "---\nname: old\ndescription: d\n---\n");
    await writeFile(join(root, "opencode.jsonc"), '{ "model": "a/b" }\n');
    storage = createDiskStorage(root);
    const config = configOf({ workspaces: [workspaceAt(root)] });
    const server = await startMemoryServer(config, { storage: () => storage });
    ({ client } = server);
    stop = () => server.handler.close();
    path = `/workspace/${server.workspace}/events`;
    await client.get(path);
    await expect.poll(() => watched(server.workspace), { timeout: 5000 }).toBe(true);
    await quiet();
  });

  afterEach(async () => {
    await stop();
    await rm(root, { recursive: true, force: true });
  });

  /** The watch starts beside the first request: a probe file shows when it reports. */
  async function watched(id: string): Promise<boolean> {
    await writeFile(join(root, ".opencode/openwork.json"), `{"probe":${Math.random()}}`).catch(async () => {
      await mkdir(join(root, ".opencode"), { recursive: true });
    });
    const page = (await client.get(`/workspace/${id}/events?wait=1`)).json;
    return page.items.some((item: { reason: string }) => item.reason === "config");
  }

  /** The last probe may be told of after the first was. */
  async function quiet(): Promise<void> {
    let { cursor } = (await client.get(path)).json;
    for (let seen = -1; seen !== 0;) {
      const page = (await client.get(`${path}?wait=1&since=${cursor}`)).json;
      seen = page.items.length;
      ({ cursor } = page);
    }
  }

  async function next(since: number): Promise<{ reasons: string[]; paths: string[]; cursor: number }> {
    const page = (await client.get(`${path}?wait=5&since=${since}`)).json;
    return {
      reasons: page.items.map((item: { reason: string }) => item.reason),
      paths: page.items.flatMap((item: { paths: string[] }) => item.paths),
      cursor: page.cursor,
    };
  }

  it("tells of every kind of state, whoever changed it", async () => {
    let { cursor } = (await client.get(path)).json;
    const changes: [string, string, string][] = [
      ["opencode.jsonc", '{ "model": "a/c" }\n', "config"],
      ["opencode.jsonc", '{ "model": "a/c", "plugin": ["x"] }\n', "plugins"],
      ["opencode.jsonc", '{ "model": "a/c", "plugin": ["x"], "mcp": {} }\n', "mcp"],
      [".opencode/skills/new/SKILL.md", "---\nname: new\ndescription: d\n---\n", "skills"],
      [".opencode/commands/go.md", "go", "commands"],
      [".opencode/agents/a.md", "a", "agents"],
      [".opencode/plugins/p.ts", "export {}", "plugins"],
    ];
    for (const [file, text, reason] of changes) {
      await mkdir(join(root, file, ".."), { recursive: true });
      await writeFile(join(root, file), text);
      let seen: string[] = [];
      while (!seen.includes(reason)) {
        const page = await next(cursor);
        expect(page.reasons.length, `an event for ${file}`).toBeGreaterThan(0);
        seen = page.reasons;
        ({ cursor } = page);
      }
    }
  });

  it("a whole directory that is moved away takes its files along", async () => {
    const { cursor } = (await client.get(path)).json;
    await rename(join(root, ".opencode/skills/old"), join(root, "elsewhere"));
    const page = await next(cursor);
    expect(page.reasons).toEqual(["skills"]);
    expect(page.paths).toContain(".opencode/skills/old/SKILL.md");
  });

  it("our own writes are told once", async () => {
    const { cursor } = (await client.get(path)).json;
    await client.post(path.replace("/events", "/commands"), { name: "mine", template: "do it" });
    await new Promise((resolve) => setTimeout(resolve, 700));
    const page = (await client.get(`${path}?since=${cursor}`)).json;
    expect(page.items).toHaveLength(1);
    expect(page.items[0]).toMatchObject({ reason: "commands", paths: [".opencode/commands/mine.md"] });
  });
});

describe("parsed files", () => {
  it("show our own writes at once, another program's soon, and at once without a watch", async () => {
    const root = await realpath(await mkdtemp(join(tmpdir(), "cache-")));
    for (const watch of [true, false]) {
      await writeFile(join(root, "opencode.jsonc"), '{ "n": 0 }\n');
      const storage = createDiskStorage(root, { watch });
      const config = configOf({ workspaces: [workspaceAt(root)] });
      const server = await startMemoryServer(config, { storage: () => storage });
      const read = async (): Promise<number> =>
        (await server.client.get(`/workspace/${server.workspace}/config`)).json.opencode.n;
      expect(await read()).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 400));
      for (let n = 1; n <= 20; n += 1) {
        await server.client.patch(`/workspace/${server.workspace}/config`, { opencode: { n } });
        expect(await read()).toBe(n);
        await writeFile(join(root, "opencode.jsonc"), `{ "n": ${n + 100} }\n`);
        if (watch) await expect.poll(read, { timeout: 10_000 }).toBe(n + 100);
        else expect(await read()).toBe(n + 100);
      }
      await server.handler.close();
    }
    await rm(root, { recursive: true, force: true });
  });
});
