/**
 * `npm run bench:files [-- --server PATH] [-- --million]`: measures catalog, events and batches of the built server
 * on a tree of 100 000 files in 1 000 folders, against `find` on the same tree. `--million` adds 1 000 000 files.
 */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { startServer, stop } from "./processes.mjs";

const { values } = parseArgs({
  options: {
    server: { type: "string", default: fileURLToPath(new URL("../dist/adapters/cli.js", import.meta.url)) },
    million: { type: "boolean", default: false },
  },
});
const run = promisify(execFile);
const token = "bench-token";
const rows = [];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const quantile = (list, q) =>
  list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * q))];
const ms = (number) => `${number.toFixed(number < 10 ? 1 : 0)} ms`;

function row(what, value, target, limit, show = ms) {
  rows.push([what, show(value), target, limit === undefined ? "" : value <= limit ? "pass" : "**fail**"]);
}

async function timed(work) {
  const started = performance.now();
  const result = await work();
  return { took: performance.now() - started, result };
}

function makeTree(root, folders, files) {
  for (let d = 0; d < folders; d += 1) {
    const dir = join(root, `folder-${String(d).padStart(5, "0")}`);
    mkdirSync(dir, { recursive: true });
    for (let f = 0; f < files; f += 1) writeFileSync(join(dir, `file-number-${f}.txt`), "x".repeat(f % 50));
  }
}

/** How long `find` takes for the same listing, the median of five. */
async function findMs(root) {
  const times = [];
  for (let n = 0; n < 5; n += 1) {
    const { took } = await timed(() =>
      run("sh", ["-c", `find "$0" -printf '%P %s %T@\\n' > /dev/null`, root]),
    );
    times.push(took);
  }
  return quantile(times, 0.5);
}

function residentMb({ child }) {
  const path = `/proc/${child.pid}/status`;
  if (!existsSync(path)) return Number.NaN;
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(path, "utf8"))?.[1]) / 1024;
}

/** A client of one server and one file session. */
class Session {
  constructor(server, workspace) {
    this.origin = `http://127.0.0.1:${server.port}`;
    this.id = `ws_${createHash("sha256").update(workspace).digest("hex").slice(0, 12)}`;
  }

