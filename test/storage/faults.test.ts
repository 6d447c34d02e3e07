import * as fs from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Change, Storage } from "../../lib/storage.ts";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { StorageError } from "../../lib/storage.ts";
import { contents, read, refused, write } from "./contract.ts";
import { faultyFs, systemError } from "./faulty-fs.ts";
import type { Fault } from "./faulty-fs.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

const scenarios: Record<string, Change[]> = {
  "one replaced file": [write("kept", "new")],
  "one created file": [write("fresh", "new", null)],
  "a created file with new parents": [write("x/y/z", "new")],
  "a removed tree": [{ op: "remove", path: "tree", recursive: true }],
  "several files": [
    write("kept", "new"),
    write("fresh", "new", null),
    write("x/y/z", "new"),
    write("x/y/w", "new"),
    write("tree/a", "new"),
  ],
  "many kinds at once": [
    write("kept", "new"),
    write("fresh", "new", null),
    write("x/y/z", "new"),
    { op: "remove", path: "tree", recursive: true },
    { op: "move", from: "moved", to: "deep/er/moved" },
    { op: "move", from: "over", to: "taken", replace: true },
    { op: "mkdir", path: "made" },
    { op: "remove", path: "gone" },
  ],
};

async function fill(root: string): Promise<Record<string, string>> {
  const storage = createDiskStorage(root);
  const names = ["kept", "tree/a", "tree/b/c", "moved", "over", "taken", "gone"];
  await storage.commit(names.map((name) => write(name, `old ${name}`)));
  await storage.settled();
  return contents(storage);
}

/** What a scenario leads to when nothing goes wrong. */
async function outcome(changes: Change[]): Promise<{ after: Record<string, string>; calls: number }> {
  using dir = temporaryDir();
  await fill(dir.path);
  const counting = faultyFs(() => undefined);
  const storage = createDiskStorage(dir.path, { fs: counting });
  await storage.commit(changes);
  await storage.settled();
  return { after: await contents(storage), calls: counting.calls() };
}

/** Runs a scenario with a fault and checks that it left everything old, or, if it was answered, everything new. */
async function allOrNothing(
  changes: Change[],
  after: Record<string, string>,
  fault: Fault,
): Promise<"ok" | string> {
  using dir = temporaryDir();
  const before = await fill(dir.path);
  const storage = createDiskStorage(dir.path, { fs: faultyFs(fault) });
  const end = await storage.commit(changes).then(
    () => "ok",
    (error: unknown) => (error instanceof StorageError ? error.code : `not a StorageError: ${String(error)}`),
  );
  expect(await contents(createDiskStorage(dir.path))).toEqual(end === "ok" ? after : before);
  await storage.settled();
  const again = createDiskStorage(dir.path);
  expect(await contents(again)).toEqual(end === "ok" ? after : before);
  // Takes nothing of this living process but a lock that a full disk left unclaimed.
  await again.recover();
  expect(leftovers(dir.path)).toEqual([]);
  return end;
}

const noLinks: Fault = (call) => {
  if (call === "linkSync") throw systemError("EPERM", call);
};

/** Does something behind the storage's back right before its n-th rename. */
function meddle(root: string, at: number, what: () => void): Storage {
  let renames = 0;
  const fault: Fault = (call) => {
    if (call !== "renameSync" && call !== "linkSync") return;
    if (renames === at) what();
    renames += 1;
  };
  return createDiskStorage(root, { fs: faultyFs(fault) });
}

const attempt = (storage: Storage, changes: Change[]): Promise<string> =>
  storage.commit(changes).then(
    (entries) => JSON.stringify(entries.map((entry) => entry && [entry.path, entry.kind, entry.size])),
    (error: unknown) => (error instanceof StorageError ? "refused" : String(error)),
  );

