import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { differences, expectSame, Mirror, settleMs } from "../support/mirror.ts";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";
import { eventually } from "./support.ts";

const textOf = (...parts: string[]): string => readFileSync(join(...parts), "utf8");

function put(dir: string, path: string, text: string): void {
  mkdirSync(join(dir, path, ".."), { recursive: true });
  writeFileSync(join(dir, path), text);
}

let home: string;
let server: TestServer;
let mirror: Mirror | undefined;
let there: string;
let here: string;

beforeEach(async () => {
  home = await freshDirectory("mirror-again");
  [there, here] = [join(home, "there"), join(home, "here")];
  for (const dir of [there, here]) mkdirSync(dir);
  server = await startServer({ home, workspace: there });
});

afterEach(async () => {
  mirror?.kill("SIGCONT");
  mirror?.kill();
  await mirror?.exited;
  mirror = undefined;
  await server.stop();
  rmSync(home, { recursive: true, force: true });
});

async function follow(): Promise<Mirror> {
  const started = new Mirror(server, here, "--follow");
  mirror = started;
  await eventually(() => expect(started.lines("mirrored"), started.text).toHaveLength(1), settleMs);
  return started;
}

it("a target that has files already keeps them: differences are conflicts, with both versions kept", async () => {
  put(there, "same", "the same");
  put(here, "same", "the same");
  put(there, "differs", "there");
  put(here, "differs", "here");
  put(there, "dir/only there", "there");
  put(here, "only here", "here");
  put(there, "a file there", "file");
  put(here, "a file there/inside", "a directory here");
  put(there, "a directory there/inside", "inside");
  put(here, "a directory there", "a file here");
  const once = new Mirror(server, here);
  expect(await once.exited, once.text).toBe(0);
  const conflicts = ["a directory there/inside", "a file there", "differs"];
  expect(
    once
      .lines("conflict")
      .map((line) => line.slice("conflict ".length, line.indexOf(":")))
      .toSorted(),
  ).toEqual(conflicts);
  expect(once.lines("failed").join("\n")).toContain("a directory there");
  expect(textOf(here, "differs")).toBe("here");
  expect(textOf(here, "differs.remote")).toBe("there");
  expect(textOf(here, "only here")).toBe("here");
  expect(textOf(here, "dir/only there")).toBe("there");
  expect(textOf(here, "a file there/inside")).toBe("a directory here");
  expect(textOf(here, "a directory there")).toBe("a file here");
  expect(existsSync(join(there, "only here"))).toBe(false);

  const following = await follow();
  await eventually(() => expect(following.lines("sent only here"), following.text).toHaveLength(1), settleMs);
  expect(textOf(there, "differs")).toBe("there");
  expect(textOf(here, "differs")).toBe("here");
  expect(textOf(there, "a directory there/inside")).toBe("inside");
  expect(textOf(there, "a file there")).toBe("file");
  expect(following.lines("removed")).toEqual([]);
});

it("after the server was away it goes on, with what both sides did meanwhile", async () => {
  for (let n = 0; n < 50; n += 1) put(there, `dir-${n % 5}/file-${n}`, `file ${n}`);
  const following = await follow();
  await expectSame(there, here);
  const { port } = new URL(server.url);
  await server.stop();
  put(there, "dir-1/file-1", "changed there");
  put(there, "new/there", "new there");
  rmSync(join(there, "dir-2/file-2"));
  put(here, "dir-3/file-3", "changed here");
  put(here, "new/here", "new here");
  rmSync(join(here, "dir-4/file-4"));
  put(there, "dir-0/file-0", "both: there");
  put(here, "dir-0/file-0", "both: here");
  server = await startServer({ home, workspace: there, flags: ["--port", port] });
  await eventually(() => {
    expect(following.lines("conflict dir-0/file-0"), following.text).toHaveLength(1);
    expect(following.lines("sent new/here"), following.text).toHaveLength(1);
  }, settleMs);
  await eventually(async () => {
    const lines = (await differences(there, here)).split("\n").filter(Boolean);
    expect(lines.toSorted()).toEqual([
      `Files ${there}/dir-0/file-0 and ${here}/dir-0/file-0 differ`,
      `Only in ${here}/dir-0: file-0.remote`,
    ]);
  }, settleMs);
  expect(textOf(here, "dir-0/file-0")).toBe("both: here");
  expect(textOf(there, "dir-0/file-0")).toBe("both: there");
  expect(textOf(here, "dir-1/file-1")).toBe("changed there");
  expect(textOf(there, "dir-3/file-3")).toBe("changed here");
  expect(existsSync(join(here, "dir-2/file-2"))).toBe(false);
  expect(existsSync(join(there, "dir-4/file-4"))).toBe(false);
  // And events come again.
  put(there, "dir-1/file-1", "changed once more");
  await eventually(() => expect(textOf(here, "dir-1/file-1")).toBe("changed once more"), settleMs);
}, 240_000);