  async send(method, path, json) {
    const response = await fetch(this.origin + path, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async open() {
    const { session } = await this.send("POST", `/workspace/${this.id}/files/sessions`, {});
    this.path = `/files/sessions/${session.id}`;
  }

  snapshot(query = "") {
    return this.send("GET", `${this.path}/catalog/snapshot?${query}`);
  }

  events(since, wait = 0) {
    return this.send("GET", `${this.path}/catalog/events?since=${since}&wait=${wait}`);
  }
}

/** The longest time that the server left a trivial request waiting while some work ran. */
async function longestStall(session, work) {
  const state = { running: true };
  let longest = 0;
  const pinging = (async () => {
    while (state.running) {
      const { took } = await timed(() => fetch(`${session.origin}/health`).then((answer) => answer.text()));
      longest = Math.max(longest, took);
      await sleep(2);
    }
  })();
  const result = await work();
  state.running = false;
  await pinging;
  return { longest, result };
}

async function listAll(session) {
  let pages = 0;
  let seen = 0;
  for (let after = null; ; pages += 1) {
    const page = await session.snapshot(after === null ? "" : `after=${encodeURIComponent(after)}`);
    seen += page.items.length;
    if (!page.truncated) return { pages: pages + 1, seen };
    after = page.nextAfter;
  }
}

async function measureLatency(session, root) {
  const times = [];
  let { cursor } = await session.snapshot("limit=1");
  for (let n = 0; n < 40; n += 1) {
    const waiting = session.events(cursor, 5);
    await sleep(30);
    const started = performance.now();
    await appendFile(join(root, "folder-00007", "watched.txt"), "more\n");
    const page = await waiting;
    times.push(performance.now() - started);
    await sleep(40);
    ({ cursor } = await session.events(page.cursor));
  }
  return quantile(times, 0.95);
}

/** Ten thousand files replaced as git does it, by a process of its own; how long until every change is told. */
async function measureCheckout(session, root, folders) {
  const script = `
    const fs = require("node:fs");
    for (let d = 0; d < ${folders}; d += 1) for (let f = 0; f < 10; f += 1) {
      const path = process.argv[1] + "/folder-" + String(d).padStart(5, "0") + "/file-number-" + f + ".txt";
      fs.unlinkSync(path);
      fs.writeFileSync(path, "checked out " + f);
    }`;
  let { cursor } = await session.snapshot("limit=1");
  await run(process.execPath, ["-e", script, root]);
  const ended = performance.now();
  const changed = new Set();
  while (changed.size < folders * 10 && performance.now() - ended < 20_000) {
    const page = await session.events(cursor, 1);
    if (page.reset) throw new Error("events were dropped");
    for (const event of page.items) if (event.type === "write") changed.add(event.path);
    cursor = page.cursor;
  }
  if (changed.size < folders * 10) throw new Error(`only ${changed.size} changes were told`);
  return performance.now() - ended;
}

async function measureBatch(session) {
  const paths = Array.from({ length: 64 }, (_, n) => `batch/file-${n}.bin`);
  const times = { write: [], read: [] };
  for (let round = 0; round < 12; round += 1) {
    const writes = paths.map((path) => ({
      path,
      contentBase64: Buffer.from(crypto.getRandomValues(new Uint8Array(65_536))).toString("base64"),
    }));
    const body = JSON.stringify({ writes });
    const headers = { authorization: `Bearer ${token}` };
    const url = session.origin + session.path;
    const write = await timed(() =>
      fetch(`${url}/write-batch`, { method: "POST", headers, body }).then((answer) => answer.arrayBuffer()),
    );
    const read = await timed(() =>
      fetch(`${url}/read-batch`, { method: "POST", headers, body: JSON.stringify({ paths }) }).then(
        (answer) => answer.arrayBuffer(),
      ),
    );
    if (round < 2) continue;
    times.write.push(write.took);
    times.read.push(read.took);
  }
  return { write: quantile(times.write, 0.5), read: quantile(times.read, 0.5) };
}

async function start(root, home) {
  const server = await startServer({
    command: values.server,
    home,
    workspace: root,
    token,
    flags: ["--no-log-requests"],
    // As `find`, the server and its helper may use any core.
    core: null,
  });
  return { server, session: new Session(server, root) };
}

async function measureLarge(root, home) {
  const find = await findMs(root);
  row("`find` on 100 000 files in 1 000 folders", find, "");
  const { server, session } = await start(root, home);
  await sleep(500);
  const before = residentMb(server);
  const { longest, result: first } = await longestStall(session, () =>
    timed(async () => {
      await session.open();
      return session.snapshot();
    }),
  );
  row(
    "first page after start",
    first.took,
    "≤ 4 × find",
    find * 4,
    (took) => `${ms(took)}, ${(took / find).toFixed(1)} ×`,
  );
  row("longest stall of other requests meanwhile", longest, "≤ 50 ms", 50);
  await sleep(2500);
  const pages = [];
  for (let n = 0; n < 30; n += 1) {
    const after = `folder-${String(n * 31).padStart(5, "0")}`;
    pages.push((await timed(() => session.snapshot(`after=${after}`))).took);
  }
  row("a later page, median", quantile(pages, 0.5), "≤ 10 ms", 10);
  const prefixes = [];
  for (let n = 0; n < 50; n += 1) {
    prefixes.push(
      (await timed(() => session.snapshot(`prefix=folder-${String(n * 19).padStart(5, "0")}`))).took,
    );
  }
  row("a prefix of 100 files, median", quantile(prefixes, 0.5), "≤ 3 ms", 3);
  const all = await timed(() => listAll(session));
  row(`the whole listing, ${all.result.pages} pages`, all.took, "≤ 1 s", 1000);
  await sleep(1500);
  row(
    "memory that the index and the watch cost",
    residentMb(server) - before,
    "≤ 60 MB",
    60,
    (mb) => `${mb.toFixed(0)} MB`,
  );
  row("a change by another process, told after, p95", await measureLatency(session, root), "≤ 300 ms", 300);
  row(
    "10 000 files replaced at once, all told after",
    await measureCheckout(session, root, 1000),
    "≤ 2 s",
    2000,
  );
  const batch = await measureBatch(session);
  row("batch of 64 × 64 KiB, write, median", batch.write, "≤ 60 ms", 60);
  row("batch of 64 × 64 KiB, read, median", batch.read, "≤ 25 ms", 25);
  await stop(server);
}

async function measureMillion(root, home) {
  const { server, session } = await start(root, home);
  await sleep(500);
  const before = residentMb(server);
  const { longest, result: first } = await longestStall(session, () =>
    timed(async () => {
      await session.open();
      return session.snapshot();
    }),
  );
  row("1 000 000 files: first page after start", first.took, "≤ 10 s", 10_000);
  row("1 000 000 files: longest stall meanwhile", longest, "≤ 50 ms", 50);
  await sleep(15_000);
  const pages = [];
  for (let n = 0; n < 30; n += 1) {
    pages.push(
      (await timed(() => session.snapshot(`after=folder-${String(n * 311).padStart(5, "0")}`))).took,
    );
  }
  row("1 000 000 files: a later page, median", quantile(pages, 0.5), "≤ 20 ms", 20);
  row("1 000 000 files: memory", residentMb(server) - before, "≤ 500 MB", 500, (mb) => `${mb.toFixed(0)} MB`);
  await stop(server);
}

const base = realpathSync(await mkdtemp(join(tmpdir(), "openwork-bench-files-")));
try {
  const home = join(base, "home");
  mkdirSync(home);
  const large = join(base, "large");
  makeTree(large, 1000, 100);
  await measureLarge(large, home);
  if (values.million) {
    const million = join(base, "million");
    makeTree(million, 10_000, 100);
    await measureMillion(million, home);
  }
  for (const cells of [["What", "Measured", "Target", ""], ["---", "---", "---", "---"], ...rows]) {
    console.log(`| ${cells.join(" | ")} |`);
  }
  console.log(`\nNode ${process.version}, load ${execFileSync("cat", ["/proc/loadavg"]).toString().trim()}.`);
} finally {
  await rm(base, { recursive: true, force: true });
}