describe("a fault at every changing call", () => {
  for (const [name, changes] of Object.entries(scenarios)) {
    it(`leaves all or nothing of ${name}`, async () => {
      const { after, calls } = await outcome(changes);
      const codes = new Map<string, string>([
        ["EIO", "io"],
        ["EACCES", "denied"],
        ["ENOSPC", "no_space"],
      ]);
      const ends = new Set<string>();
      for (const [errno, code] of codes) {
        for (let at = 0; at < calls; at += 1) {
          const end = await allOrNothing(changes, after, (call, index) => {
            if (index === at) throw systemError(errno, call);
          });
          expect(["ok", code]).toContain(end);
          ends.add(end);
        }
      }
      for (const code of codes.values()) expect(ends).toContain(code);
    });
  }

  it("leaves all or nothing on a disk that is full from some moment on", async () => {
    const changes = scenarios["many kinds at once"] ?? [];
    const { after, calls } = await outcome(changes);
    const growing = new Set(["openSync", "writeSync", "write", "linkSync", "mkdirSync"]);
    for (let from = 0; from < calls; from += 1) {
      await allOrNothing(changes, after, (call, index) => {
        if (index >= from && growing.has(call)) throw systemError("ENOSPC", call);
      });
    }
  });

  it("works without hard links", async () => {
    for (const changes of Object.values(scenarios)) {
      const { after } = await outcome(changes);
      expect(await allOrNothing(changes, after, noLinks)).toBe("ok");
    }
    const { after, calls } = await outcome(scenarios["many kinds at once"] ?? []);
    for (let at = 0; at < calls + 10; at += 1) {
      await allOrNothing(scenarios["many kinds at once"] ?? [], after, (call, index, args) => {
        noLinks(call, index, args);
        if (index === at) throw systemError("EIO", call);
      });
    }
  });
});

describe("other programs in between", () => {
  it("never overwrites a file that appeared at the last moment", async () => {
    using dir = temporaryDir();
    const storage = meddle(dir.path, 0, () => fs.writeFileSync(join(dir.path, "f"), "theirs"));
    await refused(storage.commit([write("f", "mine", null)]), "conflict");
    expect(await contents(storage)).toEqual({ f: "theirs" });
    expect(leftovers(dir.path)).toEqual([]);
  });

  it("undoes a commit that meets a foreign change halfway, and keeps that change", async () => {
    using dir = temporaryDir();
    const plain = createDiskStorage(dir.path);
    await plain.commit([write("a", "1"), write("b", "1")]);
    const revision = (await plain.stat("b"))?.revision ?? "";
    const storage = meddle(dir.path, 1, () => fs.writeFileSync(join(dir.path, "b"), "theirs"));
    await refused(
      storage.commit([write("a", "2"), write("b", "2", revision), write("c/d", "2")]),
      "conflict",
    );
    expect(await contents(storage)).toEqual({ a: "1", b: "theirs" });
    expect(leftovers(dir.path)).toEqual([]);
  });

  it("does not follow a target that turned into a link", async () => {
    using dir = temporaryDir();
    const root = join(dir.path, "root");
    const outside = join(dir.path, "outside");
    fs.writeFileSync(outside, "canary");
    const plain = createDiskStorage(root);
    await plain.commit([write("a", "1"), write("b", "1")]);
    const storage = meddle(root, 1, () => {
      fs.unlinkSync(join(root, "b"));
      fs.symlinkSync(outside, join(root, "b"));
    });
    await refused(storage.commit([write("a", "2"), write("b", "2")]), "conflict");
    expect(fs.readFileSync(outside, "utf8")).toBe("canary");
    expect(await read(plain, "a")).toBe("1");
  });
});

describe("faults while reading and appending", () => {
  it("answers with what went wrong, leaks no descriptor, and works again", async () => {
    using dir = temporaryDir();
    await fill(dir.path);
    let broken: string | null = null;
    const storage = createDiskStorage(dir.path, {
      fs: faultyFs((call) => {
        if (call === broken) throw systemError("EIO", call);
      }),
    });
    const open = fs.readdirSync("/proc/self/fd").length;
    for (broken of ["openSync", "fstatSync", "readlinkSync", "readSync"])
      await refused(storage.readFile("kept"), "io");
    for (broken of ["openSync", "fstatSync", "readlinkSync"]) await refused(storage.stat("kept"), "io");
    for (broken of ["openSync", "readdirSync", "lstatSync"]) await refused(storage.list("tree"), "io");
    for (broken of ["openSync", "writeSync", "fdatasync"]) await refused(storage.append("kept", ["x"]), "io");
    for (broken of ["openSync", "write", "writeSync", "fsync", "futimesSync"]) {
      const body = new Response("x").body ?? new ReadableStream();
      if (broken !== "write") await refused(storage.stage("staged", body), "io");
    }
    broken = null;
    expect(fs.readdirSync("/proc/self/fd").length).toBe(open);
    expect(await read(storage, "kept")).toMatch(/^old kept/);
    expect(leftovers(dir.path)).toEqual([]);
  });

  it("skips an unreadable directory in a walk", async () => {
    using dir = temporaryDir();
    await fill(dir.path);
    const storage = createDiskStorage(dir.path, {
      fs: faultyFs((call, _, args) => {
        if (call === "openSync" && String(args[0]).endsWith("/tree/b")) throw systemError("EACCES", call);
      }),
    });
    const paths = Object.keys(await contents(storage));
    expect(paths).toContain("tree/b");
    expect(paths).not.toContain("tree/b/c");
    expect(paths).toContain("taken");
  });

  it("takes a half-written append back and writes the next one whole", async () => {
    using dir = temporaryDir();
    let short = false;
    const fs = faultyFs(() => undefined);
    const storage = createDiskStorage(dir.path, {
      fs: {
        ...fs,
        writeSync: (fd, bytes, offset, length) => fs.writeSync(fd, bytes, offset, short ? 3 : length),
      },
    });
    await storage.append("log", ["first"]);
    short = true;
    await refused(storage.append("log", ["second"]), "no_space");
    short = false;
    await storage.append("log", ["third"]);
    expect(await read(storage, "log")).toBe("first\nthird\n");
  });

  it("does not fail a commit whose remains cannot be cleaned up", async () => {
    using dir = temporaryDir();
    await fill(dir.path);
    let renamed = false;
    const storage = createDiskStorage(dir.path, {
      fs: faultyFs((call) => {
        renamed ||= call === "renameSync";
        if (renamed && call === "unlinkSync") throw systemError("EIO", call);
      }),
    });
    await storage.commit([write("kept", "new")]);
    expect(await read(storage, "kept")).toBe("new");
  });
});

