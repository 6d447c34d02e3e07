import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { compareCodePoints } from "../../lib/storage.ts";
import type { Change, Entry, Storage, StorageErrorCode, WatchBatch } from "../../lib/storage.ts";

/** A fresh, empty storage and how to get rid of it. */
export interface Subject {
  storage: Storage;
  dispose(): Promise<void>;
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Compares large bodies, for which a matcher's own comparison takes seconds. */
function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a?.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** A write of text. */
export function write(path: string, text: string, ifRevision?: string | null): Change {
  const change = { op: "write" as const, path, body: bytesOf(text) };
  return ifRevision === undefined ? change : { ...change, ifRevision };
}

/** The text of a file, or null. */
export async function read(storage: Storage, path: string): Promise<string | null> {
  const file = await storage.readFile(path);
  return file && textOf(file.bytes);
}

/** Everything in a storage: text of files, "/" for directories. */
export async function contents(storage: Storage): Promise<Record<string, string>> {
  const all: [string, string][] = [];
  for await (const batch of storage.walk("")) {
    for (const entry of batch)
      all.push([entry.path, entry.kind === "dir" ? "/" : ((await read(storage, entry.path)) ?? "")]);
  }
  return Object.fromEntries(all.toSorted(([a], [b]) => compareCodePoints(a, b)));
}

/** Expects a refusal with a code. */
export async function refused(
  work: Promise<unknown> | (() => Promise<unknown>),
  code: StorageErrorCode,
): Promise<void> {
  const running = typeof work === "function" ? Promise.resolve().then(work) : work;
  await expect(running).rejects.toMatchObject({ name: "StorageError", code });
}

function streamOf(...chunks: string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(bytesOf(chunk));
      controller.close();
    },
  });
}

/** What every storage promises. */
export function storageContract(name: string, make: () => Promise<Subject>): void {
  describe(`storage: ${name}`, () => {
    let subject: Subject;
    let storage: Storage;

    beforeEach(async () => {
      subject = await make();
      storage = subject.storage;
      await storage.recover();
    });
    afterEach(() => subject.dispose());

    reading(() => storage);
    committing(() => storage);
    removing(() => storage);
    moving(() => storage);
    staging(() => storage);
    appending(() => storage);
    watching(() => storage);
    paths(() => storage);
  });
}

