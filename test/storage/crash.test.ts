import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { runChild } from "./child.ts";
import { contents, write } from "./contract.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

interface Job {
  root: string;
  work: "commit" | "recover";
  changes?: unknown[];
  at: number;
  when: "before" | "after";
}

interface End {
  /** Whether the work was answered, and how many changing calls it took. */
  answered: boolean;
  calls: number;
  killed: boolean;
}

async function child(job: Job): Promise<End> {
  const { killed, out } = await runChild("crash-child.mjs", job);
  return { answered: out.startsWith("answered"), calls: Number(out.split(" ").at(-1)), killed };
}

const names = ["kept", "second", "tree/a", "tree/b/c", "moved", "gone"];

async function fill(root: string): Promise<Record<string, string>> {
  const storage = createDiskStorage(root);
  await storage.commit(names.map((name) => write(name, `old ${name}`)));
  await storage.settled();
  return contents(storage);
}

const single = [{ op: "write", path: "kept", body: "new" }];
const created = [{ op: "write", path: "x/y/z", body: "new", ifRevision: null }];
const several = [
  { op: "write", path: "kept", body: "new" },
  { op: "write", path: "x/y/z", body: "new", ifRevision: null },
  { op: "write", path: "second", body: "new" },
  { op: "remove", path: "tree", recursive: true },
  { op: "move", from: "moved", to: "to/here" },
  { op: "remove", path: "gone" },
];

const held = [
  { op: "write", path: "kept", body: "new" },
  { op: "write", path: "x/y/z", body: "new", ifRevision: null },
  { op: "write", path: "x/y/w", body: "new" },
  { op: "write", path: "tree/a", body: "new" },
];

/** What the work leads to undisturbed. */
async function outcome(changes: unknown[]): Promise<{ after: Record<string, string>; calls: number }> {
  using dir = temporaryDir();
  await fill(dir.path);
  const { answered, calls } = await child({
    root: dir.path,
    work: "commit",
    changes,
    at: -1,
    when: "before",
  });
  expect(answered).toBe(true);
  return { after: await contents(createDiskStorage(dir.path)), calls };
}

/** Recovers like a server that starts again, and checks that nothing is half done. Says which state it found. */
async function recovered(
  root: string,
  before: Record<string, string>,
  after: Record<string, string>,
  ends: End[],
): Promise<"old" | "new"> {
  const storage = createDiskStorage(root);
  await storage.recover();
  await storage.swept;
  const now = await contents(storage);
  const state = JSON.stringify(now) === JSON.stringify(after) ? "new" : "old";
  expect(now).toEqual(state === "new" ? after : before);
  if (ends.some((end) => end.answered)) expect(state).toBe("new");
  expect(leftovers(root)).toEqual([]);
  return state;
}

/** Runs jobs two at a time. */
async function pairs<T>(jobs: (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  const left = jobs.values();
  const worker = async (): Promise<void> => {
    for (const job of left) results.push(await job());
  };
  await Promise.all([worker(), worker(), worker()]);
  return results;
}

describe("a server killed at every changing call", () => {
  for (const [name, changes] of Object.entries({ single, created, several, held })) {
    it(`finds all old or all new again: ${name}`, async () => {
      const { after, calls } = await outcome(changes);
      const jobs = [];
      for (let at = 0; at < calls; at += 1) {
        for (const when of ["before", "after"] as const) {
          jobs.push(async () => {
            using dir = temporaryDir();
            const before = await fill(dir.path);
            const end = await child({ root: dir.path, work: "commit", changes, at, when });
            expect(end.killed).toBe(true);
            return await recovered(dir.path, before, after, [end]);
          });
        }
      }
      const states = await pairs(jobs);
      // Some kills come before the point of no return, some after it.
      expect(new Set(states)).toEqual(new Set(["old", "new"]));
    });
  }

  it.each([
    ["several", several],
    ["held", held],
  ])("recovers from a crash in the middle of recovering: %s", async (_, changes) => {
    const { after, calls } = await outcome(changes);
    const jobs = [];
    for (const first of [0.45, 0.6, 0.75]) {
      for (let at = 0; at < 24; at += 2) {
        jobs.push(async () => {
          using dir = temporaryDir();
          const before = await fill(dir.path);
          const job = { root: dir.path, changes, when: "after" } as const;
          const one = await child({ ...job, work: "commit", at: Math.floor(calls * first) });
          const two = await child({ ...job, work: "recover", at });
          expect(one.killed).toBe(true);
          const state = await recovered(dir.path, before, after, [one]);
          return { state, killed: two.killed };
        });
      }
    }
    const states = await pairs(jobs);
    expect(states.some(({ killed }) => killed)).toBe(true);
  });
});

/** The host part of our own names, as a dead process of this host would have it. */
async function hostTag(): Promise<string> {
  using dir = temporaryDir();
  const staged = await createDiskStorage(dir.path).stage("f", new Response("x").body ?? new ReadableStream());
  return staged.id.slice(13, 17);
}

const tag = await hostTag();

/** The sum that a journal carries; anybody can compute it, so the steps must not be trusted for it. */
function checksum(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9dc5811c;
  for (let i = 0; i < text.length; i += 1) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x85ebca6b) ^ (a >>> 13);
  }
  return `${a >>> 0}.${b >>> 0}`;
}

