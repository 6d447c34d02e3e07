import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { lockName, TemporaryNames } from "../../adapters/storage/disk/names.ts";
import { buildOnce } from "../support/build.ts";
import { runChild } from "./child.ts";
import { contents, refused, write } from "./contract.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

/** Runs a child to its end; says whether it did all it had to. */
async function child(job: {
  root: string;
  name: string;
  times: number;
  dies?: boolean;
  procfs?: boolean;
}): Promise<boolean> {
  return (await runChild("two-child.mjs", job)).out === "done";
}

function listed(root: string): string[] {
  return JSON.parse(fs.readFileSync(join(root, "list.json"), "utf8"));
}

const numbered = (name: string, times: number): string[] =>
  Array.from({ length: times }, (_, i) => `${name}${i}`);

/** A root whose lock is held by a process that was killed. */
async function staleLock(root: string): Promise<void> {
  fs.writeFileSync(join(root, "list.json"), "[]");
  expect(await child({ root, name: "x", times: 1, dies: true })).toBe(false);
  expect(fs.readFileSync(join(root, lockName), "utf8")).toMatch(/^\.owtmp-\w{20}\n$/);
}

describe("two processes on one root", () => {
  it.each([true, false])("lose no update of one file, procfs %s", { timeout: 60_000 }, async (procfs) => {
    using dir = temporaryDir();
    const job = { root: dir.path, times: 150, procfs };
    const ends = await Promise.all([child({ ...job, name: "a" }), child({ ...job, name: "b" })]);
    expect(ends).toEqual([true, true]);
    expect(listed(dir.path).toSorted()).toEqual([...numbered("a", 150), ...numbered("b", 150)].toSorted());
    expect(leftovers(dir.path)).toEqual([]);
  });

  it("take over the lock of a killed one at once, and only one at a time", async () => {
    using dir = temporaryDir();
    await staleLock(dir.path);
    const start = performance.now();
    await createDiskStorage(dir.path).commit([write("f", "1")]);
    // One of another host would be waited for longer.
    expect(performance.now() - start).toBeLessThan(5000);
    expect(fs.existsSync(join(dir.path, lockName))).toBe(false);
    await staleLock(dir.path);
    const jobs = ["a", "b", "c", "d"].map((name) => child({ root: dir.path, name, times: 20 }));
    expect(await Promise.all(jobs)).toEqual([true, true, true, true]);
    expect(listed(dir.path)).toHaveLength(80);
  });

  it.runIf(process.platform === "linux")(
    "take over the lock of a killed one that its parent has not waited for",
    { timeout: 30_000 },
    async () => {
      using dir = temporaryDir();
      fs.writeFileSync(join(dir.path, "list.json"), "[]");
      const dist = await buildOnce();
      const job = JSON.stringify({ dist, root: dir.path, name: "x", times: 1, dies: true });
      const script = fileURLToPath(new URL("two-child.mjs", import.meta.url));
      // What takes the shell's place never waits for the child that the shell began.
      const lines = '"$@" & echo $!; exec sleep 60';
      const parent = spawn("sh", ["-c", lines, "sh", process.execPath, script, job]);
      try {
        const pid = await new Promise<string>((resolve) =>
          parent.stdout.once("data", (chunk) => resolve(String(chunk).trim())),
        );
        await expect
          .poll(() => fs.readFileSync(`/proc/${pid}/stat`, "utf8"), { timeout: 20_000 })
          .toMatch(/\) Z /);
        expect(fs.readFileSync(join(dir.path, lockName), "utf8")).toMatch(/^\.owtmp-\w{20}\n$/);
        await createDiskStorage(dir.path).commit([write("f", "1")]);
        expect(fs.existsSync(join(dir.path, lockName))).toBe(false);
      } finally {
        parent.kill();
      }
    },
  );

  it("lose nothing when takers of dead locks race", { timeout: 60_000 }, async () => {
    using dir = temporaryDir();
    const dead = `.owtmp-3fffff${new TemporaryNames().next("lock").slice(13, 17)}ffff400001\n`;
    const planting = setInterval(() => {
      try {
        fs.writeFileSync(join(dir.path, lockName), dead, { flag: "ax" });
      } catch {
        // Somebody holds it.
      }
    }, 1);
    const jobs = ["a", "b", "c"].map((name) => child({ root: dir.path, name, times: 60 }));
    expect(await Promise.all(jobs)).toEqual([true, true, true]);
    clearInterval(planting);
    expect(listed(dir.path)).toHaveLength(180);
  });
});

describe("the lock", () => {
  it("is given back after a refusal and swept with its dead owner", async () => {
    using dir = temporaryDir();
    const storage = createDiskStorage(dir.path);
    await storage.commit([write("f", "1")]);
    await refused(storage.commit([write("f", "2", "1:1")]), "conflict");
    expect(leftovers(dir.path)).toEqual([]);
    fs.writeFileSync(join(dir.path, lockName), "");
    await storage.recover();
    await storage.swept;
    expect(leftovers(dir.path)).toEqual([]);
  });

  it("holds others up for a while only, and is not swept", { timeout: 20_000 }, async () => {
    using dir = temporaryDir();
    const storage = createDiskStorage(dir.path);
    fs.writeFileSync(join(dir.path, lockName), `${new TemporaryNames().next("lock")}\n`);
    const start = performance.now();
    await refused(storage.commit([write("f", "1")]), "io");
    expect(performance.now() - start).toBeGreaterThan(9000);
    expect(await contents(storage)).toEqual({});
    expect(leftovers(dir.path)).toEqual([lockName]);
  });

  it("is never written through what was planted in its place", async () => {
    using dir = temporaryDir();
    const root = join(dir.path, "root");
    const outside = join(dir.path, "outside");
    fs.mkdirSync(root);
    fs.writeFileSync(outside, "canary");
    const plants = [
      (at: string) => fs.symlinkSync(outside, at),
      (at: string) => fs.symlinkSync("/nowhere/at/all", at),
      (at: string) => fs.linkSync(outside, at),
      (at: string) => fs.mkdirSync(join(at, "deep"), { recursive: true }),
      (at: string) => fs.writeFileSync(at, "x".repeat(100_000)),
      (at: string) => fs.writeFileSync(at, ".owtmp-torn.owt"),
    ];
    for (const [i, plant] of plants.entries()) {
      plant(join(root, lockName));
      const storage = createDiskStorage(root);
      await storage.commit([write("f", String(i))]);
      expect(fs.readFileSync(join(root, "f"), "utf8")).toBe(String(i));
      expect(fs.readFileSync(outside, "utf8")).toBe("canary");
      expect(leftovers(root)).toEqual([]);
    }
  });
});
