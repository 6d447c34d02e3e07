// node mirror.mjs URL TOKEN WORKSPACE_ID TARGET_DIR [--follow]: a copy of a workspace in a folder of your own. With
// --follow it goes on: changes there come here by events, yours are sent back. A file changed on both sides stays as it
// is on each; the remote version is saved beside yours as <name>.remote, and when you remove that, yours is sent.
// TARGET_DIR.mirror keeps what both sides had, for the next run. Links and permissions are left alone.
import { createHash, randomUUID } from "node:crypto";
import { createWriteStream, rmSync } from "node:fs";
import { lstat, mkdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { at, base, copies, dirs, hashOf, isBelow, look, makeDir } from "./mirror/local.mjs";
import { makeTemporary, recall, remember } from "./mirror/memory.mjs";
import { parentOf, place, say, stampOf, target } from "./mirror/local.mjs";
import { ask, call, listen, raw, sleep } from "./mirror/remote.mjs";
import { push } from "./mirror/send.mjs";

if (process.argv.length < 6) {
  console.error("usage: node mirror.mjs URL TOKEN WORKSPACE_ID TARGET_DIR [--follow]");
  process.exit(2);
}
/** Larger files are fetched one by one. */
const smallFile = 1_000_000;
await mkdir(target, { recursive: true });
/** Where files are put together before they take their place. */
const temporary = await makeTemporary();

/** Keeps a remote version beside a file that must not be overwritten. */
async function keepBeside(path, from) {
  for (let number = 1; ; number += 1) {
    const copy = `${path}.remote${number === 1 ? "" : `-${number}`}`;
    try {
      await makeDir(parentOf(path));
      await place(from, copy, null);
      return copies.set(path, [...(copies.get(path) ?? []), copy]);
    } catch (error) {
      if (error.code !== "EEXIST" || !(await look(copy))) throw error;
    }
  }
}

/** Takes over a remote file that lies in `from`, unless there is something here that the remote never had. */
async function accept(path, revision, from, hash) {
  const known = base.get(path);
  const stats = await look(path);
  const mine = stats?.isFile() ? hashOf(await readFile(at(path))) : stats ? "no file" : undefined;
  try {
    if (mine === hash) await rm(from);
    else {
      if (mine !== known?.hash || copies.has(path)) throw new Error("changed on both sides");
      await makeDir(parentOf(path));
      await place(from, path, stats && stampOf(stats));
    }
    base.set(path, { revision, hash, stamp: stampOf(await lstat(at(path))) });
  } catch (reason) {
    say("conflict", path, `${reason.message}; yours is untouched`);
    // Without a copy that reminds of it, a difference to what is known would be sent as a change.
    base.delete(path);
    if (await keepBeside(path, from).catch((error) => say("failed", path, error.message)))
      base.set(path, { revision, hash, stamp: null });
  }
}

/** Fetches one file as a stream, of any size. */
async function pullLarge(path) {
  const response = await call("GET", raw(path), { also: [404] });
  if (!response.ok) return;
  const from = join(temporary, randomUUID());
  const hash = createHash("sha256");
  const body = Readable.fromWeb(response.body).on("data", (chunk) => hash.update(chunk));
  await pipeline(body, createWriteStream(from));
  await accept(path, response.headers.get("etag").slice(1, -1), from, hash.digest("hex"));
}

/** Takes over one item of a batch. */
async function take(item) {
  if (item.code === "file_too_large") await pullLarge(item.path);
  else if (item.ok) {
    const from = join(temporary, randomUUID());
    const bytes = Buffer.from(item.contentBase64, "base64");
    await writeFile(from, bytes);
    await accept(item.path, item.revision, from, hashOf(bytes));
  } else if (item.code !== "file_not_found") say("failed", item.path, item.message);
}

/** Fetches files, small ones in batches; what has vanished meanwhile is told by an event. */
async function pull(paths, sizes = new Map()) {
  const size = (path) => sizes.get(path) ?? 0;
  const small = paths.filter((path) => size(path) <= smallFile);
  const batches = Array.from({ length: Math.ceil(small.length / 64) }, (_, i) =>
    small.slice(i * 64, i * 64 + 64),
  );
  const worker = async () => {
    for (let batch = batches.pop(); batch; batch = batches.pop()) {
      const { items } = await ask("POST", "/read-batch", { paths: batch });
      await Promise.all(items.map(take));
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  for (const path of paths) if (size(path) > smallFile) await pullLarge(path);
}

/** Removes what was removed there, except what was changed here. */
async function drop(path) {
  for (const [file, { hash, stamp }] of [...base].filter(([key]) => isBelow(key, path))) {
    base.delete(file);
    const stats = await look(file);
    if (!stats) continue;
    if (stampOf(stats) === stamp || (stats.isFile() && hashOf(await readFile(at(file))) === hash))
      await rm(at(file));
    else say("conflict", file, "removed there, changed here; yours stays");
  }
  const below = [...dirs].filter((dir) => isBelow(dir, path)).toSorted((a, b) => b.length - a.length);
  for (const dir of below) {
    dirs.delete(dir);
    await rmdir(at(dir)).catch(() => undefined);
  }
}

/** Brings everything (or what is below `prefix`) up to date from the catalog; the cursor from which events go on. */
async function snapshot(prefix) {
  const there = new Map();
  const query = prefix === undefined ? "" : `&prefix=${encodeURIComponent(prefix)}`;
  let cursor;
  for (let after = ""; after !== null;) {
    const page = await ask("GET", `/catalog/snapshot?limit=5000${query}${after}`);
    cursor ??= page.cursor;
    for (const item of page.items) there.set(item.path, item);
    after = page.truncated ? `&after=${encodeURIComponent(page.nextAfter)}` : null;
  }
  // Rather a disk that is not mounted than a workspace where all was deleted: nothing is removed here for it.
  if (prefix === undefined && there.size === 0) for (const known of [base, dirs]) known.clear();
  for (const path of [...base.keys(), ...dirs]) {
    if ((prefix === undefined || isBelow(path, prefix)) && !there.has(path)) await drop(path);
  }
  const wanted = new Map();
  for (const { path, kind, revision, size } of there.values()) {
    if (kind === "dir") await makeDir(path).catch((error) => say("failed", path, error.message));
    else if (base.get(path)?.revision !== revision) wanted.set(path, size);
  }
  await pull([...wanted.keys()], wanted);
  return cursor;
}

/** Applies events: what is gone at once, what was written together at the end. */
async function apply(events) {
  const written = new Set();
  for (const { type, path, toPath, revision } of events) {
    if (type === "delete" || type === "rename") {
      for (const one of written) if (isBelow(one, path)) written.delete(one);
      await drop(path);
    }
    if (type === "mkdir") await makeDir(path).catch((error) => say("failed", path, error.message));
    if (type === "rename") await snapshot(toPath);
    if (type === "write" && base.get(path)?.revision !== revision) written.add(path);
  }
  await pull([...written]);
}

/** Keeps both sides the same until the process is ended. */
async function follow(cursor) {
  const queue = [];
  void listen(cursor, queue);
  for (let due = 0; ; await sleep(100)) {
    const events = queue.splice(0);
    if (events.includes(null)) {
      say("starting over", target, "events are gone");
      await snapshot();
    }
    await apply(events.slice(events.lastIndexOf(null) + 1));
    if (performance.now() < due) continue;
    const started = performance.now();
    await push(pull);
    await remember();
    // A large folder takes a while to look through: at most a fifth of the time is spent on it.
    due = performance.now() + Math.max(1000, 4 * (performance.now() - started));
  }
}

process.on("exit", () => rmSync(temporary, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit());
await recall();
const cursor = await snapshot();
await remember();
say("mirrored", target, `${base.size} files`);
if (process.argv.includes("--follow")) await follow(cursor);