/** A name that a dead process of this host would have left. */
const dead = (kind: number, n: number): string =>
  `.owtmp-3fffff${tag}ffff${kind}${String(n).padStart(5, "0")}`;

describe("recovery", () => {
  it("sweeps what the dead left, everywhere, and spares the living", async () => {
    using dir = temporaryDir();
    const living = createDiskStorage(dir.path);
    const staged = await living.stage("a/b/up", new Response("living").body ?? new ReadableStream());
    fs.mkdirSync(join(dir.path, "node_modules/x/y"), { recursive: true });
    fs.writeFileSync(join(dir.path, "node_modules/x/y", dead(0, 1)), "body");
    fs.mkdirSync(join(dir.path, ".opencode/skills", dead(3, 2), "inner"), { recursive: true });
    fs.writeFileSync(join(dir.path, ".opencode/skills", dead(3, 2), "inner/f"), "trash");
    fs.writeFileSync(join(dir.path, dead(1, 3)), "openwork-journal-1\ntorn");
    const foreign = `.owtmp-000001${"0".repeat(8)}000001`;
    fs.writeFileSync(join(dir.path, foreign), "of a host we cannot ask");
    const storage = createDiskStorage(dir.path);
    await storage.recover();
    expect(fs.readdirSync(join(dir.path, ".opencode/skills"))).toEqual([]);
    await storage.swept;
    expect(leftovers(dir.path).toSorted()).toEqual([foreign, staged.id].toSorted());
    await living.commit([{ op: "write", path: "a/b/up", body: staged }]);
    expect((await contents(storage))["a/b/up"]).toBe("living");
  });

  it("finishes a journal that is found, and ignores one with a wrong sum", async () => {
    using dir = temporaryDir();
    for (const [name, sum] of [
      ["gone", checksum],
      ["kept", () => "1.1"],
    ] as const) {
      fs.writeFileSync(join(dir.path, name), name);
      const { ino, mtimeMs, size } = fs.statSync(join(dir.path, name));
      const print = `${ino}:${mtimeMs}:${size}`;
      const body = JSON.stringify([{ do: "remove", dir: "", name, trash: dead(3, 1), print }]);
      fs.writeFileSync(join(dir.path, dead(1, 1)), `openwork-journal-1\n${body}\n${sum(body)}\n`);
      await createDiskStorage(dir.path).recover();
    }
    expect(fs.readdirSync(dir.path)).toEqual(["kept"]);
  });

  it("finishes a journal that holds the bytes, and ignores one that is cut short or does not come out even", async () => {
    using dir = temporaryDir();
    const held = { mode: 0o640, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, size: 5 };
    const put = { do: "put", dir: "a/b", from: "", print: "1:1:5", old: null, held };
    const steps = [
      { do: "mkdir", dir: "", name: "a" },
      { do: "mkdir", dir: "a", name: "b" },
      { ...put, name: "one", temp: dead(0, 1), backup: dead(2, 1) },
      { ...put, name: "two", temp: dead(0, 2), backup: dead(2, 2) },
    ];
    const body = JSON.stringify({ boot: "another", steps });
    const said = `${body}\n${checksum(body)}\n`;
    for (const [held, found] of [
      [`10\n12345a\nb\nc${body}\n`, {}],
      [`10\n12345a\nb${said}`, {}],
      [`8\n12345a\nb${said}`, {}],
      [`12\n12345a\nb\nc\nd${said}`, {}],
      [`10\n12345a\nb\nc${said}`, { one: "12345", two: "a\nb\nc" }],
    ] as const) {
      fs.writeFileSync(join(dir.path, dead(1, 1)), `openwork-journal-2\n${held}`);
      const storage = createDiskStorage(dir.path);
      await storage.recover();
      await storage.swept;
      expect(leftovers(dir.path)).toEqual([]);
      const files = fs.existsSync(join(dir.path, "a/b")) ? fs.readdirSync(join(dir.path, "a/b")) : [];
      expect(files).toEqual(Object.keys(found));
      for (const [name, text] of Object.entries(found))
        expect(fs.readFileSync(join(dir.path, "a/b", name), "utf8")).toBe(text);
    }
    expect(fs.statSync(join(dir.path, "a/b/one")).mode & 0o777).toBe(0o640);
  });

  it("does not let a planted journal reach outside", async () => {
    using dir = temporaryDir();
    const root = join(dir.path, "root");
    const outer = join(dir.path, "outer");
    fs.mkdirSync(outer);
    fs.writeFileSync(join(outer, "canary"), "canary");
    fs.mkdirSync(root);
    fs.symlinkSync(outer, join(root, "link"));
    const { ino, mtimeMs, size } = fs.statSync(join(outer, "canary"));
    const print = `${ino}:${mtimeMs}:${size}`;
    const trash = dead(3, 1);
    const steps = [
      { do: "remove", dir: "link", name: "canary", trash, print },
      { do: "remove", dir: "..", name: "outer", trash, print: `d${fs.statSync(outer).ino}` },
      { do: "remove", dir: "../outer", name: "canary", trash, print },
      { do: "remove", dir: "", name: "../outer", trash, print },
      { do: "remove", dir: outer, name: "canary", trash, print },
      {
        do: "move",
        dir: "link",
        name: "canary",
        toDir: "",
        toName: "stolen",
        print,
        old: null,
        backup: dead(2, 1),
      },
      { do: "remove", dir: "", name: "x", trash: "../outer/canary", print },
      {
        do: "put",
        dir: "link",
        name: "new",
        from: "",
        temp: dead(0, 1),
        print,
        old: null,
        backup: dead(2, 1),
      },
    ];
    const journals = steps.map((step) => [1, [step]] as const);
    const held = { mode: 0o644, uid: 0, gid: 0, size: 4 };
    const put = { do: "put", print, old: null, backup: dead(2, 1), temp: dead(0, 1), from: "", held };
    const inner = { do: "mkdir", dir: "link", name: "made" };
    const holding = [
      [{ ...put, dir: "link", name: "canary" }],
      [{ ...put, dir: "link", name: "new" }],
      [{ ...put, dir: "..", name: "new" }],
      [{ ...put, dir: "", name: "../outer/new" }],
      [{ ...put, dir: "", name: "new", from: "link" }],
      [inner, { ...put, dir: "link/made", name: "new" }],
      [
        { do: "mkdir", dir: "", name: "link" },
        { ...put, dir: "link", name: "new" },
      ],
      [
        { do: "remove", dir: "link", name: "canary", trash, print },
        { ...put, dir: "", name: "new" },
      ],
    ].map((row) => [2, { boot: "", steps: row }] as const);
    for (const [i, [version, content]] of [...journals, ...holding].entries()) {
      for (const mark of ["", "undo\n"]) {
        const body = JSON.stringify(content);
        const bytes = version === 2 ? "evil" : "";
        fs.writeFileSync(
          join(root, dead(1, i)),
          `openwork-journal-${version}\n${body}\n${checksum(body)}\n${bytes}${mark}`,
        );
        fs.writeFileSync(join(root, dead(0, 1)), "body");
        const storage = createDiskStorage(root);
        await storage
          .recover()
          .catch((error: unknown) => expect(error).toMatchObject({ name: "StorageError" }));
        await storage.swept;
        expect(fs.readdirSync(outer)).toEqual(["canary"]);
        expect(fs.readFileSync(join(outer, "canary"), "utf8")).toBe("canary");
        expect(fs.existsSync(join(root, "stolen"))).toBe(false);
        fs.rmSync(join(root, "new"), { force: true });
      }
    }
  });
});
