import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Entry, Storage } from "../../lib/storage.ts";
import { temporaryDir } from "./temporary-dir.ts";

/** Goes down one long name at a time, which paths cannot; in the lower directories lie files with names of all lengths. */
const dig = `
const fs = require("node:fs");
process.chdir(process.argv[1]);
const name = "d".repeat(200);
for (let depth = 1; depth <= 24; depth += 1) {
  fs.mkdirSync(name);
  process.chdir(name);
  for (let bytes = 3; bytes <= 202 && depth > 18 && depth < 22; bytes += 1)
    fs.writeFileSync(bytes % 2 === 0 ? "f".repeat(bytes) : "ü" + "f".repeat(bytes - 2), "x");
}
`;

/** A tree with paths that are longer than any that the system takes; with many entries beside them, if so wished. */
function longTree(others: number): string {
  const dir = temporaryDir();
  // What the system finds by no path is not removed by one.
  onTestFinished(() => void execFileSync("rm", ["-rf", dir.path]));
  execFileSync(process.execPath, ["-e", dig, dir.path]);
  for (let n = 0; n < others; n += 1) {
    const folder = join(dir.path, `many/${n % 50}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${n}`), "");
  }
  return dir.path;
}

async function walked(storage: Storage): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const batch of storage.walk("")) entries.push(...batch);
  return entries;
}

/** What of some entries is shown and yet not there for whoever asks for it. */
async function unreachable(storage: Storage, entries: readonly Entry[]): Promise<string[]> {
  const lost: string[] = [];
  for (const { path, kind } of entries) {
    const found = kind === "dir" ? storage.list(path) : storage.readFile(path);
    const isThere = await found.then((is) => is !== null).catch(() => false);
    if (!isThere) lost.push(`${kind} of ${path.length} characters`);
  }
  return lost;
}

const bytesOf = (root: string, entries: readonly Entry[]): number[] =>
  entries.map(({ path }) => Buffer.byteLength(join(root, path))).toSorted((a, b) => b - a);

describe.skipIf(process.platform !== "linux")("paths that are longer than the system takes", () => {
  it.each([
    ["a small tree", 0],
    ["a tree so large that processes of their own walk it", 6000],
  ])("%s shows what can be read, up to the last byte, and nothing else", async (_, others) => {
    const root = longTree(others);
    const storage = createDiskStorage(root, { watch: false });
    // The second walk knows how large the tree is, and begins with helpers.
    for (let walk = 0; walk < 2; walk += 1) {
      const entries = await walked(storage);
      expect(bytesOf(root, entries)[0]).toBe(4095);
      const long = entries.filter(({ path }) => path.length > 3000);
      expect(await unreachable(storage, long)).toEqual([]);
    }
    const [deepest] = (await walked(storage))
      .filter(({ kind }) => kind === "dir")
      .toSorted((a, b) => b.path.length - a.path.length);
    const listed = await storage.list(deepest?.path ?? "");
    expect(listed?.length).toBeGreaterThan(0);
    expect(await unreachable(storage, listed ?? [])).toEqual([]);
  });

  it("a path through a link counts by its own length as well", async () => {
    const root = longTree(0);
    const link = `l${"i".repeat(219)}`;
    symlinkSync("d".repeat(200), join(root, link));
    const storage = createDiskStorage(root, { watch: false });
    const through = [link, ...Array.from({ length: 19 }, () => "d".repeat(200))].join("/");
    const listed = (await storage.list(through)) ?? [];
    expect(listed.length).toBeGreaterThan(0);
    expect(await unreachable(storage, listed)).toEqual([]);
  });

  it("nothing is written where it could not be read", async () => {
    const root = longTree(0);
    const storage = createDiskStorage(root, { watch: false });
    const [parent = ""] = (await walked(storage))
      .filter(({ kind }) => kind === "dir")
      .map(({ path }) => path)
      .toSorted((a, b) => b.length - a.length);
    const room = 4095 - Buffer.byteLength(join(root, parent)) - 1;
    const body = new TextEncoder().encode("x");
    const [entry] = await storage.commit([{ op: "write", path: `${parent}/${"w".repeat(room)}`, body }]);
    expect(await unreachable(storage, entry ? [entry] : [])).toEqual([]);
    const refused = { code: "invalid_path", message: expect.stringContaining("is too long") };
    const tooLong = `${parent}/${"w".repeat(room + 1)}`;
    await expect(storage.commit([{ op: "write", path: tooLong, body }])).rejects.toMatchObject(refused);
    await expect(storage.commit([{ op: "mkdir", path: tooLong }])).rejects.toMatchObject(refused);
    writeFileSync(join(root, "short"), "");
    const move = { op: "move", from: "short", to: tooLong } as const;
    await expect(storage.commit([move])).rejects.toMatchObject(refused);
    const below = `${parent}/new/${"w".repeat(room)}`;
    await expect(storage.commit([{ op: "write", path: below, body }])).rejects.toMatchObject(refused);
  });
});
