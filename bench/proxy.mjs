/**
 * `npm run bench:proxy [-- --server PATH]`: what the engine proxy costs, as ratios to going direct in one run.
 * The target is a plain `node:http` server in a process of its own (`proxy-target.mjs`).
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { load, startServer, stop } from "./processes.mjs";

const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    server: { type: "string", default: file("../dist/adapters/cli.js") },
    rounds: { type: "string", default: "5" },
    streams: { type: "string", default: "500" },
    megabytes: { type: "string", default: "100" },
  },
});
const token = "bench-token";
const headers = { authorization: `Bearer ${token}` };
const streams = Number(values.streams);
const bytes = Number(values.megabytes) * 1024 * 1024;

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
const pause = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
const handlesOf = (pid) => readdirSync(`/proc/${pid}/fd`).length;
const residentKb = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

function startTarget() {
  const child = spawn(process.execPath, [file("proxy-target.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  return new Promise((resolve) => {
    child.stdout.once("data", (chunk) => resolve({ child, port: Number(chunk) }));
  });
}

/** p50 of one request at a time over one kept connection, in turns, milliseconds. */
async function latency(direct, proxied) {
  const results = { direct: [], proxied: [] };
  for (let round = -1; round < Number(values.rounds); round += 1) {
    for (const [name, { port, path }] of Object.entries({ direct, proxied })) {
      const { p50 } = await load({ port, path, headers, connections: 1, seconds: 1 });
      if (round >= 0) results[name].push(p50);
    }
  }
  return { direct: median(results.direct), proxied: median(results.proxied) };
}

/** Megabytes per second of one large answer. */
function download({ port, path }) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const req = get({ port, path: `${path}?bytes=${bytes}`, headers, agent: false }, (res) => {
      let seen = 0;
      res.on("data", (chunk) => (seen += chunk.length));
      res.on("end", () => {
        if (seen !== bytes) reject(new Error(`${seen} of ${bytes} bytes came`));
        else resolve(bytes / 1024 / 1024 / ((performance.now() - started) / 1000));
      });
    });
    req.on("error", reject);
  });
}

async function throughput(direct, proxied) {
  const results = { direct: [], proxied: [] };
  for (let round = -1; round < Number(values.rounds); round += 1) {
    for (const [name, subject] of Object.entries({ direct, proxied })) {
      const rate = await download(subject);
      if (round >= 0) results[name].push(rate);
    }
  }
  return { direct: median(results.direct), proxied: median(results.proxied) };
}

/** An event stream that has begun. */
function openStream(port, path) {
  return new Promise((resolve, reject) => {
    const req = get({ port, path, headers, agent: false }, (res) => {
      res.once("data", () => resolve(req));
      res.on("error", () => {});
    });
    req.on("error", reject);
  });
}

/** Idle event streams: memory of the server for each, and what is left when they are gone. */
async function idleStreams(server, path) {
  const { pid } = server.child;
  const round = async () => {
    const open = await Promise.all(Array.from({ length: streams }, () => openStream(server.port, path)));
    await pause(1500);
    const held = { kb: residentKb(pid), handles: handlesOf(pid) };
    for (const req of open) req.on("error", () => {}).destroy();
    for (let i = 0; i < 50 && handlesOf(pid) > handles; i += 1) await pause(100);
    return held;
  };
  const handles = handlesOf(pid) + 4;
  // The first round grows what a process keeps anyway: compiled code, pools, heap.
  await round();
  await pause(3000);
  const before = residentKb(pid);
  const held = await round();
  await pause(3000);
  return {
    perStreamKb: (held.kb - before) / streams,
    handles,
    left: handlesOf(pid),
    before,
    after: residentKb(pid),
  };
}

const home = mkdtempSync(join(tmpdir(), "openwork-bench-"));
process.once("exit", () => rmSync(home, { recursive: true, force: true }));
const target = await startTarget();
const server = await startServer({
  command: values.server,
  home,
  workspace: home,
  token,
  flags: ["--no-log-requests", "--opencode-base-url", `http://127.0.0.1:${target.port}`],
});
const through = (path) => ({ port: server.port, path: `/opencode${path}` });
const direct = (path) => ({ port: target.port, path });

const mark = (ok) => (ok ? "pass" : "FAIL");
const times = await latency(direct("/small"), through("/small"));
const added = times.proxied - times.direct;
console.log(
  `added latency p50        ${added.toFixed(3)} ms (${times.direct.toFixed(3)} direct)   <= 0.5  ${mark(added <= 0.5)}`,
);
const rates = await throughput(direct("/bytes"), through("/bytes"));
const ratio = rates.proxied / rates.direct;
console.log(
  `${values.megabytes} MB stream            ${ratio.toFixed(2)} x direct (${rates.direct.toFixed(0)} MB/s)   >= 0.7  ${mark(ratio >= 0.7)}`,
);
const idle = await idleStreams(server, "/opencode/events");
console.log(
  `idle event stream        ${idle.perStreamKb.toFixed(1)} KB each of ${streams}   <= 30  ${mark(idle.perStreamKb <= 30)}`,
);
console.log(
  `handles after disconnect ${idle.left}, at most ${idle.handles}   ${mark(idle.left <= idle.handles)}; resident ${idle.before} -> ${idle.after} KB`,
);
await stop(server);
target.child.kill("SIGTERM");
process.exit(0);