function reading(of: () => Storage): void {
  it("reads nothing where nothing is", async () => {
    const storage = of();
    expect(await storage.stat("a/b")).toBeNull();
    expect(await storage.list("a")).toBeNull();
    expect(await storage.readFile("a")).toBeNull();
    expect(await storage.read("a")).toBeNull();
    expect(await contents(storage)).toEqual({});
    for await (const batch of storage.walk("nowhere")) expect(batch).toBe("no batch");
  });

  it("reads back what was written, with one entry everywhere", async () => {
    const storage = of();
    const [entry] = await storage.commit([write("a/b/c.txt", "hällo")]);
    expect(entry).toMatchObject({ path: "a/b/c.txt", kind: "file", size: 6 });
    expect(entry?.revision).toMatch(/^\d+:6$/);
    expect(await storage.stat("a/b/c.txt")).toEqual(entry);
    const file = await storage.readFile("a/b/c.txt");
    expect(file?.entry).toEqual(entry);
    expect(textOf(file?.bytes ?? new Uint8Array())).toBe("hällo");
    expect(await storage.list("a/b")).toEqual([entry]);
    const stream = await storage.read("a/b/c.txt");
    expect(stream?.entry).toEqual(entry);
    expect(await new Response(stream?.body).text()).toBe("hällo");
    expect(await storage.readFile("a/b/c.txt/d")).toBeNull();
    expect(await storage.list("a/b/c.txt")).toBeNull();
  });

  it("keeps any bytes", async () => {
    const storage = of();
    const body = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) & 255);
    await storage.commit([{ op: "write", path: "bin", body }]);
    expect(sameBytes((await storage.readFile("bin"))?.bytes, body)).toBe(true);
    const whole = await storage.read("bin");
    expect(sameBytes(new Uint8Array(await new Response(whole?.body).arrayBuffer()), body)).toBe(true);
    await storage.commit([{ op: "write", path: "empty", body: new Uint8Array() }]);
    expect((await storage.readFile("empty"))?.bytes.length).toBe(0);
    expect(await new Response((await storage.read("empty"))?.body).text()).toBe("");
  });

  it("streams ranges", async () => {
    const storage = of();
    await storage.commit([write("f", "0123456789")]);
    for (const [start, end, text] of [
      [0, 3, "0123"],
      [4, 4, "4"],
      [8, 99, "89"],
      [10, 20, ""],
      [50, 60, ""],
    ] as const) {
      const part = await storage.read("f", { range: { start, end } });
      expect(await new Response(part?.body).text()).toBe(text);
    }
    await (await storage.read("f"))?.body.cancel();
  });

  it("lists direct children by code point, and walks everything", async () => {
    const storage = of();
    const names = ["b", "a", "Z", "é", "\u{1F600}", "\uFF5E", "a b", "a.b"];
    await storage.commit([...names.map((name) => write(`d/${name}`, name)), write("d/sub/deep/x", "x")]);
    const listed = await storage.list("d");
    expect(listed?.map((entry) => entry.path)).toEqual(
      [...names, "sub"].toSorted(compareCodePoints).map((name) => `d/${name}`),
    );
    expect(listed?.find((entry) => entry.path === "d/sub")).toMatchObject({ kind: "dir", size: 0 });
    expect(Object.keys(await contents(storage)).length).toBe(1 + names.length + 3);
    const pruned: Entry[] = [];
    for await (const batch of storage.walk("d", { skip: (dir) => dir === "d/sub/deep" }))
      pruned.push(...batch);
    expect(pruned.map((entry) => entry.path)).not.toContain("d/sub/deep/x");
    expect(pruned.map((entry) => entry.path)).not.toContain("d/sub/deep");
    expect(pruned.map((entry) => entry.path)).toContain("d/sub");
  });

  it("stops walking when told", async () => {
    const storage = of();
    await storage.commit([write("d/x", "x")]);
    const walk = async (): Promise<void> => {
      for await (const batch of storage.walk("", { signal: AbortSignal.abort(new Error("enough")) }))
        expect(batch).toBe("none");
    };
    await expect(walk()).rejects.toThrow("enough");
  });

  it("refuses to read what is too large or a directory", async () => {
    const storage = of();
    await storage.commit([write("d/f", "12345")]);
    await expect(storage.readFile("d/f", { maxBytes: 4 })).rejects.toMatchObject({
      code: "too_large",
      details: { maxBytes: 4, size: 5 },
    });
    expect(await read(storage, "d/f")).toBe("12345");
    await refused(storage.readFile("d"), "is_directory");
    await refused(storage.read("d"), "is_directory");
    await refused(storage.readFile(""), "is_directory");
  });
}

