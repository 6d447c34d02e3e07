import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { differences, expectSame, Mirror, settleMs } from "../support/mirror.ts";
import { freshDirectory, startServer } from "../support/server.ts";
import { eventually, find } from "./support.ts";

const repo = join(import.meta.dirname, "../..");
const run = promisify(execFile);

/** A real tree of more than 10 000 files: what this project has installed, without links and the largest. */
async function copyRealTree(to: string): Promise<void> {
  const list = "find -H node_modules test/node_modules -type f -size -200k -print0";
  await run("sh", ["-c", `${list} | tar -cf - --null -T - | tar -xf - -C "$0"`, to], { cwd: repo });
  writeFileSync(join(to, "large.bin"), Buffer.alloc(12_000_000, "not in a batch "));
}

/** Commits of two versions of a few hundred files; the first one is checked out. */
async function makeHistory(dir: string): Promise<(...args: string[]) => Promise<unknown>> {
  const git = (...args: string[]): Promise<unknown> =>
    run("git", ["-c", "user.name=test", "-c", "user.email=test@example.test", "-c", "gc.auto=0", ...args], {
      cwd: dir,
    });
  const put = (path: string, text: string): void => {
    mkdirSync(join(dir, path, ".."), { recursive: true });
    writeFileSync(join(dir, path), text);
  };
  await git("init", "-q", "-b", "one");
  for (let i = 0; i < 400; i += 1) put(`src/part${i % 20}/file${i}.txt`, `version one of ${i}\n`);
  put("src/old/only.txt", "only in one\n");
  await git("add", "src");
  await git("commit", "-qm", "one");
  await git("checkout", "-qb", "two");
  for (let i = 0; i < 300; i += 1) put(`src/part${i % 20}/file${i}.txt`, `version two of ${i}\n`);
  rmSync(join(dir, "src/old"), { recursive: true });
  renameSync(join(dir, "src/part19"), join(dir, "src/moved"));
  for (let i = 0; i < 50; i += 1) put(`src/new/deep/file${i}.txt`, `new ${i}\n`);
  await git("add", "-A", "src");
  await git("commit", "-qm", "two");
  await git("checkout", "-q", "one");
  return git;
}

/** Edits on both sides while nobody looks, some of the same files. */
function editBothSides(mirror: Mirror, there: string, here: string): void {
  mirror.kill("SIGSTOP");
  writeFileSync(join(there, "src/part1/file1.txt"), "edited there\n");
  writeFileSync(join(here, "src/part2/file2.txt"), "edited here\n");
  writeFileSync(join(there, "both.txt"), "new there\n");
  writeFileSync(join(here, "both.txt"), "new here\n");
  writeFileSync(join(there, "src/part3/file3.txt"), "conflict: there\n");
  writeFileSync(join(here, "src/part3/file3.txt"), "conflict: here\n");
  rmSync(join(here, "src/part4/file4.txt"));
  rmSync(join(there, "src/part5/file5.txt"));
  renameSync(join(here, "src/part6"), join(here, "src/renamed here"));
  mkdirSync(join(here, "src/empty/below"), { recursive: true });
  writeFileSync(join(here, "large here.bin"), Buffer.alloc(7_000_000, "large "));
  mirror.kill("SIGCONT");
}

const textOf = (...parts: string[]): string => readFileSync(join(...parts), "utf8");

it("the mirror example copies a large tree and follows a checkout and edits on both sides by events", async () => {
  const server = await startServer();
  const home = await freshDirectory("mirror");
  const [there, here] = [server.workspace, join(home, "copy")];
  let mirror: Mirror | null = null;
  try {
    await copyRealTree(there);
    expect([...find(there).values()].filter((isDir) => !isDir).length).toBeGreaterThan(10_000);
    const following = new Mirror(server, here, "--follow");
    mirror = following;
    await eventually(() => expect(following.lines("mirrored"), following.text).toHaveLength(1), settleMs);
    expect(await differences(there, here)).toBe("");
    const git = await makeHistory(there);
    await expectSame(there, here);
    await git("checkout", "-q", "two");
    await expectSame(there, here);
    await git("checkout", "-q", "one");
    await expectSame(there, here);
    expect(following.lines("conflict")).toEqual([]);
    expect(following.lines("sent")).toEqual([]);

    editBothSides(following, there, here);
    const conflicts = ["both.txt", "src/part3/file3.txt"];
    await eventually(() => {
      expect(following.lines("conflict"), following.text).toHaveLength(2);
      expect(following.lines("sent large here.bin"), following.text).toHaveLength(1);
    }, settleMs);
    await eventually(async () => {
      const lines = (await differences(there, here)).split("\n").filter(Boolean);
      expect(lines, following.text).toHaveLength(4);
    }, settleMs);
    expect(following.lines("conflict").toSorted().join("\n")).toMatch(
      /^conflict both\.txt: .*\nconflict src\/part3\/file3\.txt: .*$/,
    );
    for (const path of conflicts) {
      expect(textOf(here, path)).toMatch(/here\n$/);
      expect(textOf(there, path)).toMatch(/there\n$/);
      expect(textOf(here, `${path}.remote`)).toBe(textOf(there, path));
      expect(existsSync(join(there, `${path}.remote`))).toBe(false);
    }
    expect(textOf(here, "src/part1/file1.txt")).toBe("edited there\n");
    expect(textOf(there, "src/part2/file2.txt")).toBe("edited here\n");
    expect(existsSync(join(there, "src/part4/file4.txt"))).toBe(false);
    expect(existsSync(join(here, "src/part5/file5.txt"))).toBe(false);
    expect(existsSync(join(there, "src/part6"))).toBe(false);
    expect(existsSync(join(there, "src/renamed here/file6.txt"))).toBe(true);

    // Settled by removing the copies: what is here is sent.
    for (const path of conflicts) rmSync(join(here, `${path}.remote`));
    await eventually(() => expect(following.lines("sent both.txt")).toHaveLength(1), settleMs);
    await expectSame(there, here);
    expect(textOf(there, "both.txt")).toBe("new here\n");
    expect(following.lines("failed")).toEqual([]);
  } finally {
    mirror?.kill("SIGCONT");
    mirror?.kill();
    await mirror?.exited;
    await server.stop();
    rmSync(home, { recursive: true, force: true });
  }
}, 240_000);
