import * as fs from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import type { Change } from "../../lib/storage.ts";
import { contents, write } from "./contract.ts";
import { asDead, PowerCut } from "./power.ts";
import type { Keeping } from "./power.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

async function fill(root: string): Promise<void> {
  const storage = createDiskStorage(root);
  const names = ["a", "b", "c", "tree/a", "tree/b/c", "moved"];
  await storage.commit(names.map((name) => write(name, `old ${name}`)));
  await storage.settled();
}

interface Run {
  power: PowerCut;
  answered: number;
}

/** Commits one after another until the power goes. */
async function commitAll(root: string, attic: string, commits: Change[][], at: number): Promise<Run> {
  fs.mkdirSync(attic);
  const power = new PowerCut(attic, at);
  const storage = asDead(root, power.fs);
  let answered = 0;
  for (const changes of commits) {
    const isDone = await storage.commit(changes).then(
      () => true,
      () => false,
    );
    if (!isDone || power.off) break;
    answered += 1;
  }
  await storage.settled();
  return { power, answered };
}

/** What is there after each of the commits, and how many changing calls they take. */
async function outcomes(commits: Change[][]): Promise<{ states: string[]; calls: number }> {
  const states: string[] = [];
  let calls = 0;
  for (let count = 0; count <= commits.length; count += 1) {
    using dir = temporaryDir();
    const root = join(dir.path, "root");
    await fill(root);
    const { power } = await commitAll(root, join(dir.path, "attic"), commits.slice(0, count), Infinity);
    states.push(JSON.stringify(await contents(createDiskStorage(root))));
    calls = power.calls;
  }
  return { states, calls };
}

/** The state after a power cut before a call and a new start: its number, and how many commits had been answered. */
async function afterCut(
  commits: Change[][],
  states: readonly string[],
  at: number,
  keeping: Keeping,
): Promise<{ state: number; answered: number }> {
  using dir = temporaryDir();
  const root = join(dir.path, "root");
  await fill(root);
  const { power, answered } = await commitAll(root, join(dir.path, "attic"), commits, at);
  power.lose(keeping);
  const storage = createDiskStorage(root, { fs: { ...nodeFs, bootId: () => "after the power cut" } });
  await storage.recover();
  await storage.swept;
  expect(leftovers(root)).toEqual([]);
  const now = JSON.stringify(await contents(storage));
  const state = states.indexOf(now);
  expect(
    state,
    `cut before call ${at}, ${keeping} kept, ${answered} answered: ${now}`,
  ).toBeGreaterThanOrEqual(answered);
  return { state, answered };
}

const large = "x".repeat(100_000);
const workloads: Record<string, Change[][]> = {
  "one file": [[write("a", "new")]],
  "several small files": [
    [
      write("a", "new"),
      write("b", large),
      write("x/y/z", "new", null),
      write("x/y/w", "new"),
      write("tree/a", ""),
    ],
  ],
  "many kinds of changes": [
    [
      write("a", "new"),
      write("x/y/z", "new"),
      { op: "remove", path: "tree", recursive: true },
      { op: "move", from: "moved", to: "to/here" },
    ],
  ],
  "files that are written, written again and removed": [
    [write("a", "1"), write("n/b", "1")],
    [write("a", "2"), write("n/b", "2"), write("n/c", "2")],
    [{ op: "remove", path: "n/c" }],
    [write("a", "3")],
    [{ op: "remove", path: "n/b" }],
    [write("n/b", "5"), write("a", "5")],
  ],
};

describe("a power cut before every changing call", () => {
  for (const [name, commits] of Object.entries(workloads)) {
    for (const keeping of ["names", "half", "nothing"] as const) {
      it(
        `keeps all that was answered, and nothing in halves: ${name}, ${keeping} kept`,
        { timeout: 120_000 },
        async () => {
          const { states, calls } = await outcomes(commits);
          const seen = new Set<number>();
          for (let at = 0; at <= calls; at += 1)
            seen.add((await afterCut(commits, states, at, keeping)).state);
          expect(seen.size).toBe(states.length);
        },
      );
    }
  }
});

describe("a power cut while a start recovers from one", () => {
  const commits = workloads["several small files"] ?? [];
  for (const [first, second] of [
    ["names", "nothing"],
    ["nothing", "names"],
    ["half", "half"],
  ] as const) {
    it(
      `ends in the new state all the same: first ${first} kept, then ${second}`,
      { timeout: 120_000 },
      async () => {
        const { states } = await outcomes(commits);
        for (let at = 0, isThrough = false; !isThrough; at += 1) {
          using dir = temporaryDir();
          const root = join(dir.path, "root");
          await fill(root);
          fs.mkdirSync(join(dir.path, "attic"));
          const one = new PowerCut(join(dir.path, "attic"), Infinity);
          await asDead(root, one.fs).commit(commits[0] ?? []);
          one.lose(first);
          fs.mkdirSync(join(dir.path, "attic2"));
          const two = new PowerCut(join(dir.path, "attic2"), at);
          const middle = asDead(root, { ...two.fs, bootId: () => "between" }, 1);
          await middle.recover().catch(() => undefined);
          await middle.swept;
          isThrough = !two.off;
          two.lose(second);
          const storage = createDiskStorage(root);
          await storage.recover();
          await storage.swept;
          expect(JSON.stringify(await contents(storage)), `cut before call ${at}`).toBe(states[1]);
          expect(leftovers(root)).toEqual([]);
        }
      },
    );
  }
});

describe("a power cut while a commit is taken back", () => {
  const changes = [write("a", "new"), write("b", large), write("d", "new", null), write("e", "new")];
  const clock = Date.now;

  // Older kernels stamp files with the time of their last tick, up to ten milliseconds ago.
  beforeEach(() => void vi.spyOn(Date, "now").mockImplementation(() => clock() + 8));
  afterEach(() => void vi.restoreAllMocks());

  for (const keeping of ["names", "half", "nothing"] as const) {
    it(
      `ends in the old state once it was refused, and never in halves: ${keeping} kept`,
      { timeout: 120_000 },
      async () => {
        const seen = new Set<string>();
        for (let at = 0, isThrough = false; !isThrough; at += 1) {
          using dir = temporaryDir();
          const root = join(dir.path, "root");
          await fill(root);
          fs.mkdirSync(join(dir.path, "attic"));
          const power = new PowerCut(join(dir.path, "attic"), at);
          const { linkSync } = power.fs;
          let links = 0;
          // The third one puts "d" into place.
          power.fs.linkSync = (from, to) => {
            if ((links += 1) === 3) fs.writeFileSync(join(root, "d"), "theirs");
            linkSync(from, to);
          };
          const refused = await asDead(root, power.fs)
            .commit(changes)
            .then(
              () => false,
              () => !power.off,
            );
          isThrough = !power.off;
          power.lose(keeping);
          const storage = createDiskStorage(root, { fs: { ...nodeFs, bootId: () => "after the power cut" } });
          await storage.recover();
          await storage.swept;
          expect(leftovers(root)).toEqual([]);
          const { a, b, d, e } = await contents(storage);
          const state = a === "new" ? "new" : "old";
          const others = state === "new" ? { a, b: large, e } : { a: "old a", b: "old b", e: undefined };
          expect({ a, b, e }, `cut before call ${at}`).toEqual(others);
          if (links >= 3) expect(d).toBe("theirs");
          if (refused) expect(state).toBe("old");
          seen.add(state);
        }
        expect(seen.size).toBe(2);
      },
    );
  }
});
