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
import { load } from "./processes.mjs";

const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    server: { type: "string", default: file("../dist/bin/openwork-server.js") },
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

/** Starts a script beside this one that prints its port. */
function startScript(name, ...args) {
  const child = spawn(process.execPath, [file(name), ...args], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  return new Promise((resolve) => {
    child.stdout.once("data", (chunk) => resolve({ child, port: Number(chunk) }));
  });
}

/** Starts the server, on any core like all the others here. */
function startServer(url) {
  const args = [
    "--workspace",
    home,
    "--port",
    "0",
    "--approval",
    "auto",
    "--no-log-requests",
    "--opencode-base-url",
    url,
  ];
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    OPENWORK_TOKEN: token,
    OPENWORK_HOST_TOKEN: `host-${token}`,
  };
  const child = spawn(process.execPath, [values.server, ...args], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  process.once("exit", () => child.kill("SIGKILL"));
  return new Promise((resolve) => {
    child.stdout.on("data", (chunk) => {
      const port = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(String(chunk))?.[1];
      if (port) resolve({ child, port: Number(port) });
    });
  });
}

/** Medians of what is measured of each subject, in turns, so that a noisy moment hits all alike. */
async function inTurns(subjects, measure) {
  const results = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]));
  for (let round = -1; round < Number(values.rounds); round += 1) {
    for (const [name, subject] of Object.entries(subjects)) {
      const value = await measure(subject);
      // Round -1 warms up.
      if (round >= 0) results[name].push(value);
    }
  }
  return Object.fromEntries(Object.entries(results).map(([name, list]) => [name, median(list)]));
}

/** p50 of one request at a time over one kept connection, milliseconds. */
async function latency({ port, path }) {
  return (await load({ port, path, headers, connections: 1, seconds: 1.5 })).p50;
}

/** Megabytes per second of one large answer, read by `fetch`, as the engine's SDK does, direct or proxied. */
async function download({ port, path }) {
  const started = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}${path}?bytes=${bytes}`, { headers });
  let seen = 0;
  for await (const chunk of response.body) seen += chunk.length;
  if (seen !== bytes) throw new Error(`${seen} of ${bytes} bytes came`);
  return bytes / 1024 / 1024 / ((performance.now() - started) / 1000);
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
  const open = [];
  const add = async (count) => {
    // In batches that fit the queue of connections not yet accepted.
    for (let left = count; left > 0; left -= 100) {
      open.push(
        ...(await Promise.all(
          Array.from({ length: Math.min(left, 100) }, () => openStream(server.port, path)),
        )),
      );
    }
    await pause(2500);
  };
  const handles = handlesOf(pid) + 4;
  // The first ones pay for what a process keeps anyway: compiled code, pools, room in the heap.
  await add(2 * streams);
  const before = residentKb(pid);
  // Of a process that collects its garbage when it likes, the many tell more than the few.
  await add(3 * streams);
  const perStreamKb = (residentKb(pid) - before) / (3 * streams);
  for (const req of open) req.on("error", () => {}).destroy();
  for (let i = 0; i < 50 && handlesOf(pid) > handles; i += 1) await pause(100);
  return { perStreamKb, handles, left: handlesOf(pid) };
}

const home = mkdtempSync(join(tmpdir(), "openwork-bench-"));
process.once("exit", () => rmSync(home, { recursive: true, force: true }));
const target = await startScript("proxy-target.mjs");
const bare = await startScript("bare-proxy.mjs", String(target.port));
const server = await startServer(`http://127.0.0.1:${target.port}`);
const subjects = (path) => ({
  direct: { port: target.port, path },
  bare: { port: bare.port, path: `/opencode${path}` },
  proxied: { port: server.port, path: `/opencode${path}` },
});
const row = (name, value, about, target, ok) =>
  console.log(
    `${name.padEnd(26)}${value.padEnd(16)}${about.padEnd(44)}${target.padEnd(10)}${ok ? "pass" : "FAIL"}`,
  );

const times = await inTurns(subjects("/small"), latency);
const [added, bareAdded] = [times.proxied - times.direct, times.bare - times.direct];
row(
  "added latency, p50",
  `${added.toFixed(3)} ms`,
  `a bare proxy: ${bareAdded.toFixed(3)} ms`,
  "<= 0.5",
  added <= 0.5,
);
const rates = await inTurns(subjects("/bytes"), download);
const ratio = rates.proxied / rates.direct;
const bareRatio = (rates.bare / rates.direct).toFixed(2);
const rate = `of ${rates.direct.toFixed(0)} MB/s direct; a bare proxy: ${bareRatio} x`;
row(`${values.megabytes} MB stream`, `${ratio.toFixed(2)} x`, rate, ">= 0.7", ratio >= 0.7);
const idle = await idleStreams(server, "/opencode/events");
const bareIdle = await idleStreams(bare, "/opencode/events");
const each = `a bare proxy: ${bareIdle.perStreamKb.toFixed(1)} KB`;
row("idle event stream", `${idle.perStreamKb.toFixed(1)} KB`, each, "<= 30", idle.perStreamKb <= 30);
row("handles after disconnect", String(idle.left), "", `<= ${idle.handles}`, idle.left <= idle.handles);
process.exit(0);
