import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import type { DiskFs } from "../../adapters/storage/disk/fs.ts";
import { StorageError } from "../../lib/storage.ts";
import type { Storage } from "../../lib/storage.ts";
import { contents, read, refused, write } from "./contract.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

const secret = "canary: never to be seen";

for (const procfs of [true, false]) {
  describe(`confinement, procfs ${procfs}`, () => {
    let dir: ReturnType<typeof temporaryDir>;
    let root: string;
    let outer: string;
    let storage: Storage;

    beforeEach(() => {
      dir = temporaryDir();
      root = join(dir.path, "root");
      outer = join(dir.path, "root-evil");
      fs.mkdirSync(join(root, "in"), { recursive: true });
      fs.writeFileSync(join(root, "in/file"), "inside");
      fs.mkdirSync(join(outer, "sub"), { recursive: true });
      fs.writeFileSync(join(outer, "canary"), secret);
      fs.writeFileSync(join(outer, "sub/canary"), secret);
      storage = createDiskStorage(root, { procfs });
    });
    afterEach(() => {
      expect(snapshot(outer)).toEqual({ canary: secret, "sub/canary": secret });
      expect(leftovers(dir.path)).toEqual([]);
      dir[Symbol.dispose]();
    });

    const link = (target: string, name: string): void => fs.symlinkSync(target, join(root, name));

    it("refuses everything through links that lead out, the sibling with the same prefix included", async () => {
      link(join(outer, "canary"), "file");
      link("../root-evil/canary", "relative");
      link(outer, "dir");
      link("dir", "twice");
      for (const path of ["file", "relative", "dir/canary", "dir/sub/canary", "twice/canary"]) {
        await refused(storage.stat(path), "outside");
        await refused(storage.readFile(path), "outside");
        await refused(storage.read(path), "outside");
        await refused(storage.list(path), "outside");
        await refused(storage.walk(path)[Symbol.asyncIterator]().next(), "outside");
        await refused(storage.commit([write(path, "evil")]), "outside");
        await refused(storage.commit([{ op: "remove", path, recursive: true }]), "outside");
        await refused(storage.commit([{ op: "move", from: path, to: "stolen" }]), "outside");
        await refused(storage.commit([{ op: "move", from: "in/file", to: path, replace: true }]), "outside");
        await refused(storage.append(path, ["evil"]), "outside");
        await refused(storage.stage(path, new Response("evil").body ?? new ReadableStream()), "outside");
      }
      for (const path of ["dir", "twice"]) {
        await refused(storage.list(path), "outside");
        await refused(storage.commit([write(`${path}/new`, "evil")]), "outside");
        await refused(storage.commit([write(`${path}/new/deep/er`, "evil")]), "outside");
        await refused(storage.commit([{ op: "mkdir", path: `${path}/new` }]), "outside");
        await refused(storage.commit([{ op: "remove", path, recursive: true }]), "outside");
        await refused(storage.commit([{ op: "move", from: path, to: "stolen" }]), "outside");
      }
      expect((await storage.list(""))?.map((entry) => entry.path)).toEqual(["in"]);
      expect(Object.keys(await contents(storage))).toEqual(["in", "in/file"]);
    });

    it("does not tell whether something outside exists", async () => {
      link(outer, "dir");
      link(join(outer, "nothing"), "dangling");
      for (const path of ["dir/canary", "dir/nothing", "dir/no/thing", "dangling"]) {
        await refused(storage.stat(path), "outside");
        await refused(storage.readFile(path), "outside");
        await refused(storage.list(path), "outside");
      }
    });

    it("reads and writes through links that stay inside, and removes only the link", async () => {
      link("in/file", "file");
      link("in", "dir");
      link(join(root, "in"), "absolute");
      expect(await storage.stat("file")).toMatchObject({ path: "file", kind: "file", size: 6 });
      expect(await read(storage, "dir/file")).toBe("inside");
      expect((await storage.list("absolute"))?.map((entry) => entry.path)).toEqual(["absolute/file"]);
      const [entry] = await storage.commit([write("file", "through")]);
      expect(entry?.path).toBe("file");
      expect(fs.lstatSync(join(root, "file")).isSymbolicLink()).toBe(true);
      expect(fs.readFileSync(join(root, "in/file"), "utf8")).toBe("through");
      await storage.commit([write("dir/new/deep", "made")]);
      expect(fs.readFileSync(join(root, "in/new/deep"), "utf8")).toBe("made");
      await storage.append("file", ["more"]);
      expect(await read(storage, "in/file")).toBe("through\nmore\n");
      await storage.commit([
        { op: "remove", path: "file" },
        { op: "remove", path: "dir", recursive: true },
      ]);
      expect(fs.readdirSync(root).toSorted()).toEqual(["absolute", "in"]);
      expect(await read(storage, "in/new/deep")).toBe("made");
    });

    it("sees that two paths are one file", async () => {
      link("in/file", "file");
      await refused(storage.commit([write("file", "1"), write("in/file", "2")]), "invalid_path");
      link("in", "dir");
      await refused(
        storage.commit([write("dir/x", "1"), { op: "remove", path: "in", recursive: true }]),
        "invalid_path",
      );
      expect(await read(storage, "in/file")).toBe("inside");
    });

    it("reads dangling links and loops as absent or refuses them, and never writes there", async () => {
      link("nothing", "dangling");
      link("loop-b", "loop-a");
      link("loop-a", "loop-b");
      expect(await storage.stat("dangling")).toBeNull();
      expect(await storage.readFile("dangling/x")).toBeNull();
      await refused(storage.stat("loop-a"), "outside");
      await refused(storage.commit([write("dangling", "x")]), "not_found");
      await refused(storage.commit([write("dangling/x", "x")]), "not_found");
      await refused(storage.commit([write("loop-a/x", "x")]), "outside");
      await refused(storage.append("dangling", ["x"]), "not_found");
      await storage.commit([{ op: "remove", path: "dangling" }]);
      expect(fs.existsSync(join(root, "nothing"))).toBe(false);
      expect(fs.readdirSync(root).toSorted()).toEqual(["in", "loop-a", "loop-b"]);
    });

    it("refuses FIFOs, devices and sockets at once, and lists none", async () => {
      execFileSync("mkfifo", [join(root, "fifo")]);
      link("/dev/zero", "device");
      const server = createServer();
      await new Promise<void>((resolve) => {
        server.listen(join(root, "socket"), resolve);
      });
      const before = performance.now();
      for (const path of ["fifo", "socket"]) {
        expect(await storage.stat(path)).toMatchObject({ kind: "other" });
        await refused(storage.readFile(path), "not_a_file");
        await refused(storage.read(path), "not_a_file");
        await refused(storage.commit([write(path, "x")]), "not_a_file");
        await refused(storage.commit([{ op: "remove", path }]), "not_a_file");
        await refused(storage.append(path, ["x"]), "not_a_file");
        await refused(storage.commit([{ op: "move", from: path, to: "x" }]), "not_a_file");
      }
      await refused(storage.readFile("device"), "outside");
      await refused(storage.append("device", ["x"]), "outside");
      expect(performance.now() - before).toBeLessThan(2000);
      expect((await storage.list(""))?.map((entry) => entry.path)).toEqual(["in"]);
      await new Promise((resolve) => {
        server.close(resolve);
      });
    });

    it("hides and protects its own temporaries, also behind a link", async () => {
      const name = ".owtmp-00000000000000000000";
      fs.mkdirSync(join(root, name));
      fs.writeFileSync(join(root, name, "f"), "hidden");
      link(name, "alias");
      await refused(storage.stat("alias"), "outside");
      await refused(storage.readFile("alias/f"), "outside");
      await refused(storage.commit([write("alias/f", "x")]), "outside");
      expect(Object.keys(await contents(storage))).toEqual(["in", "in/file"]);
      fs.rmSync(join(root, name), { recursive: true });
    });

    it("holds no directory open", async () => {
      const open = fs.readdirSync("/proc/self/fd").length;
      link(outer, "dir");
      for (let i = 0; i < 20; i += 1) {
        await storage.commit([write("a/b", "1"), write("c/d", "2")]);
        await storage.commit([write("dir/x", "1"), write("c/d", "2")]).catch(() => undefined);
        await storage.list("a");
        await storage.stat("dir/x").catch(() => undefined);
        await storage.append("log", ["x"]);
        await storage.commit([{ op: "remove", path: "a", recursive: true }]);
      }
      expect(fs.readdirSync("/proc/self/fd").length).toBe(open);
    });
  });
}

