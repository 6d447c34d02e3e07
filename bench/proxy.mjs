/**
 * `npm run bench:proxy [-- --server PATH]`: what the engine proxy costs, as ratios to going direct in one run.
 * The target is a plain `node:http` server in a process of its own (`proxy-target.mjs`).
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { get, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { load } from "./processes.mjs";

const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    server: { type: "string", default: file("../dist/bin/openwork-server.js") },
    rounds: { type: "string", default: "9" },
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

/** What is measured of each subject, in turns, so that a noisy moment hits all alike: lists as long as there are rounds. */
async function inTurns(subjects, measure, rounds = Number(values.rounds)) {
  const results = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {
    for (const [name, subject] of Object.entries(subjects)) {
      const value = await measure(subject);
      // Round -1 warms up.
      if (round >= 0) results[name].push(value);
    }
  }
  return results;
}

/** The median of the ratios of the rounds: what is slow in one round is slow on both sides of the line. */
const ratioOf = (list, yardstick) => median(list.map((value, i) => value / yardstick[i]));

/** p50 of one request at a time over one kept connection, milliseconds. */
async function latency({ port, path }) {
  return (await load({ port, path, headers, connections: 1, seconds: 1.5 })).p50;
}

/** Megabytes per second of one large answer, read by `fetch`, as the engine's SDK does, direct or proxied. */
async function download({ port, path }) {
  const started = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}${path}bytes=${bytes}`, { headers });
  let seen = 0;
  for await (const chunk of response.body) seen += chunk.length;
  if (seen !== bytes) throw new Error(`${seen} of ${bytes} bytes came`);
  return bytes / 1024 / 1024 / ((performance.now() - started) / 1000);
}

const piece = Buffer.alloc(64 * 1024, 7);

/** Megabytes per second of as large a body that goes up. */
function upload({ port, path }) {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const options = { port, path, method: "POST", agent: false };
    const req = request({ ...options, headers: { ...headers, "content-length": bytes } }, (res) => {
      res.resume().on("end", () => resolve(bytes / 1024 / 1024 / ((performance.now() - started) / 1000)));
    });
    req.on("error", reject);
    let left = bytes;
    const go = () => {
      while (left > 0) {
        const part = piece.subarray(0, left);
        left -= part.length;
        if (!req.write(part)) {
          req.once("drain", go);
          return;
        }
      }
      req.end();
    };
    go();
  });
}

/** A token that can be revoked. */
async function issuedToken({ port }) {
  const asked = { method: "POST", headers: { "x-openwork-host-token": `host-${token}` } };
  const response = await fetch(`http://127.0.0.1:${port}/tokens`, {
    ...asked,
    body: JSON.stringify({ scope: "collaborator" }),
  });
  return (await response.json()).token;
}

/** An event stream that has begun. */
function openStream(port, path, headers) {
  return new Promise((resolve, reject) => {
    const req = get({ port, path, headers, agent: false }, (res) => {
      res.once("data", () => resolve(req));
      res.on("error", () => {});
    });
    req.on("error", reject);
  });
}

/** Idle event streams: memory of the server for each, and what is left when they are gone. */
async function idleStreams(server, path, headers) {
  const { pid } = server.child;
  const open = [];
  const add = async (count) => {
    // In batches that fit the queue of connections not yet accepted.
    for (let left = count; left > 0; left -= 100) {
      open.push(
        ...(await Promise.all(
          Array.from({ length: Math.min(left, 100) }, () => openStream(server.port, path, headers)),
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

const times = await inTurns(subjects("/small"), latency, 5);
const addedBy = (name) => median(times[name].map((time, i) => time - times.direct[i]));
const added = addedBy("proxied");
row(
  "added latency, p50",
  `${added.toFixed(3)} ms`,
  `a bare proxy: ${addedBy("bare").toFixed(3)} ms`,
  "<= 0.5",
  added <= 0.5,
);
for (const [name, path, measure, least] of [
  ["MB stream", "/bytes?", download, 0.7],
  ["MB stream in chunks", "/bytes?chunked&", download, 0.7],
  ["MB upload", "/sink", upload, null],
]) {
  const rates = await inTurns(subjects(path), measure);
  const ratio = ratioOf(rates.proxied, rates.direct);
  const bareRatio = ratioOf(rates.bare, rates.direct).toFixed(2);
  const about = `of ${median(rates.direct).toFixed(0)} MB/s direct; a bare proxy: ${bareRatio} x`;
  const goal = least === null ? "" : `>= ${least}`;
  row(`${values.megabytes} ${name}`, `${ratio.toFixed(2)} x`, about, goal, least === null || ratio >= least);
}
const bareIdle = await idleStreams(bare, "/opencode/events", headers);
const each = `a bare proxy: ${bareIdle.perStreamKb.toFixed(1)} KB`;
for (const name of ["idle event stream", "... of an issued token"]) {
  // A process that has had large answers would have room left over from them.
  const fresh = await startServer(`http://127.0.0.1:${target.port}`);
  const sent = name.startsWith("...") ? { authorization: `Bearer ${await issuedToken(fresh)}` } : headers;
  const idle = await idleStreams(fresh, "/opencode/events", sent);
  row(name, `${idle.perStreamKb.toFixed(1)} KB`, each, "<= 30", idle.perStreamKb <= 30);
  row("handles after disconnect", String(idle.left), "", `<= ${idle.handles}`, idle.left <= idle.handles);
}
process.exit(0);
