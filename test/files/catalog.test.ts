import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { createHandler } from "../../handlers/index.ts";
import type { Storage, WatchBatch } from "../../lib/storage.ts";
import { Client, configOf, memoryHost, put, startMemoryServer, workspaceAt } from "../support/memory-host.ts";
import {
  b64,
  eventually,
  find,
  replay,
  SessionClient,
  shape,
  sorted,
  startDiskServer,
  type DiskServer,
  type Event,
} from "./support.ts";

const running: DiskServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

async function disk(
  ...options: Parameters<typeof startDiskServer>
): Promise<DiskServer & { session: SessionClient }> {
  const server = await startDiskServer(...options);
  running.push(server);
  return { ...server, session: await SessionClient.open(server.client, server.workspace) };
}

async function memory(
  files: Record<string, string> = {},
): Promise<{ session: SessionClient; storage: Storage; client: Client }> {
  const { client, workspace, storage } = await startMemoryServer();
  for (const [path, text] of Object.entries(files)) await put(storage, path, text);
  return { session: await SessionClient.open(client, workspace), storage, client };
}

const paths = (items: readonly { path: string }[]): string[] => items.map((item) => item.path);

test("a directory of thousands is compared piece by piece, and each difference told once", async () => {
  const { dir, session, client, workspace } = await disk({ watch: false });
  const at = (name: string): string => join(dir, name);
  for (let n = 0; n < 3500; n += 1) writeFileSync(at(`file-${n}`), "");
  const other = await SessionClient.open(client, workspace);
  await eventually(async () => expect(shape(await session.all())).toEqual(find(dir)));
  const { cursor } = (await other.snapshot("limit=1")).json;
  const wanted = new Map<string, string>();
  const change = (name: string, type: string, work: (path: string) => void): void => {
    work(at(name));
    wanted.set(name, type);
  };
  for (let n = 0; n < 3500; n += 7) change(`file-${n}`, "delete", unlinkSync);
  for (let n = 1; n < 3500; n += 7) change(`file-${n}`, "write", (path) => writeFileSync(path, "more"));
  for (let n = 0; n < 1500; n += 1) change(`file-${n}-new`, "write", (path) => writeFileSync(path, ""));
  for (const name of ["!first", "~last"]) change(name, "mkdir", mkdirSync);
  await eventually(async () => {
    const events = await session.allEvents(cursor);
    expect(events).toHaveLength(wanted.size);
    expect(new Map(events.map(({ path, type }) => [path, type]))).toEqual(wanted);
  });
  expect(shape(await session.all())).toEqual(find(dir));
});