function committing(of: () => Storage): void {
  it("gives every content a revision of its own, also in quick succession at one size", async () => {
    const storage = of();
    const seen = new Set<string>();
    for (let i = 0; i < 60; i += 1) {
      const [entry] = await storage.commit([write("same", String(i % 10))]);
      seen.add(entry?.revision ?? "");
    }
    expect(seen.size).toBe(60);
  });

  it("compares revisions", async () => {
    const storage = of();
    const [first] = await storage.commit([write("f", "one", null)]);
    const old = first?.revision ?? "";
    await expect(storage.commit([write("f", "two", null)])).rejects.toMatchObject({
      code: "conflict",
      details: { path: "f", expectedRevision: null, currentRevision: old },
    });
    const [second] = await storage.commit([write("f", "two", old)]);
    await expect(storage.commit([write("f", "three", old)])).rejects.toMatchObject({
      code: "conflict",
      details: { path: "f", expectedRevision: old, currentRevision: second?.revision },
    });
    await expect(storage.commit([write("missing", "x", old)])).rejects.toMatchObject({
      code: "conflict",
      details: { currentRevision: null },
    });
    expect(await contents(storage)).toEqual({ f: "two" });
    await refused(storage.commit([{ op: "remove", path: "f", ifRevision: old }]), "conflict");
    await storage.commit([{ op: "remove", path: "f", ifRevision: second?.revision ?? "" }]);
    expect(await storage.commit([{ op: "remove", path: "f", ifRevision: null }])).toEqual([null]);
  });

  it("lets exactly one of many racing writers win", async () => {
    const storage = of();
    const [entry] = await storage.commit([write("f", "start")]);
    const race = async (revision: string | null, path: string): Promise<void> => {
      const tries = Array.from({ length: 12 }, (_, i) => storage.commit([write(path, `w${i}`, revision)]));
      const ends = await Promise.allSettled(tries);
      expect(ends.filter((end) => end.status === "fulfilled").length).toBe(1);
      expect(await read(storage, path)).toBe(`w${ends.findIndex((end) => end.status === "fulfilled")}`);
    };
    await race(entry?.revision ?? "", "f");
    await race(null, "new/f");
  });

  it("does all of several changes, and answers in their order", async () => {
    const storage = of();
    await storage.commit([write("old", "o"), write("gone", "g"), write("dir/kept", "k")]);
    const done = await storage.commit([
      write("new/deep/f", "n"),
      { op: "remove", path: "gone" },
      { op: "move", from: "old", to: "moved/here" },
      { op: "mkdir", path: "made/too" },
      write("dir/kept", "k2"),
    ]);
    expect(done.map((entry) => entry && [entry.path, entry.kind, entry.size])).toEqual([
      ["new/deep/f", "file", 1],
      null,
      ["moved/here", "file", 1],
      ["made/too", "dir", 0],
      ["dir/kept", "file", 2],
    ]);
    expect(await contents(storage)).toEqual({
      dir: "/",
      "dir/kept": "k2",
      made: "/",
      "made/too": "/",
      moved: "/",
      "moved/here": "o",
      new: "/",
      "new/deep": "/",
      "new/deep/f": "n",
    });
    for (const entry of done) if (entry) expect(await storage.stat(entry.path)).toEqual(entry);
  });

  it("does none of several changes when one is refused", async () => {
    const storage = of();
    await storage.commit([write("a", "1"), write("d/x", "x")]);
    const before = await contents(storage);
    const bad: [Change, StorageErrorCode][] = [
      [write("a", "2", null), "conflict"],
      [write("d", "dir"), "is_directory"],
      [write("a/under", "file"), "not_a_directory"],
      [{ op: "remove", path: "nope" }, "not_found"],
      [{ op: "remove", path: "d" }, "not_empty"],
      [{ op: "mkdir", path: "a" }, "exists"],
      [{ op: "mkdir", path: "a/b" }, "not_a_directory"],
      [{ op: "move", from: "nope", to: "e" }, "not_found"],
      [{ op: "move", from: "a", to: "d/x" }, "exists"],
    ];
    for (const [change, code] of bad) {
      await refused(storage.commit([write("new/f", "n"), { op: "mkdir", path: "m" }, change]), code);
      expect(await contents(storage)).toEqual(before);
    }
  });

  it("refuses changes that contradict each other", async () => {
    const storage = of();
    await storage.commit([write("a/b", "1")]);
    const bad: Change[][] = [
      [write("x", "1"), write("x", "2")],
      [write("a/c", "1"), { op: "remove", path: "a", recursive: true }],
      [write("x", "1"), write("x/y", "2")],
      [{ op: "move", from: "a", to: "a/inside" }],
      [{ op: "move", from: "a", to: "a" }],
      [{ op: "move", from: "a", to: "c" }, write("c/d", "1")],
      [{ op: "remove", path: "", recursive: true }],
    ];
    for (const changes of bad) await refused(storage.commit(changes), "invalid_path");
    await refused(storage.commit([write("", "root")]), "is_directory");
    expect(await contents(storage)).toEqual({ a: "/", "a/b": "1" });
  });

  it("makes directories, again and again", async () => {
    const storage = of();
    expect(await storage.commit([])).toEqual([]);
    expect((await storage.commit([{ op: "mkdir", path: "d/e" }]))[0]).toMatchObject({
      path: "d/e",
      kind: "dir",
    });
    expect((await storage.commit([{ op: "mkdir", path: "d/e" }]))[0]).toMatchObject({
      path: "d/e",
      kind: "dir",
    });
    expect((await storage.commit([{ op: "mkdir", path: "f" }, write("f/g", "g")]))[1]).toMatchObject({
      path: "f/g",
    });
    expect((await storage.commit([{ op: "mkdir", path: "" }]))[0]).toMatchObject({ path: "", kind: "dir" });
  });
}

