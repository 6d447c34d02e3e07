import * as fs from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { DiskStorage } from "../../adapters/storage/disk.ts";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import { contents, read, refused, write } from "./contract.ts";
import { faultyFs, systemError } from "./faulty-fs.ts";
import { asDead, PowerCut } from "./power.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

/** After which the files are applied and answered, and only the journal is durable. */
const changes = [
  write("a", "new a"),
  write("b", "new b"),
  write("made/c", "new c"),
  write("d", "new d", null),
];
const after = { a: "new a", b: "new b", d: "new d", made: "/", "made/c": "new c" };

describe("a commit whose journal holds the bytes", () => {
  let dir: ReturnType<typeof temporaryDir>;
  let root: string;
  beforeEach(async () => {
    dir = temporaryDir();
    root = join(dir.path, "root");
    fs.mkdirSync(join(dir.path, "attic"));
    const storage = createDiskStorage(root);
    await storage.commit([write("a", "old a"), write("b", "old b")]);
    await storage.settled();
  });
  afterEach(() => dir[Symbol.dispose]());

  /** A process that ends right after its answer. */
  async function answeredAndDead(power = new PowerCut(join(dir.path, "attic"), Infinity)): Promise<PowerCut> {
    await asDead(root, power.fs).commit(changes);
    power.off = true;
    expect(await contents(createDiskStorage(root))).toEqual(after);
    return power;
  }

  async function startedAnew(bootId: string): Promise<DiskStorage> {
    const storage = createDiskStorage(root, { fs: { ...nodeFs, bootId: () => bootId } });
    await storage.recover();
    await storage.swept;
    expect(leftovers(root)).toEqual([]);
    return storage;
  }

  it("survives the end of its process at once", async () => {
    const power = await answeredAndDead();
    expect(leftovers(root)).not.toEqual([]);
    expect(await contents(await startedAnew(power.fs.bootId()))).toEqual(after);
  });

  it("leaves alone what others did after a crash, however they did it", async () => {
    const power = await answeredAndDead();
    fs.rmSync(join(root, "a"));
    fs.writeFileSync(join(root, "b"), "theirs");
    fs.rmSync(join(root, "made"), { recursive: true });
    fs.rmSync(join(root, "d"));
    fs.mkdirSync(join(root, "d"));
    expect(await contents(await startedAnew(power.fs.bootId()))).toEqual({ b: "theirs", d: "/" });
  });

  it("leaves alone what others wrote after a power cut, and mends the rest", async () => {
    const power = await answeredAndDead();
    power.lose("names");
    expect(await contents(createDiskStorage(root))).toEqual({ a: "", b: "", d: "", made: "/", "made/c": "" });
    fs.appendFileSync(join(root, "b"), "theirs");
    fs.writeFileSync(join(root, "theirs"), "d");
    fs.renameSync(join(root, "theirs"), join(root, "d"));
    expect(await contents(await startedAnew("next"))).toEqual({ ...after, b: "theirs", d: "d" });
  });

  it("goes on where something else took the place of a directory that it made", async () => {
    const power = await answeredAndDead();
    power.lose("nothing");
    expect(await contents(createDiskStorage(root))).toEqual({ a: "old a", b: "old b" });
    fs.symlinkSync(dir.path, join(root, "made"));
    const storage = await startedAnew("next");
    expect(await contents(storage)).toEqual({ a: "new a", b: "new b", d: "new d" });
    expect(fs.existsSync(join(dir.path, "c"))).toBe(false);
  });

  it("keeps mode and time of its files", async () => {
    fs.chmodSync(join(root, "a"), 0o640);
    const power = await answeredAndDead();
    const { mtimeMs } = fs.statSync(join(root, "a"));
    power.lose("names");
    await startedAnew("next");
    const { mode, mtimeMs: again } = fs.statSync(join(root, "a"));
    expect(mode & 0o777).toBe(0o640);
    expect(again).toBeCloseTo(mtimeMs, 2);
  });

  it("is synced before its answer when another program came between", async () => {
    const power = new PowerCut(join(dir.path, "attic"), Infinity);
    const { renameSync } = power.fs;
    let meddled = false;
    // The first one gives the journal its name.
    power.fs.renameSync = (from, to) => {
      if (!meddled) {
        meddled = true;
        fs.writeFileSync(join(root, "theirs"), "theirs");
        fs.renameSync(join(root, "theirs"), join(root, "a"));
      }
      renameSync(from, to);
    };
    await answeredAndDead(power);
    expect(meddled).toBe(true);
    power.lose("nothing");
    expect(await contents(await startedAnew("next"))).toEqual(after);
  });

  it("is done again before the next one when it could not be synced", async () => {
    let broken = false;
    const storage = createDiskStorage(root, {
      fs: faultyFs((call) => {
        if (broken && call === "fsync") throw systemError("EIO", call);
      }),
    });
    await storage.commit(changes);
    broken = true;
    await storage.settled();
    expect(leftovers(root)).not.toEqual([]);
    await refused(storage.commit([{ op: "remove", path: "d" }]), "io");
    expect(await contents(storage)).toEqual(after);
    broken = false;
    await storage.commit([{ op: "remove", path: "d" }]);
    expect(await read(storage, "d")).toBeNull();
    expect(await read(storage, "a")).toBe("new a");
    expect(leftovers(root)).toEqual([]);
  });

  it("keeps other processes waiting until it is synced", async () => {
    const storage = createDiskStorage(root);
    await storage.commit(changes);
    const other = createDiskStorage(root);
    await other.commit([{ op: "remove", path: "d" }]);
    expect(leftovers(root)).toEqual([]);
  });

  it("is not held when it is large", async () => {
    const large = "x".repeat(5_000_000);
    const storage = createDiskStorage(root);
    await storage.commit([write("a", large), write("b", large)]);
    expect(leftovers(root)).toEqual([]);
  });

  it("is refused when its bytes could not be written, also when only the first try to sync them told so", async () => {
    const before = await contents(createDiskStorage(root));
    const storage = createDiskStorage(root, {
      fs: faultyFs((call) => {
        if (call === "fdatasync") throw systemError("EIO", call);
      }),
    });
    await refused(storage.commit(changes), "io");
    expect(await contents(storage)).toEqual(before);
    expect(leftovers(root)).toEqual([]);
  });

  it("leaks no descriptor, whatever goes wrong", async () => {
    const open = fs.readdirSync("/proc/self/fd").length;
    for (let at = 0; at < 60; at += 1) {
      const storage = createDiskStorage(root, {
        fs: faultyFs((call, index) => {
          if (index === at) throw systemError("EIO", call);
        }),
      });
      await storage.commit(changes).catch(() => undefined);
      await storage.settled();
      fs.rmSync(join(root, "d"), { force: true });
    }
    expect(fs.readdirSync("/proc/self/fd").length).toBe(open);
  });
});