describe("random commits", () => {
  const name = fc.constantFrom("a", "b", "c");
  const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
  const change: fc.Arbitrary<Change> = fc.oneof(
    fc.tuple(path, fc.string({ maxLength: 5 })).map(([path, text]) => write(path, text)),
    fc.tuple(path, fc.string({ maxLength: 5 })).map(([path, text]) => write(path, text, null)),
    fc.tuple(path, fc.boolean()).map(([path, recursive]): Change => ({ op: "remove", path, recursive })),
    path.map((path): Change => ({ op: "mkdir", path })),
    fc
      .tuple(path, path, fc.boolean())
      .map(([from, to, replace]): Change => ({ op: "move", from, to, replace })),
  );
  const commits = fc.array(fc.array(change, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 12 });

  it("end alike on disk and in memory", async () => {
    await fc.assert(
      fc.asyncProperty(commits, async (commits) => {
        using dir = temporaryDir();
        const disk = createDiskStorage(dir.path);
        const memory = createMemoryStorage();
        for (const changes of commits) {
          // Several steps that need each other are left to the storage; here each stands for itself.
          for (const change of changes)
            expect(await attempt(disk, [change])).toBe(await attempt(memory, [change]));
        }
        expect(await contents(disk)).toEqual(await contents(memory));
        await disk.settled();
        expect(leftovers(dir.path)).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  it("leave all old or all new under a random fault", async () => {
    await fc.assert(
      fc.asyncProperty(commits, fc.nat(40), async (commits, at) => {
        using dir = temporaryDir();
        const plain = createDiskStorage(dir.path);
        for (const changes of commits.slice(1)) await attempt(plain, changes);
        await plain.settled();
        const before = await contents(plain);
        const counted = faultyFs((call, index) => {
          if (index === at) throw systemError("EIO", call);
        });
        const storage = createDiskStorage(dir.path, { fs: counted });
        const end = await attempt(storage, commits[0] ?? []);
        await storage.settled();
        if (!end.startsWith("[")) expect(await contents(plain)).toEqual(before);
        expect(leftovers(dir.path)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });
});

describe("an append after one that failed", () => {
  it.each([
    ["could not sync the directory", "fsync"],
    ["could not write", "writeSync"],
    ["could not make the file in its new directory", "openSync"],
  ] as const)("brings the names of new directories and files to the disk: it %s", async (_, failing) => {
    using dir = temporaryDir();
    let broken = true;
    const synced = new Set<number>();
    const storage = createDiskStorage(dir.path, {
      fs: faultyFs((call, index, args) => {
        if (broken && call === failing && index >= 0) throw systemError("EIO", call);
        if (call === "fsync") synced.add(fs.fstatSync(args[0] as number).ino);
      }),
    });
    await refused(storage.append("made/log", ["one"]), "io");
    broken = false;
    await storage.append("made/log", ["two"]);
    expect(await read(storage, "made/log")).toContain("two\n");
    // Without these a power cut could take the whole file with it.
    for (const path of [dir.path, join(dir.path, "made")]) expect(synced).toContain(fs.statSync(path).ino);
    synced.clear();
    await storage.append("made/log", ["three"]);
    expect(synced).toEqual(new Set());
  });
});
