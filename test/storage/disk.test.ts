import * as fs from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { bytesOf, contents, read, refused, storageContract, textOf, write } from "./contract.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

for (const procfs of [true, false]) {
  storageContract(`disk, procfs ${procfs}`, async () => {
    const dir = temporaryDir();
    const storage = createDiskStorage(join(dir.path, "root"), { procfs });
    return {
      storage,
      dispose: async () => {
        await storage.settled();
        if (fs.existsSync(join(dir.path, "root"))) expect(leftoverBodies(dir.path)).toEqual([]);
        dir[Symbol.dispose]();
      },
    };
  });
}

/** Bodies that a test staged on purpose and left are fine; journals, backups and trash are not. */
function leftoverBodies(dir: string): string[] {
  return leftovers(dir).filter((name) => !/\.owtmp-[0-9a-f]{14}0[0-9a-f]{5}$/.test(name));
}

const longText = (i: number): string => String(i % 10).repeat(200_000);
const openFiles = (): number => fs.readdirSync("/proc/self/fd").length;

describe("disk", () => {
  let dir: ReturnType<typeof temporaryDir>;
  let root: string;
  beforeEach(() => {
    dir = temporaryDir();
    root = join(dir.path, "root");
  });
  afterEach(() => dir[Symbol.dispose]());

  it("a flat storage leaves what lies in subdirectories alone", async () => {
    const dead = ".owtmp-0123456789abcdef0123";
    fs.mkdirSync(join(root, "deep"), { recursive: true });
    for (const path of [dead, join("deep", dead)]) {
      fs.writeFileSync(join(root, path), "left behind");
      fs.utimesSync(join(root, path), 1, 1);
    }
    const storage = createDiskStorage(root, { flat: true });
    await storage.recover();
    await storage.swept;
    expect(fs.readdirSync(join(root, "deep"))).toEqual([dead]);
  });

  it("reads as empty until the first write makes the root, private when told so", async () => {
    const storage = createDiskStorage(join(root, "deep"), { fileMode: 0o600, dirMode: 0o700 });
    expect(await storage.list("")).toBeNull();
    expect(await storage.watch(() => undefined)).toBeNull();
    await refused(storage.commit([write("f", "x", "1:1")]), "conflict");
    expect(fs.existsSync(root)).toBe(false);
    await storage.commit([write("d/f", "secret")]);
    await storage.append("log", ["line"]);
    const modes = ["", "d", "d/f", "log"].map((name) =>
      (fs.statSync(join(root, "deep", name)).mode & 0o777).toString(8),
    );
    expect(modes).toEqual(["700", "700", "600", "600"]);
    fs.rmSync(root, { recursive: true });
    expect(await storage.list("")).toBeNull();
    await storage.commit([write("again", "x")]);
    expect(await contents(storage)).toEqual({ again: "x" });
  });

  it("follows a root that is a link, and one that appears later", async () => {
    const storage = createDiskStorage(root);
    expect(await storage.stat("f")).toBeNull();
    fs.mkdirSync(join(dir.path, "elsewhere"));
    fs.writeFileSync(join(dir.path, "elsewhere", "f"), "here");
    fs.symlinkSync("elsewhere", root);
    expect(await read(storage, "f")).toBe("here");
    await storage.commit([write("g", "new")]);
    expect(fs.readFileSync(join(dir.path, "elsewhere", "g"), "utf8")).toBe("new");
  });

  it("reports the very mtime of the file", async () => {
    const storage = createDiskStorage(root);
    const [entry] = await storage.commit([write("f", "x")]);
    expect(entry?.mtimeMs).toBe(fs.statSync(join(root, "f")).mtimeMs);
  });

  it("keeps the mode of a replaced file, and takes the umask for a new one", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, "script"), "old", { mode: 0o751 });
    fs.chmodSync(join(root, "script"), 0o751);
    await storage.commit([write("script", "new"), write("plain", "new")]);
    expect(fs.statSync(join(root, "script")).mode & 0o777).toBe(0o751);
    expect(fs.statSync(join(root, "plain")).mode & 0o777).toBe(0o666 & ~process.umask());
  });

  it.runIf(process.getuid?.() === 0)("keeps the owner of a replaced file", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, "f"), "old");
    fs.chownSync(join(root, "f"), 1234, 2345);
    await storage.commit([write("f", "new")]);
    expect(fs.statSync(join(root, "f"))).toMatchObject({ uid: 1234, gid: 2345 });
  });

  it("shows another revision after every write in place by others", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    const file = join(root, "f");
    const seen = new Set<string>();
    for (let i = 0; i < 20; i += 1) {
      fs.writeFileSync(file, `text ${i % 10}`);
      const got = await storage.readFile("f");
      expect(textOf(got?.bytes ?? new Uint8Array())).toBe(`text ${i % 10}`);
      seen.add(got?.entry.revision ?? "");
    }
    expect(seen.size).toBe(20);
  });

  it("is not deceived by a restored mtime", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    const put = (text: string): void => {
      fs.writeFileSync(join(root, "f"), text);
      fs.utimesSync(join(root, "f"), 1_700_000_000, 1_700_000_000);
    };
    put("one");
    const before = (await storage.readFile("f"))?.entry;
    put("two");
    const after = await storage.stat("f");
    expect(after?.mtimeMs).toBe(before?.mtimeMs);
    expect(after?.revision).not.toBe(before?.revision);
    await refused(storage.commit([write("f", "three", before?.revision ?? "")]), "conflict");
  });

  it("gives whole old or new files to readers while it replaces them", async () => {
    const storage = createDiskStorage(root);
    const other = createDiskStorage(root);
    await storage.commit([write("f", longText(0))]);
    const writing = new AbortController();
    const reader = async (): Promise<void> => {
      while (!writing.signal.aborted) {
        const file = await other.readFile("f");
        const got = textOf(file?.bytes ?? new Uint8Array());
        expect(got).toBe((got[0] ?? "?").repeat(200_000));
        const stream = await other.read("f");
        const streamed = await new Response(stream?.body).text();
        expect(streamed).toBe((streamed[0] ?? "?").repeat(200_000));
      }
    };
    const readers = [reader(), reader()];
    for (let i = 1; i < 40; i += 1) await storage.commit([write("f", longText(i))]);
    writing.abort();
    await Promise.all(readers);
  });

  it("fails a stream whose file shrinks or changes under it, and closes its descriptor", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    const before = openFiles();
    for (const spoil of [
      () => fs.truncateSync(join(root, "f"), 1000),
      () => fs.writeFileSync(join(root, "f"), Buffer.alloc(2_000_000, 2)),
    ]) {
      fs.writeFileSync(join(root, "f"), Buffer.alloc(2_000_000, 1));
      const stream = await storage.read("f");
      const reader = stream?.body.getReader();
      await reader?.read();
      spoil();
      const rest = async (): Promise<void> => {
        while (!(await reader?.read())?.done);
      };
      await expect(rest()).rejects.toMatchObject({ code: "io" });
    }
    const cancelled = await storage.read("f");
    await cancelled?.body.cancel();
    const whole = await storage.read("f");
    await new Response(whole?.body).arrayBuffer();
    await expect.poll(openFiles).toBe(before);
  });

  it("gives a file that grows all the time as it was when it was opened, whole", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    for (const size of [1000, 2_000_000]) {
      const before = Buffer.alloc(size, "line of a log\n");
      fs.writeFileSync(join(root, "log"), before);
      const file = await storage.read("log");
      const pieces: Uint8Array[] = [];
      for await (const piece of file?.body ?? []) {
        pieces.push(piece);
        fs.appendFileSync(join(root, "log"), "more\n");
      }
      expect(file?.entry.size).toBe(size);
      expect(Buffer.concat(pieces).equals(before)).toBe(true);
    }
  });

  it("fails a stream whose file is rewritten longer", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, "f"), Buffer.alloc(2_000_000, 1));
    const reader = (await storage.read("f"))?.body.getReader();
    await reader?.read();
    fs.writeFileSync(join(root, "f"), Buffer.alloc(3_000_000, 2));
    const rest = async (): Promise<void> => {
      while (!(await reader?.read())?.done);
    };
    await expect(rest()).rejects.toMatchObject({ code: "io" });
  });

  it("leaves names out that are not UTF-8, and still lists and removes the others", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(join(root, "d"), { recursive: true });
    const raw = (name: number[]): Buffer => Buffer.concat([Buffer.from(`${root}/d/`), Buffer.from(name)]);
    fs.writeFileSync(raw([0x66, 0xff]), "x");
    fs.writeFileSync(raw([0x66, 0xfe]), "y");
    fs.mkdirSync(raw([0xff]));
    fs.writeFileSync(Buffer.concat([raw([0xff]), Buffer.from("/in")]), "z");
    fs.writeFileSync(join(root, "d/\uFFFD"), "real");
    fs.writeFileSync(join(root, "d/ok"), "ok");
    expect((await storage.list("d"))?.map((entry) => entry.path)).toEqual(["d/ok", "d/\uFFFD"]);
    expect(await contents(storage)).toEqual({ d: "/", "d/ok": "ok", "d/\uFFFD": "real" });
    await storage.commit([{ op: "remove", path: "d", recursive: true }]);
    expect(fs.readdirSync(root)).toEqual([]);
  });

  it("removes very deep and write-protected trees", async () => {
    const storage = createDiskStorage(root);
    fs.mkdirSync(root);
    const cwd = process.cwd();
    process.chdir(root);
    fs.mkdirSync("deep");
    process.chdir("deep");
    // Deeper than one path can say, and than there should be descriptors.
    for (let i = 0; i < 1500; i += 1) {
      fs.mkdirSync("abcdefgh");
      process.chdir("abcdefgh");
    }
    process.chdir(cwd);
    fs.mkdirSync(join(root, "deep/shut/in"), { recursive: true });
    fs.writeFileSync(join(root, "deep/shut/in/f"), "x");
    fs.chmodSync(join(root, "deep/shut/in"), 0o500);
    fs.chmodSync(join(root, "deep/shut"), 0o500);
    await storage.commit([{ op: "remove", path: "deep", recursive: true }]);
    expect(fs.readdirSync(root)).toEqual([]);
  });

  it("refuses every change when read-only", async () => {
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, "f"), "x");
    const storage = createDiskStorage(root, { readOnly: true });
    await storage.recover();
    await refused(storage.commit([write("f", "y")]), "denied");
    await refused(storage.append("f", ["y"]), "denied");
    await refused(storage.stage("f", new Response("y").body ?? new ReadableStream()), "denied");
    expect(await read(storage, "f")).toBe("x");
  });

  it("tells when the watched root goes away", async () => {
    const storage = createDiskStorage(root);
    await storage.commit([write("f", "x")]);
    let lost = false;
    const watch = await storage.watch((batch) => {
      lost ||= batch.lost === true && batch.missed;
    });
    fs.rmSync(root, { recursive: true });
    await expect.poll(() => lost, { timeout: 5000 }).toBe(true);
    await watch?.close();
    expect(await createDiskStorage(root, { watch: false }).watch(() => undefined)).toBeNull();
  });

  it("walks 20 000 files without holding others up", async () => {
    fs.mkdirSync(root);
    for (let i = 0; i < 200; i += 1) {
      fs.mkdirSync(join(root, `d${i}`));
      for (let j = 0; j < 100; j += 1) fs.writeFileSync(join(root, `d${i}/f${j}`), "");
    }
    const storage = createDiskStorage(root);
    let turns = 0;
    const turn = (): void => {
      turns += 1;
      next = setImmediate(turn);
    };
    let next = setImmediate(turn);
    let count = 0;
    for await (const batch of storage.walk("")) count += batch.length;
    clearImmediate(next);
    expect(count).toBe(20_200);
    // Turns, not milliseconds: a busy machine stretches every one of them.
    expect(turns).toBeGreaterThan(5);
  });

  it("writes through a second name of a file without changing the first", async () => {
    const storage = createDiskStorage(root);
    await storage.commit([write("a", "1")]);
    fs.linkSync(join(root, "a"), join(root, "b"));
    await storage.commit([{ op: "write", path: "b", body: bytesOf("2") }]);
    expect(await contents(storage)).toEqual({ a: "1", b: "2" });
    fs.linkSync(join(root, "a"), join(root, "c"));
    await storage.commit([{ op: "move", from: "a", to: "c", replace: true }]);
    expect(await contents(storage)).toEqual({ b: "2", c: "1" });
  });
});
