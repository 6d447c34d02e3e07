import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeFs, type DiskFs } from "../../adapters/storage/disk/fs.ts";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Entry } from "../../lib/storage.ts";
import { systemError } from "../storage/faulty-fs.ts";
import { find, sorted } from "./support.ts";

const O_PATH = 0o10000000;

let dir = "";
beforeAll(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "openwork-walk-")));
  for (let d = 0; d < 70; d += 1) {
    const folder = join(dir, `d${d % 7}/${d}/ü "quoted"\n`);
    mkdirSync(folder, { recursive: true });
    for (let f = 0; f < 100; f += 1) writeFileSync(join(folder, `f${f}`), "x".repeat(f));
    symlinkSync("/etc", join(folder, "out"));
    symlinkSync("..", join(folder, "up"));
  }
  mkdirSync(join(dir, "flat"));
  for (let f = 0; f < 3000; f += 1) writeFileSync(join(dir, `flat/${f}`), "");
  writeFileSync(join(dir, "flat/.owtmp-0123456789abcdef0123"), "");
  execFileSync("mkfifo", [join(dir, "d0/fifo")]);
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/d0/bad-`), Buffer.from([0xff])]), "");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function walk(storage: ReturnType<typeof createDiskStorage>): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const batch of storage.walk("")) entries.push(...batch);
  return entries;
}

/** How many processes this one has started that still run. */
function children(): number {
  const tasks = readdirSync("/proc/self/task");
  return tasks.flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  ).length;
}

function byPath(entries: Entry[]): Map<string, Entry> {
  return new Map(entries.map((entry) => [entry.path, entry]));
}

/** The file system with a directory that this process may not read. */
const shut = (path: string): DiskFs => ({
  ...nodeFs,
  openSync: (...args) => {
    // As the system has it: a handle alone needs no permission.
    if (args[0] === path && (args[1] & O_PATH) === 0) throw systemError("EACCES", "open");
    return nodeFs.openSync(...args);
  },
});

describe("a walk of more entries than one goes through alone", () => {
  test("finds what find finds, each once, with what stat tells", async () => {
    const storage = createDiskStorage(dir);
    const entries = await walk(storage);
    const expected = find(dir);
    expected.delete("flat/.owtmp-0123456789abcdef0123");
    expect(sorted(new Map(entries.map((entry) => [entry.path, entry.kind === "dir"])))).toEqual(
      sorted(expected),
    );
    expect(entries).toHaveLength(expected.size);
    for (const entry of entries.filter((_, index) => index % 97 === 0)) {
      expect(await storage.stat(entry.path)).toEqual(entry);
    }
  });

  test("is the same without help", async () => {
    const alone = await walk(createDiskStorage(dir, { fs: { ...nodeFs } }));
    const storage = createDiskStorage(dir);
    expect(byPath(await walk(storage))).toEqual(byPath(alone));
    // Once the whole tree was looked at, help is called at once.
    const watch = await storage.watch(() => undefined);
    expect(byPath(await walk(storage))).toEqual(byPath(alone));
    await watch?.close();
  });

  test("takes a few processes, however many walks there are at a time", async () => {
    const storage = createDiskStorage(dir);
    let most = 0;
    const counting = async (): Promise<number> => {
      let found = 0;
      for await (const batch of storage.walk("")) {
        found += batch.length;
        most = Math.max(most, children());
      }
      return found;
    };
    const found = await Promise.all(Array.from({ length: 12 }, counting));
    expect(new Set(found).size).toBe(1);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(2);
    // Those that ended make room for the next.
    await expect.poll(children, { timeout: 20_000 }).toBe(0);
    most = 0;
    await counting();
    expect(most).toBeGreaterThan(0);
  });

  test("a root that may not be read is refused, not taken for an empty one; below, it is left out", async () => {
    await expect(walk(createDiskStorage(dir, { fs: shut(dir) }))).rejects.toMatchObject({ code: "denied" });
    const entries = await walk(createDiskStorage(dir, { fs: shut(join(dir, "flat")) }));
    expect(entries.some(({ path }) => path.startsWith("flat/"))).toBe(false);
    expect(entries.some(({ path }) => path.startsWith("d0/"))).toBe(true);
    expect(await walk(createDiskStorage(join(dir, "nowhere")))).toEqual([]);
  });

  test("goes on alone when the help cannot be started or dies", async () => {
    const { execPath } = process;
    const whole = (await walk(createDiskStorage(dir))).length;
    try {
      process.execPath = join(dir, "node");
      expect(await walk(createDiskStorage(dir))).toHaveLength(whole);
      writeFileSync(process.execPath, "#!/bin/sh\necho '[\"flat\",'\nexit 1\n", { mode: 0o755 });
      expect(await walk(createDiskStorage(dir))).toHaveLength(whole + 1);
    } finally {
      process.execPath = execPath;
      rmSync(join(dir, "node"), { force: true });
    }
  });

  test("can be broken off", async () => {
    const storage = createDiskStorage(dir);
    const gone = new AbortController();
    let seen = 0;
    await expect(async () => {
      for await (const batch of storage.walk("", { signal: gone.signal })) {
        seen += batch.length;
        if (seen > 5500) gone.abort();
      }
    }).rejects.toThrow();
    for await (const batch of storage.walk("")) {
      seen = batch.length;
      if (seen > 0) break;
    }
    expect(seen).toBeGreaterThan(0);
  });
});