describe("snapshots", () => {
  test("I40: one order for pages and cursor, by code point, so that no page loses a name", async () => {
    const names = ["B", "a", "a-b", "a.txt", "C", "ä", "Z", "_", "\uffee", "😀", "é", "e\u0301"];
    const { session } = await memory(Object.fromEntries(names.map((name) => [`${name}/x`, name])));
    const whole = await session.all();
    for (const limit of [1, 2, 3, 5]) expect(paths(await session.all("", limit))).toEqual(paths(whole));
    const byBytes = paths(whole).toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(paths(whole)).toEqual(byBytes);
    expect(whole).toHaveLength(names.length * 2);
  });

  test("a prefix is an entry and what is below it, whatever sorts in between", async () => {
    const { session } = await memory({ "a/1": "", "a/2": "", "a-b": "", "a.c/d": "", ab: "" });
    expect(paths(await session.all("prefix=a"))).toEqual(["a", "a/1", "a/2"]);
    expect(paths(await session.all("prefix=a", 1))).toEqual(["a", "a/1", "a/2"]);
    expect((await session.snapshot("prefix=a&includeDirs=false&after=a/1")).json).toMatchObject({
      total: 1,
      truncated: false,
    });
    expect((await session.snapshot("prefix=a/1")).json).toMatchObject({ total: 1, truncated: false });
    expect((await session.snapshot("prefix=..")).json).toMatchObject({ code: "invalid_path" });
    expect((await session.snapshot("after=/")).json).toMatchObject({ code: "invalid_path" });
    expect((await session.snapshot("ignore=all")).json).toMatchObject({ code: "invalid_query" });
  });

  test("I41: a directory called workspace is reached; the prefix goes only where there is none", async () => {
    const { session, storage } = await memory({ "a/1": "one" });
    expect(paths(await session.all("prefix=workspace/a"))).toEqual(["a", "a/1"]);
    expect(paths(await session.all("prefix=/workspace/a/"))).toEqual(["a", "a/1"]);
    await put(storage, "workspace/a/2", "two");
    await eventually(async () =>
      expect(paths(await session.all("prefix=workspace/a"))).toEqual(["workspace/a", "workspace/a/2"]),
    );
    expect(paths(await session.all("after=workspace/a"))).toEqual(["workspace/a/2"]);
    expect((await session.read("workspace/a/2")).json.items).toMatchObject([
      { ok: true, contentBase64: b64("two") },
    ]);
    await session.write({ path: "workspace/new", contentBase64: b64("here") });
    expect(await storage.stat("workspace/new")).toMatchObject({ size: 4 });
  });

  test("I42: every name that is listed is read and paged by the name listed", async () => {
    const odd = [
      " outer ",
      "back\\slash",
      "a\\b\\c",
      " ",
      "new\nline",
      'quo"te',
      "percent%2e",
      "tab\there",
      "…",
    ];
    const { session, dir } = await disk();
    for (const name of odd) writeFileSync(join(dir, name), name);
    mkdirSync(join(dir, " dir "));
    writeFileSync(join(dir, " dir /back\\x "), "inner");
    await eventually(async () =>
      expect(await session.all("includeDirs=false", 1)).toHaveLength(odd.length + 1),
    );
    const listed = paths(await session.all("includeDirs=false", 1));
    const { json } = await session.read(...listed);
    expect(
      json.items.map((item: { path: string; contentBase64: string }) => [item.path, item.contentBase64]),
    ).toEqual(listed.map((path) => [path, b64(path === " dir /back\\x " ? "inner" : path)]));
    expect(paths(await session.all(`prefix=${encodeURIComponent(" dir ")}`))).toEqual([
      " dir ",
      " dir /back\\x ",
    ]);
  });

  test("links, FIFOs and names that are not UTF-8 are left out and hide nothing", async () => {
    const { session, dir } = await disk();
    writeFileSync(join(dir, "file"), "x");
    mkdirSync(join(dir, "loop"));
    symlinkSync("..", join(dir, "loop/up"));
    symlinkSync("file", join(dir, "link"));
    symlinkSync("/etc", join(dir, "out"));
    execFileSync("mkfifo", [join(dir, "fifo")]);
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/bad-`), Buffer.from([0xff, 0xfe])]), "x");
    await eventually(async () => expect(paths(await session.all())).toEqual(["file", "loop"]));
    unlinkSync(join(dir, "file"));
    symlinkSync("loop", join(dir, "file"));
    await eventually(async () => expect(paths(await session.all())).toEqual(["loop"]));
    const { json } = await session.events("since=0");
    expect(json.items.at(-1)).toMatchObject({ type: "delete", path: "file" });
  });

  test("ignore=default leaves out .git, node_modules, .venv and what nested .gitignore files say", async () => {
    const { session, storage } = await memory({
      ".git/HEAD": "",
      "node_modules/m/index.js": "",
      "lib/node_modules/n.js": "",
      ".venv/bin/python": "",
      ".gitignore": "*.log\n/build/\n!keep.log\n",
      "a.log": "",
      "keep.log": "",
      "build/out": "",
      "src/build/in": "",
      "src/.gitignore": "generated\n!a.log\n",
      "src/a.log": "",
      "src/b.log": "",
      "src/generated/x": "",
    });
    const kept = [
      ".gitignore",
      "keep.log",
      "lib",
      "src",
      "src/.gitignore",
      "src/a.log",
      "src/build",
      "src/build/in",
    ];
    expect(paths(await session.all("ignore=default"))).toEqual(kept);
    expect(paths(await session.all("ignore=default", 2))).toEqual(kept);
    expect((await session.snapshot("ignore=default&includeDirs=false&limit=1")).json.total).toBe(5);
    expect(await session.all()).toHaveLength(24);
    const { cursor } = (await session.snapshot()).json;
    await put(storage, ".gitignore", "src\n");
    await put(storage, "src/late", "");
    await eventually(async () =>
      expect(paths(await session.all("ignore=default"))).toEqual([
        ".gitignore",
        "a.log",
        "build",
        "build/out",
        "keep.log",
        "lib",
      ]),
    );
    await eventually(async () =>
      expect(paths((await session.events(`since=${cursor}`)).json.items)).toEqual([".gitignore", "src/late"]),
    );
    // No event would tell that everything in `src` is out of sight now.
    const { json } = await session.events(`since=${cursor}&ignore=default`);
    expect(json).toMatchObject({ items: [], reset: true });
    expect((await session.events(`since=${json.cursor}&ignore=default`)).json).not.toHaveProperty("reset");
  });
});

describe("events", () => {
  test("I44: own writes appear once and at once, foreign ones within a second", async () => {
    const { session, dir } = await disk();
    await session.snapshot();
    const { json } = await session.write({ path: "deep/er/own", contentBase64: b64("1") });
    expect((await session.events()).json).toMatchObject({
      items: [{ seq: 1, type: "write", path: "deep/er/own", revision: json.items[0].revision }],
      cursor: json.cursor,
    });
    writeFileSync(join(dir, "foreign"), "2");
    const waited = await session.events(`since=${json.cursor}&wait=5`);
    expect(waited.json.items).toMatchObject([{ type: "write", path: "foreign" }]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await session.events()).json.items).toHaveLength(2);
  });

  test("what happens in directories that are made in one go, moved in or renamed is seen", async () => {
    const { session, dir } = await disk();
    const { json } = await session.snapshot();
    mkdirSync(join(dir, "a/b/c/d"), { recursive: true });
    mkdirSync(join(dir, "x/sub"), { recursive: true });
    await eventually(async () => expect(await session.all()).toHaveLength(6));
    writeFileSync(join(dir, "a/b/c/d/late"), "1");
    renameSync(join(dir, "x"), join(dir, "y"));
    await eventually(async () => expect(paths(await session.all())).toContain("a/b/c/d/late"));
    await eventually(async () => expect(paths(await session.all())).toContain("y/sub"));
    writeFileSync(join(dir, "y/sub/later"), "1");
    await eventually(async () => expect(paths(await session.all())).toContain("y/sub/later"));
    rmSync(join(dir, "a"), { recursive: true });
    await eventually(async () => expect(sorted(shape(await session.all()))).toEqual(sorted(find(dir))));
    const tree = new Map<string, boolean>();
    replay(tree, await session.allEvents(json.cursor));
    expect(sorted(tree)).toEqual(sorted(find(dir)));
  });

  test("a rename through the API is one event, also of a directory, and so is a recursive deletion", async () => {
    const { session } = await disk();
    await session.write({ path: "d/one", contentBase64: "" }, { path: "d/two", contentBase64: "" });
    const { json } = await session.snapshot();
    await session.ops(
      { type: "rename", from: "d", to: "e/f" },
      { type: "delete", path: "e", recursive: true },
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await session.events(`since=${json.cursor}`)).json.items).toMatchObject([
      { type: "rename", path: "d", toPath: "e/f" },
      { type: "delete", path: "e" },
    ]);
  });

  test("ten thousand files replaced as by git checkout are all told, once, in time", async () => {
    const { session, dir } = await disk();
    for (let d = 0; d < 100; d += 1) {
      mkdirSync(join(dir, `d${d}`));
      for (let f = 0; f < 100; f += 1) writeFileSync(join(dir, `d${d}/f${f}`), "old");
    }
    await eventually(async () => expect((await session.snapshot("limit=1")).json.total).toBe(10_100));
    const { json } = await session.snapshot("limit=1");
    const script = `const fs = require("node:fs"); for (let d = 0; d < 100; d += 1) for (let f = 0; f < 100; f += 1) {
      const path = process.argv[1] + "/d" + d + "/f" + f; fs.unlinkSync(path); fs.writeFileSync(path, "checked out"); }`;
    execFileSync(process.execPath, ["-e", script, dir]);
    const ended = performance.now();
    const latest = new Map<string, string>();
    await eventually(async () => {
      latest.clear();
      for (const event of await session.allEvents(json.cursor)) {
        if (event.type === "write") latest.set(event.path, event.revision ?? "");
        else latest.delete(event.path);
      }
      expect(latest.size).toBe(10_000);
    });
    expect(performance.now() - ended).toBeLessThan(5000);
    const files = (await session.all("includeDirs=false", 10_000)).map(
      (item) => [item.path, item.revision] as const,
    );
    expect(new Map(files)).toEqual(latest);
  });

  test("a reader that fell behind, came from another life or from the future is told to start over", async () => {
    const config = configOf({ workspaces: [workspaceAt("/ws")] });
    const host = memoryHost(config);
    const first = await createHandler(host);
    const { id } = config.workspaces[0] ?? { id: "" };
    const before = await SessionClient.open(new Client(first), id);
    await before.write({ path: "a", contentBase64: "" });
    expect((await before.events("since=99")).json).toMatchObject({ items: [], cursor: 1, reset: true });
    await first.close();
    const second = await createHandler({ ...host, storage: () => createMemoryStorage() });
    const after = await SessionClient.open(new Client(second), id);
    for (const path of ["b", "c", "d"]) await after.write({ path, contentBase64: "" });
    expect((await after.events("since=1")).json).toMatchObject({ items: [], reset: true });
    const { cursor } = (await after.snapshot()).json;
    expect((await after.events(`since=${cursor - 3}`)).json.items).toHaveLength(3);
    await second.close();
  });

  test("more changes than are kept reset the reader, and the catalog is right", async () => {
    const { session, storage } = await memory();
    const { json } = await session.snapshot();
    const writes = (round: number): Promise<unknown> =>
      storage.commit(
        Array.from(
          { length: 9000 },
          (_, n) => ({ op: "write", path: `${round}/${n}`, body: new Uint8Array(1) }) as const,
        ),
      );
    for (let round = 0; round < 6; round += 1) await writes(round);
    await eventually(async () => expect((await session.snapshot("limit=1")).json.total).toBe(6 * 9001));
    const page = await session.events(`since=${json.cursor}`);
    expect(page.json).toMatchObject({ items: [], reset: true });
    expect(page.json.cursor).toBe((await session.snapshot("limit=1")).json.cursor);
  });

  test("a long poll ends with the first change, with its time, and with the server", async () => {
    const { session, storage, client } = await memory();
    const { cursor } = (await session.snapshot()).json;
    const waiting = session.events(`since=${cursor}&wait=20`);
    await put(storage, "a", "1");
    expect(paths((await waiting).json.items)).toEqual(["a"]);
    const started = performance.now();
    expect((await session.events(`since=${cursor + 1}&wait=0.2`)).json).toEqual({
      items: [],
      cursor: cursor + 1,
    });
    expect(performance.now() - started).toBeGreaterThan(180);
    const last = session.events(`since=${cursor + 1}&wait=30`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await client.handler.close();
    expect((await last).json.items).toEqual([]);
  });

  test("pages of events go on from the answered cursor", async () => {
    const { session } = await memory();
    await session.write(...Array.from({ length: 10 }, (_, n) => ({ path: `f${n}`, contentBase64: "" })));
    const seen: Event[] = [];
    for (let cursor = 0; seen.length < 10;) {
      const { json } = await session.events(`since=${cursor}&limit=3`);
      expect(json.items.length).toBeLessThanOrEqual(3);
      seen.push(...json.items);
      cursor = json.cursor;
    }
    expect(seen.map((event) => event.seq)).toEqual(Array.from({ length: 10 }, (_, n) => n + 1));
    expect(new Set(seen.map((event) => event.id)).size).toBe(10);
  });
});

describe("without a watch", () => {
  test("each request looks for itself, waiting readers are told, and the host once", async () => {
    const server = await disk({ watch: false });
    const { session, dir, host } = server;
    const { cursor } = (await session.snapshot()).json;
    const waiting = session.events(`since=${cursor}&wait=10`);
    writeFileSync(join(dir, "a"), "1");
    expect(paths((await waiting).json.items)).toEqual(["a"]);
    linkSync(join(dir, "a"), join(dir, "b"));
    await eventually(async () => expect(paths(await session.all())).toEqual(["a", "b"]));
    expect(host.logged.filter((line) => line.body.startsWith("Cannot watch"))).toHaveLength(1);
  });

  test("a watch that missed something, or was lost, has everything looked at again", async () => {
    const storage = createMemoryStorage();
    const told: ((batch: WatchBatch) => void)[] = [];
    const tell = (batch: WatchBatch): void => told.at(-1)?.(batch);
    const deaf: Storage = Object.assign(Object.create(storage) as Storage, {
      stat: storage.stat.bind(storage),
      list: storage.list.bind(storage),
      walk: storage.walk.bind(storage),
      readFile: storage.readFile.bind(storage),
      commit: storage.commit.bind(storage),
      recover: storage.recover.bind(storage),
      watch: async (listener: (batch: WatchBatch) => void) => {
        told.push(listener);
        return { close: async () => undefined };
      },
    });
    const { client, workspace } = await startMemoryServer(undefined, { storage: () => deaf });
    const session = await SessionClient.open(client, workspace);
    await session.snapshot();
    await put(storage, "d/unseen", "1");
    expect((await session.snapshot()).json.total).toBe(0);
    tell({ paths: [], missed: true });
    await eventually(async () =>
      expect(paths((await session.events()).json.items)).toEqual(["d", "d/unseen"]),
    );
    tell({ paths: [], missed: true, lost: true });
    await put(storage, "d/later", "1");
    await eventually(async () => expect(paths(await session.all())).toEqual(["d", "d/later", "d/unseen"]));
  });
});
