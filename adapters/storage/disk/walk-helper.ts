import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import type { Readable, Writable } from "node:stream";
import { temporaryName } from "../../../lib/storage.ts";
import type { Entry } from "../../../lib/storage.ts";
import { nodeFs } from "./fs.ts";
import { entryOfFacts } from "./revision.ts";
import { fits, joinPath } from "./tree.ts";
import type { DiskTree } from "./tree.ts";

/** A directory of a walk: where it really is, and the path it is shown under. */
export interface Pending {
  rel: string;
  shown: string;
}

/** More would not be quicker, for all walks of a tree together: what they find has to be taken in here. */
const mostHelpers: number = Math.min(2, availableParallelism());
/** Entries that are handed over in one go: an index takes in a thousand neighbours for little more than a hundred. */
export const batchSize = 1000;

/**
 * The helper's whole program, so that it runs from any build. It enters each directory by descriptors, never
 * through a link, and looks at names relative to it: as confined as our own way through `/proc/self/fd`, and
 * twice as quick, but only a process of its own may change its working directory. Answers lines of JSON:
 * `[directory, last piece of it, [name, isDirectory, size, mtime, ctime, inode, …]]`. An empty line says that it runs.
 * What went away meanwhile, became a link or may not be read is skipped, as a walk in here does.
 */
const program = `
const fs = require("node:fs");
fs.writeSync(1, "\\n");
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
    for (const name of new Set(fs.readdirSync(".").sort())) {
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

interface Helper {
  process: ChildProcessByStdio<Writable, Readable, null>;
  /** It could not be started, or was ended. */
  over: boolean;
}

/** Processes of their own that a long walk goes on in. They take a moment to start, in which the walk need not wait. */
export class WalkHelpers {
  readonly #tree: DiskTree;
  readonly #helpers: Helper[] = [];
  #ready = false;

  constructor(tree: DiskTree) {
    this.#tree = tree;
  }

  /**
   * Starts one more, while there are not enough: to start a process takes as long as others may be held up. Walks that
   * clients ask for at the same time share the few there may be, and those that get none go on alone.
   */
  start(): void {
    const tree = this.#tree;
    if (tree.helpers >= mostHelpers) return;
    const helper = startHelper(() => (tree.helpers -= 1));
    if (helper === null) return;
    tree.helpers += 1;
    this.#helpers.push(helper);
    helper.process.stdout.once("readable", () => (this.#ready = true));
  }

  /** Whether one of them runs. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Shares out a walk. Answers the directories that are left to do, none unless a helper failed. */
  async *walk(pending: readonly Pending[]): AsyncGenerator<Entry[], Pending[]> {
    const helpers = this.#helpers;
    const size = Math.ceil(pending.length / helpers.length);
    // Neighbours stay together.
    const shares = helpers.map((_, i) => pending.slice(i * size, (i + 1) * size));
    return yield* merged(helpers.map((helper, i) => walkWith(this.#tree, helper, shares[i] ?? [])));
  }

  /** Ends them, whatever they are at. */
  end(): void {
    for (const helper of this.#helpers) {
      helper.over = true;
      helper.process.kill("SIGKILL");
    }
  }
}

/** A new process, or null; `ended` is called once when it is gone. */
function startHelper(ended: () => void): Helper | null {
  try {
    const env = { ...process.env, NODE_OPTIONS: "" };
    const child = spawn(process.execPath, ["-e", program], {
      cwd: "/",
      env,
      stdio: ["pipe", "pipe", "ignore"],
    });
    const helper = { process: child, over: false };
    let isGone = false;
    const end = (): void => {
      if (!isGone) ended();
      isGone = true;
    };
    child.once("exit", end);
    // One that could not be started never exits.
    child.once("error", () => {
      helper.over = true;
      end();
    });
    child.stdin.on("error", () => undefined);
    child.stdout.setEncoding("utf8");
    return helper;
  } catch {
    return null;
  }
}

/** What several walks find, as it comes, and what all of them left to do. */
async function* merged(
  walks: readonly AsyncGenerator<Entry[], Pending[]>[],
): AsyncGenerator<Entry[], Pending[]> {
  const left: Pending[] = [];
  const advance = (walk: AsyncGenerator<Entry[], Pending[]>) => {
    const next = walk.next().then((step) => ({ walk, step }));
    // The caller may go away before anybody looks at it.
    next.catch(() => undefined);
    return next;
  };
  const running = new Map(walks.map((walk) => [walk, advance(walk)]));
  while (running.size > 0) {
    const { walk, step } = await Promise.race(running.values());
    if (step.done) {
      running.delete(walk);
      left.push(...step.value);
    } else {
      running.set(walk, advance(walk));
      yield step.value;
    }
  }
  return left;
}

async function* walkWith(
  tree: DiskTree,
  helper: Helper,
  share: readonly Pending[],
): AsyncGenerator<Entry[], Pending[]> {
  const left = new Map(share.map((dir) => [dir.rel, dir]));
  let batch: Entry[] = [];
  try {
    const inode = tree.fs.lstatSync(tree.absolute(""))?.ino;
    helper.process.stdin.end(JSON.stringify({ root: tree.absolute(""), inode, dirs: [...left.keys()] }));
    for await (const line of lines(helper.process.stdout)) {
      if (line !== "") take(tree, line, left, batch);
      if (batch.length < batchSize) continue;
      yield batch;
      batch = [];
    }
  } catch (error) {
    // An answer that cannot be read, and a helper that was ended, leave their directories to the walk in here.
    if (!(error instanceof SyntaxError) && !helper.over) throw error;
  }
  if (batch.length > 0) yield batch;
  return [...left.values()];
}

async function* lines(stream: Readable): AsyncGenerator<string> {
  let rest = "";
  // A text stream, whose chunks are strings.
  for await (const chunk of stream as AsyncIterable<string>) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

/** Adds the entries of a line; keeps the account of directories that are still to come. */
function take(tree: DiskTree, line: string, left: Map<string, Pending>, entries: Entry[]): void {
  // Our own program wrote it.
  const [rel, last, rows] = JSON.parse(line) as [string, number, (string | number)[]];
  const dir = left.get(rel);
  if (!dir) return;
  const room = tree.roomIn(rel, dir.shown);
  for (let i = 0; i + 5 < rows.length; i += 6) {
    const name = String(rows[i]);
    // The helper finds its way by single names, and so what no path leads to.
    if (!fits(name, room)) continue;
    if (name.startsWith(".owtmp-") && temporaryName.test(name)) continue;
    const isDir = rows[i + 1] === 1;
    const shown = joinPath(dir.shown, name);
    if (isDir) left.set(joinPath(rel, name), { rel: joinPath(rel, name), shown });
    const fact = (offset: number): number => Number(rows[i + offset]);
    const facts = { size: fact(2), mtimeMs: fact(3), ctimeMs: fact(4), ino: fact(5) };
    entries.push(entryOfFacts(shown, isDir, facts));
  }
  if (last === 1) left.delete(rel);
}