/** All files below a directory. */
function snapshot(dir: string): Record<string, string> {
  const names = fs.readdirSync(dir, { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => fs.lstatSync(join(dir, name)).isFile()).toSorted();
  return Object.fromEntries(files.map((name) => [name, fs.readFileSync(join(dir, name), "utf8")]));
}

/** Swaps `root/dir` between a directory and a link to the outside, as fast as it can. */
const flipper = `
const fs = require("node:fs");
const { workerData } = require("node:worker_threads");
const { root, outer, flag } = workerData;
const stop = new Int32Array(flag);
const prepare = () => {
  // The storage under test makes "dir" itself when the name is free.
  fs.rmSync(root + "/dir", { recursive: true, force: true });
  fs.mkdirSync(root + "/real/sub", { recursive: true });
  fs.writeFileSync(root + "/real/canary", "inside");
  fs.writeFileSync(root + "/real/sub/canary", "inside");
  try { fs.symlinkSync(outer, root + "/link"); } catch {}
};
prepare();
let flips = 0;
const pause = new Int32Array(new SharedArrayBuffer(4));
while (Atomics.load(stop, 0) === 0) {
  for (const name of ["real", "link"]) {
    try {
      fs.renameSync(root + "/" + name, root + "/dir");
      for (let i = 0; i < (flips % 50) * 100; i += 1);
      fs.renameSync(root + "/dir", root + "/" + name);
      flips += 1;
      // What waits for names to rest must get its turn, in the middle of the race.
      if (flips % 2000 === 0 || flips % 2000 === 1001) Atomics.wait(pause, 0, 0, 30 + (flips % 7) * 5);
    } catch {
      try { prepare(); } catch {}
    }
  }
}
Atomics.store(stop, 1, flips);
`;

/** The real file system, in which `root/dir` becomes a link to the outside and a directory again between calls. */
function swappingFs(root: string, outer: string): { fs: DiskFs; swaps: number; rest: boolean } {
  const at = (name: string): string => join(root, name);
  fs.mkdirSync(at("dir/sub"), { recursive: true });
  for (const name of ["dir/canary", "dir/sub/canary"]) fs.writeFileSync(at(name), "inside");
  fs.symlinkSync(outer, at("link"));
  const state = { swaps: 0, rest: false, fs: nodeFs };
  const show = (face: "real" | "link"): void => {
    if (state.rest || !fs.existsSync(at(face))) return;
    fs.renameSync(at("dir"), at(face === "real" ? "link" : "real"));
    fs.renameSync(at(face), at("dir"));
    state.swaps += 1;
  };
  // What asks where a thing is sees the directory, what takes it gets the link's.
  state.fs = {
    ...nodeFs,
    realpathSync: (path) => {
      show("real");
      return nodeFs.realpathSync(path);
    },
    openSync: (path, flags, mode) => {
      if (path.startsWith(at("dir/"))) show("link");
      return nodeFs.openSync(path, flags, mode);
    },
    lstatSync: (path) => {
      show(String(path).startsWith(at("dir/")) ? "link" : "real");
      return nodeFs.lstatSync(path);
    },
  };
  return state;
}

describe("confinement without procfs, when a name is swapped between any two calls", () => {
  it.each<[string, (storage: Storage) => Promise<unknown>]>([
    ["readFile", (storage) => read(storage, "dir/canary")],
    [
      "read",
      async (storage) => {
        const stream = await storage.read("dir/sub/canary");
        return stream && new Response(stream.body).text();
      },
    ],
    ["stat", async (storage) => ((await storage.stat("dir/canary"))?.size === 6 ? "inside" : "outside")],
    ["list", async (storage) => ((await storage.list("dir/sub"))?.[0]?.size === 6 ? "inside" : "outside")],
  ])("%s shows nothing of the outside, and the inside once names rest", async (_name, look) => {
    using dir = temporaryDir();
    const root = join(dir.path, "root");
    const outer = join(dir.path, "outer");
    fs.mkdirSync(root);
    fs.mkdirSync(join(outer, "sub"), { recursive: true });
    for (const name of ["canary", "sub/canary"]) fs.writeFileSync(join(outer, name), secret);
    const swapping = swappingFs(root, outer);
    const storage = createDiskStorage(root, { procfs: false, fs: swapping.fs });
    const open = fs.readdirSync("/proc/self/fd").length;
    await refused(look(storage), "io");
    expect(swapping.swaps).toBeGreaterThan(4);
    expect(fs.readdirSync("/proc/self/fd").length).toBe(open);

    const later = look(storage);
    setTimeout(() => {
      swapping.fs.realpathSync(root);
      swapping.rest = true;
    }, 100);
    expect(await later).toBe("inside");
  });
});

it("without procfs a file that another program replaces while it is opened is read all the same", async () => {
  using dir = temporaryDir();
  const file = join(dir.path, "file");
  fs.writeFileSync(file, "old");
  let replaced = 0;
  const storage = createDiskStorage(dir.path, {
    procfs: false,
    fs: {
      ...nodeFs,
      openSync: (path, flags, mode) => {
        const fd = nodeFs.openSync(path, flags, mode);
        if (path.endsWith("/file") && replaced < 2) {
          fs.writeFileSync(`${file}.new`, `new ${(replaced += 1)}`);
          fs.renameSync(`${file}.new`, file);
        }
        return fd;
      },
    },
  });
  expect(await read(storage, "file")).toBe("new 2");
});

/** Meddles whenever the system is going to be asked where it is, until there is no more to be done. */
function meddled(root: string, left: (() => void)[]): Storage {
  const readlinkSync: DiskFs["readlinkSync"] = (path) => {
    left.shift()?.();
    return nodeFs.readlinkSync(path);
  };
  const ready = left.splice(0);
  const storage = createDiskStorage(root, { fs: { ...nodeFs, readlinkSync } });
  left.push(...ready);
  return storage;
}

const replace = (root: string, text: string) => (): void => {
  fs.writeFileSync(join(root, "next"), text);
  fs.renameSync(join(root, "next"), join(root, ".env"));
};

describe("a file behind a link that is replaced in the middle of a look", () => {
  it.each(["stat", "readFile", "read"] as const)("is told by its real name: %s", async (call) => {
    using dir = temporaryDir();
    const root = dir.path;
    fs.writeFileSync(join(root, ".env"), "one");
    fs.symlinkSync(".env", join(root, "link"));
    const storage = meddled(root, [replace(root, "two"), replace(root, "three")]);
    const found = await storage[call]("link");
    // Who may read it is decided by this name.
    expect(found && ("entry" in found ? found.entry : found)).toMatchObject({ path: "link", real: ".env" });
    expect(fs.readFileSync(join(root, ".env"), "utf8")).toBe("three");
    if (found && "body" in found) await found.body.cancel();
  });

  it("is absent when it was removed", async () => {
    using dir = temporaryDir();
    const root = dir.path;
    fs.writeFileSync(join(root, ".env"), "one");
    fs.symlinkSync(".env", join(root, "link"));
    expect(await meddled(root, [() => fs.rmSync(join(root, ".env"))]).stat("link")).toBeNull();
  });

  it("may have a name that looks like the system's mark", async () => {
    using dir = temporaryDir();
    const root = dir.path;
    fs.writeFileSync(join(root, "a (deleted)"), "one");
    fs.symlinkSync("a (deleted)", join(root, "link"));
    const storage = createDiskStorage(root);
    await storage.commit([write("link", "two")]);
    expect(await read(storage, "a (deleted)")).toBe("two");
    expect(await storage.stat("link")).toMatchObject({ real: "a (deleted)" });
  });
});

describe("confinement in a race", () => {
  for (const procfs of [true, false]) {
    it(`never touches or shows the outside while names flip, procfs ${procfs}`, async () => {
      using dir = temporaryDir();
      const root = join(dir.path, "root");
      const outer = join(dir.path, "outer");
      fs.mkdirSync(root);
      fs.mkdirSync(join(outer, "sub"), { recursive: true });
      for (const name of ["canary", "sub/canary"]) fs.writeFileSync(join(outer, name), secret);
      const flag = new SharedArrayBuffer(8);
      const worker = new Worker(flipper, { eval: true, workerData: { root, outer, flag } });
      const exited = new Promise((resolve) => {
        worker.once("exit", resolve);
      });
      await new Promise((resolve) => {
        worker.once("online", resolve);
      });
      const storage = createDiskStorage(root, { procfs });
      const tally = await hammer(storage, procfs);
      Atomics.store(new Int32Array(flag), 0, 1);
      await exited;
      expect(snapshot(outer)).toEqual({ canary: secret, "sub/canary": secret });
      expect(fs.readdirSync(outer).toSorted()).toEqual(["canary", "sub"]);
      // The race must have been one: both faces of the name were met.
      expect(new Int32Array(flag)[1]).toBeGreaterThan(100);
      expect(tally.done).toBeGreaterThan(0);
      expect(tally.outside).toBeGreaterThan(0);
    });
  }
});

/** The portable way promises this much only of what is read, listed and told: walks and changes have a gap there. */
async function hammer(storage: Storage, procfs: boolean): Promise<{ done: number; outside: number }> {
  const tally = { done: 0, outside: 0 };
  const reads: (() => Promise<unknown>)[] = [
    async () => expect((await read(storage, "dir/canary")) ?? "inside").toBe("inside"),
    async () => {
      const stream = await storage.read("dir/sub/canary");
      if (stream) expect(await new Response(stream.body).text()).toBe("inside");
    },
    async () => expect((await storage.stat("dir/canary"))?.size).not.toBe(secret.length),
    async () => {
      for (const entry of (await storage.list("dir")) ?? []) expect(entry.size).not.toBe(secret.length);
    },
  ];
  const others: (() => Promise<unknown>)[] = [
    async () => {
      for await (const batch of storage.walk(""))
        for (const entry of batch) expect(entry.size).not.toBe(secret.length);
    },
    () => storage.commit([write("dir/canary", "inside")]),
    () => storage.commit([write("dir/new", "n"), write("dir/sub/new", "n")]),
    () => storage.commit([{ op: "remove", path: "dir/new" }]),
    () => storage.commit([{ op: "move", from: "dir/sub/new", to: "dir/moved", replace: true }]),
    () => storage.append("dir/log", ["line"]),
    () => storage.commit([{ op: "mkdir", path: "dir/made/deep" }]),
    () => storage.commit([{ op: "remove", path: "dir/made", recursive: true }]),
  ];
  const attempts = procfs ? [...reads, ...others] : reads;
  const end = performance.now() + 4000;
  for (let i = 0; performance.now() < end; i += 1) {
    try {
      await attempts[i % attempts.length]?.();
      tally.done += 1;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      if (error.code === "outside") tally.outside += 1;
    }
  }
  return tally;
}