it("killed and started again it knows what both sides had: changes are no conflicts, deleted files stay deleted", async () => {
  for (let n = 0; n < 50; n += 1) put(there, `dir-${n % 5}/file-${n}`, `file ${n}`);
  put(there, "both", "before");
  const first = await follow();
  await expectSame(there, here);
  first.kill("SIGKILL");
  await first.exited;
  put(there, "dir-1/file-1", "changed there");
  rmSync(join(there, "dir-2"), { recursive: true });
  put(here, "dir-3/file-3", "changed here");
  rmSync(join(here, "dir-4/file-4"));
  put(there, "both", "there");
  put(here, "both", "here");
  const second = await follow();
  await eventually(() => expect(existsSync(join(there, "dir-4/file-4")), second.text).toBe(false), settleMs);
  await eventually(() => expect(textOf(there, "dir-3/file-3")).toBe("changed here"), settleMs);
  const differing = [`Files ${there}/both and ${here}/both differ`, `Only in ${here}: both.remote`];
  const found = async (): Promise<string[]> => (await differences(there, here)).split("\n").filter(Boolean);
  await eventually(async () => expect(await found()).toEqual(differing), settleMs);
  expect(textOf(here, "dir-1/file-1")).toBe("changed there");
  expect(existsSync(join(here, "dir-2"))).toBe(false);
  expect(second.lines("conflict")).toHaveLength(1);
  // Of what the killed one had begun nothing is left, and a conflict is not told again as if it were new.
  second.kill();
  await second.exited;
  expect(readdirSync(home).filter((name) => name.startsWith("here"))).toEqual(["here", "here.mirror"]);
  expect(readdirSync(join(home, "here.mirror"))).toEqual(["known.json"]);
  const third = await follow();
  put(here, "last", "of all");
  await eventually(() => expect(existsSync(join(there, "last")), third.text).toBe(true), settleMs);
  expect(third.lines("conflict")).toEqual([]);
  expect(existsSync(join(there, "both.remote"))).toBe(false);
});

it("nothing is deleted on the other side because a whole folder is gone or empty when it starts", async () => {
  put(there, "dir/file", "kept");
  put(there, "file", "kept");
  const started = async (): Promise<void> => {
    const once = new Mirror(server, here);
    expect(await once.exited, once.text).toBe(0);
  };
  await started();
  rmSync(here, { recursive: true });
  let following = await follow();
  await expectSame(there, here);
  expect(textOf(here, "dir/file")).toBe("kept");
  following.kill();
  await following.exited;
  for (const name of ["dir", "file"]) rmSync(join(there, name), { recursive: true });
  await started();
  expect(textOf(here, "dir/file")).toBe("kept");
  following = await follow();
  await eventually(() => expect(existsSync(join(there, "dir/file")), following.text).toBe(true), settleMs);
  await expectSame(there, here);
});

it("one that fell too far behind looks at everything again", async () => {
  put(there, "kept", "first");
  put(there, "gone", "first");
  const following = await follow();
  await expectSame(there, here);
  following.kill("SIGSTOP");
  put(here, "mine", "written while nobody looked");
  // More events than are kept and than fit into the connection.
  for (let n = 0; n < 70_000; n += 1) put(there, `flood-${n % 30}/${n}`, "");
  for (let n = 0; n < 30; n += 1) rmSync(join(there, `flood-${n}`), { recursive: true });
  put(there, "kept", "changed after the flood");
  rmSync(join(there, "gone"));
  await eventually(async () => {
    const { json } = await server.request<{ items: { path: string }[] }>("GET", "~/files/search?q=flood");
    expect(json.items).toEqual([]);
  }, settleMs);
  following.kill("SIGCONT");
  await eventually(() => expect(following.lines("starting over"), following.text).not.toEqual([]), settleMs);
  await expectSame(there, here);
  expect(textOf(here, "kept")).toBe("changed after the flood");
  expect(textOf(there, "mine")).toBe("written while nobody looked");
  expect(following.lines("conflict")).toEqual([]);
}, 240_000);