function removing(of: () => Storage): void {
  it("removes files, empty directories, and trees when told so", async () => {
    const storage = of();
    await storage.commit([
      write("t/a/b", "1"),
      write("t/c", "2"),
      { op: "mkdir", path: "e" },
      write("f", "3"),
    ]);
    await refused(storage.commit([{ op: "remove", path: "t" }]), "not_empty");
    await storage.commit([
      { op: "remove", path: "t", recursive: true },
      { op: "remove", path: "e" },
    ]);
    expect(await storage.commit([{ op: "remove", path: "f" }])).toEqual([null]);
    expect(await contents(storage)).toEqual({});
    await refused(storage.commit([{ op: "remove", path: "f" }]), "not_found");
  });
}

function moving(of: () => Storage): void {
  it("moves files and trees, and replaces only when told so", async () => {
    const storage = of();
    await storage.commit([write("a", "1"), write("b", "2"), write("t/u/v", "3"), { op: "mkdir", path: "d" }]);
    await refused(storage.commit([{ op: "move", from: "a", to: "b" }]), "exists");
    await refused(storage.commit([{ op: "move", from: "a", to: "d", replace: true }]), "is_directory");
    await refused(storage.commit([{ op: "move", from: "t", to: "b", replace: true }]), "exists");
    await storage.commit([{ op: "move", from: "a", to: "b", replace: true }]);
    await storage.commit([{ op: "move", from: "t", to: "new/place" }]);
    expect(await contents(storage)).toEqual({
      b: "1",
      d: "/",
      new: "/",
      "new/place": "/",
      "new/place/u": "/",
      "new/place/u/v": "3",
    });
  });
}

function staging(of: () => Storage): void {
  it("stages streams out of sight until a commit", async () => {
    const storage = of();
    const staged = await storage.stage("up/f", streamOf("one", "two"));
    expect(staged.size).toBe(6);
    expect(await contents(storage)).toEqual({});
    const [entry] = await storage.commit([{ op: "write", path: "up/f", body: staged, ifRevision: null }]);
    expect(entry).toMatchObject({ path: "up/f", size: 6 });
    expect(await contents(storage)).toEqual({ up: "/", "up/f": "onetwo" });
    await refused(storage.commit([{ op: "write", path: "again", body: staged }]), "not_found");
    await storage.discard(staged);
  });

  it("keeps staged bytes through a refused commit, and drops discarded ones", async () => {
    const storage = of();
    await storage.commit([write("f", "old")]);
    const staged = await storage.stage("f", streamOf("new"));
    await refused(storage.commit([{ op: "write", path: "f", body: staged, ifRevision: null }]), "conflict");
    await storage.commit([{ op: "write", path: "f", body: staged }]);
    expect(await read(storage, "f")).toBe("new");
    const dropped = await storage.stage("f", streamOf("never"));
    await storage.discard(dropped);
    await storage.discard(dropped);
    await refused(storage.commit([{ op: "write", path: "f", body: dropped }]), "not_found");
    await refused(storage.stage("f/under", streamOf("x")), "not_a_directory");
    expect(await contents(storage)).toEqual({ f: "new" });
  });

  it("counts staged bytes as they come and stops the sender", async () => {
    const storage = of();
    let pulled = 0;
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1;
        controller.enqueue(new Uint8Array(1000));
      },
      cancel() {
        cancelled = true;
      },
    });
    await expect(storage.stage("big", endless, { maxBytes: 5000 })).rejects.toMatchObject({
      code: "too_large",
      details: { maxBytes: 5000 },
    });
    expect(pulled).toBeLessThan(12);
    await Promise.resolve();
    expect(cancelled).toBe(true);
    expect((await storage.stage("fits", streamOf("12345"), { maxBytes: 5 })).size).toBe(5);
  });

  it("gives up staging on abort and on a broken stream", async () => {
    const storage = of();
    const abort = new AbortController();
    const hanging = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytesOf("some"));
      },
    });
    const running = storage.stage("f", hanging, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("caller gone")), 10);
    await expect(running).rejects.toThrow("caller gone");
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.error(new Error("line cut"));
      },
    });
    await expect(storage.stage("f", broken)).rejects.toThrow("line cut");
    expect(await contents(storage)).toEqual({});
  });
}

