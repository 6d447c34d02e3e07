import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { basename } from "node:path";
import type { Readable, Writable } from "node:stream";
import { temporaryName } from "../../../lib/storage.ts";
import type { Entry } from "../../../lib/storage.ts";
import { nodeFs } from "./fs.ts";
import { entryOfFacts } from "./revision.ts";
import { joinPath } from "./tree.ts";
import type { DiskTree } from "./tree.ts";

/** A directory of a walk: where it really is, and the path it is shown under. */
export interface Pending {
  rel: string;
  shown: string;
}

/**
 * The helper's whole program, so that it runs from any build. It enters each directory by descriptors, never
 * through a link, and looks at names relative to it: as confined as our own way through `/proc/self/fd`, and
 * twice as quick, but only a process of its own may change its working directory. Answers lines of JSON:
 * `[directory, last piece of it, [name, isDirectory, size, mtime, ctime, inode, …]]`.
 */
const program = `
const fs = require("node:fs");
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK;
const { root, inode, dirs } = JSON.parse(fs.readFileSync(0, "utf8"));
const top = fs.openSync(root, flags);
if (fs.fstatSync(top).ino !== inode) process.exit(1);
function enter(rel) {
  process.chdir("/proc/self/fd/" + top);
  for (const part of rel === "" ? [] : rel.split("/")) {
    const fd = fs.openSync(part, flags);
    try { process.chdir("/proc/self/fd/" + fd); } finally { fs.closeSync(fd); }
  }
}
let text = "";
function flush() {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at);
  text = "";
}
function tell(rel, last, rows) {
  text += JSON.stringify([rel, last, rows]) + "\\n";
  if (text.length > 50000) flush();
}
for (let rel = dirs.pop(); rel !== undefined; rel = dirs.pop()) {
  let rows = [];
  try {
    enter(rel);
    for (const name of new Set(fs.readdirSync("."))) {
      const stats = fs.lstatSync(name, { throwIfNoEntry: false });
      const isDir = stats?.isDirectory() ? 1 : 0;
      if (!stats || (isDir === 0 && !stats.isFile())) continue;
      rows.push(name, isDir, stats.size, stats.mtimeMs, stats.ctimeMs, stats.ino);
      if (isDir === 1) dirs.push(rel === "" ? name : rel + "/" + name);
      if (rows.length >= 6000) { tell(rel, 0, rows); rows = []; }
    }
  } catch {}
  tell(rel, 1, rows);
}
flush();
`;

/** Whether a helper can be used: Linux with its `/proc`, and a Node that can be started again. */
export function canUseHelper(tree: DiskTree): boolean {
  const plain = tree.abilities.proc && tree.fs === nodeFs && process.platform === "linux";
  return plain && !("Bun" in globalThis) && !("Deno" in globalThis) && basename(process.execPath) === "node";
}

/**
 * Goes on with a walk in a process of its own. Answers the directories that are left to do, none unless the
 * helper failed.
 */
export async function* walkWithHelper(
  tree: DiskTree,
  pending: readonly Pending[],
): AsyncGenerator<Entry[], Pending[]> {
  const left = new Map(pending.map((dir) => [dir.rel, dir]));
  const child = start();
  let ended = child === null;
  child?.once("error", () => (ended = true));
  try {
    if (child === null) return [...left.values()];
    child.stdin.on("error", () => undefined);
    const inode = tree.fs.lstatSync(tree.absolute(""))?.ino;
    child.stdin.end(JSON.stringify({ root: tree.absolute(""), inode, dirs: [...left.keys()] }));
    for await (const line of lines(child.stdout)) {
      const entries = take(line, left);
      if (entries.length > 0) yield entries;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError) && !ended) throw error;
  } finally {
    child?.kill("SIGKILL");
  }
  return [...left.values()];
}

function start(): ChildProcessByStdio<Writable, Readable, null> | null {
  try {
    const env = { ...process.env, NODE_OPTIONS: "" };
    return spawn(process.execPath, ["-e", program], { cwd: "/", env, stdio: ["pipe", "pipe", "ignore"] });
  } catch {
    return null;
  }
}

async function* lines(stream: Readable): AsyncGenerator<string> {
  stream.setEncoding("utf8");
  let rest = "";
  // A text stream, whose chunks are strings.
  for await (const chunk of stream as AsyncIterable<string>) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

/** The entries of a line; keeps the account of directories that are still to come. */
function take(line: string, left: Map<string, Pending>): Entry[] {
  // Our own program wrote it.
  const [rel, last, rows] = JSON.parse(line) as [string, number, (string | number)[]];
  const dir = left.get(rel);
  if (!dir) return [];
  const entries: Entry[] = [];
  for (let i = 0; i + 5 < rows.length; i += 6) {
    const name = String(rows[i]);
    if (temporaryName.test(name)) continue;
    const isDir = rows[i + 1] === 1;
    const shown = joinPath(dir.shown, name);
    const below = joinPath(rel, name);
    if (isDir) left.set(below, { rel: below, shown });
    const fact = (offset: number): number => Number(rows[i + offset]);
    const facts = { size: fact(2), mtimeMs: fact(3), ctimeMs: fact(4), ino: fact(5) };
    entries.push(entryOfFacts(shown, isDir, facts));
  }
  if (last === 1) left.delete(rel);
  return entries;
}