function appending(of: () => Storage): void {
  it("appends whole lines, also many at once, and heals a torn last one", async () => {
    const storage = of();
    await storage.commit([write("log/torn", "whole\ntor")]);
    await storage.append("log/torn", ["next"]);
    expect(await read(storage, "log/torn")).toBe("whole\ntor\nnext\n");
    // Torn once more, by somebody else who died: a storage cannot go by what it wrote last.
    await storage.commit([write("log/torn", "whole\ntor\nnext\nto")]);
    await storage.append("log/torn", ["last"]);
    expect(await read(storage, "log/torn")).toBe("whole\ntor\nnext\nto\nlast\n");
    const lines = Array.from({ length: 50 }, (_, i) => `line ${i} ${"x".repeat(i * 10)}`);
    await Promise.all(lines.map((line, i) => storage.append("log/new/many", [line, `also ${i}`])));
    const got = (await read(storage, "log/new/many"))?.split("\n") ?? [];
    expect(got.pop()).toBe("");
    expect(new Set(got)).toEqual(new Set([...lines, ...lines.map((_, i) => `also ${i}`)]));
    for (const [i, line] of lines.entries()) expect(got[got.indexOf(line) + 1]).toBe(`also ${i}`);
    await storage.append("log/none", []);
    expect(await storage.stat("log/none")).toBeNull();
    await expect(storage.append("log", ["x"])).rejects.toMatchObject({ code: "is_directory" });
    await refused(storage.append("log/new/many", ["two\nlines"]), "io");
  });
}

function watching(of: () => Storage): void {
  it("reports changes until closed", async () => {
    const storage = of();
    await storage.commit([write("a/f", "1")]);
    const batches: WatchBatch[] = [];
    const watch = await storage.watch((batch) => batches.push(batch));
    expect(watch).not.toBeNull();
    const seen = (): string[] => batches.flatMap((batch) => [...batch.paths]);
    // A batch that says it missed some stands for every path.
    const told = (...paths: string[]): boolean =>
      batches.some((batch) => batch.missed) || paths.every((path) => seen().includes(path));
    await storage.commit([write("a/f", "2"), write("b", "3")]);
    await expect.poll(() => told("a/f", "b"), { timeout: 5000 }).toBe(true);
    batches.length = 0;
    await storage.commit([
      { op: "remove", path: "b" },
      { op: "move", from: "a/f", to: "a/g" },
    ]);
    await expect.poll(() => told("a/g"), { timeout: 5000 }).toBe(true);
    expect(seen().some((path) => path.includes(".owtmp-"))).toBe(false);
    await watch?.close();
    await watch?.close();
    const count = batches.length;
    await storage.commit([write("c", "4")]);
    // Long enough for a batch that was gathering, and for the look that follows one.
    await new Promise((resolve) => {
      setTimeout(resolve, 1200);
    });
    expect(batches.length).toBe(count);
  });
}

function paths(of: () => Storage): void {
  it("refuses paths that are not plain names", async () => {
    const storage = of();
    await storage.commit([write("a", "1")]);
    const bad = [
      "/",
      "/a",
      "a/",
      "a//b",
      ".",
      "..",
      "../a",
      "a/../a",
      "./a",
      "a\0",
      "\ud800",
      `.owtmp-${"0".repeat(20)}`,
      "x".repeat(256),
      "é".repeat(128),
    ];
    for (const path of bad) {
      const calls: (() => Promise<unknown>)[] = [
        () => storage.stat(path),
        () => storage.list(path),
        () => storage.readFile(path),
        () => storage.read(path),
        () => storage.walk(path)[Symbol.asyncIterator]().next(),
        () => storage.commit([write(path, "x")]),
        () => storage.commit([{ op: "remove", path }]),
        () => storage.commit([{ op: "mkdir", path }]),
        () => storage.commit([{ op: "move", from: "a", to: path }]),
        () => storage.commit([{ op: "move", from: path, to: "z" }]),
        () => storage.append(path, ["x"]),
        () => storage.stage(path, new Response("x").body ?? new ReadableStream()),
      ];
      for (const call of calls) await refused(call, "invalid_path");
    }
    expect(await contents(storage)).toEqual({ a: "1" });
  });

  it("takes odd but legal names", async () => {
    const storage = of();
    const names = [
      "__proto__",
      "constructor",
      "con",
      "a\\b",
      "...",
      " ",
      "a\nb",
      "%2e%2e",
      "-rf",
      "~",
      "\u00e9",
      "e\u0301",
      "x".repeat(255),
    ];
    await storage.commit(names.map((name) => write(name, name)));
    for (const name of names) expect(await read(storage, name)).toBe(name);
    expect((await storage.list(""))?.length).toBe(names.length);
  });
}
