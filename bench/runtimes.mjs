/**
 * `npm run bench:runtimes [-- --seconds N]`: on each runtime, requests per second as ratios to the raw server of the
 * same runtime in the same run, by throughput and by CPU time per request, time from start to first answer, and memory
 * when idle. Each subject has N seconds, in rounds between those of the raw server.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeFixture } from "./fixture.mjs";
import { canPin, cpuSeconds, load } from "./processes.mjs";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "4" }, only: { type: "string", default: "" } },
});
const rounds = 9;
const seconds = Number(values.seconds) / rounds;
/** Until the compilers of both sides have done most of their work. */
const warmUpSeconds = 1;
const repo = join(import.meta.dirname, "..");
const modules = join(repo, "test/node_modules");
const command = join(repo, "dist/bin/openwork-server.js");
const hello = join(import.meta.dirname, "hello.mjs");
const bun = join(modules, "@oven/bun-linux-x64/bin/bun");
const deno = [join(modules, "@deno/linux-x64-glibc/deno"), "run", "-A", "--unstable-no-legacy-abort"];
const onNode = { health: 0.5, config: 0.25, skills: 0.25, commands: 0.25 };

const runtimes = [
  ...[
    ["Node 20", process.execPath],
    ["Node 22", join(modules, "node-22/bin/node")],
    ["Node 24", join(modules, "node-24/bin/node")],
  ].map(([name, node]) => ({
    name,
    raw: [node, hello],
    server: [node, command],
    ratios: onNode,
    startMs: 200,
  })),
  {
    name: "Bun",
    raw: [bun, join(import.meta.dirname, "hello-bun.mjs")],
    server: [bun, command],
    ratios: { health: 0.85, whoami: 0.6, config: 0.4, skills: 0.4, commands: 0.4 },
    startMs: 120,
  },
  { name: "Deno", server: [...deno, command], startMs: 400 },
  { name: "Binary", server: [join(repo, "out/openwork-server")], startMs: 80 },
].filter(
  ({ name, server }) => existsSync(server[0]) && name.toLowerCase().includes(values.only.toLowerCase()),
);

const token = "bench-token";
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const running = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts a program on the first core; resolves with its port when it has printed it. */
function start(words, pattern, fixture) {
  const [program, ...args] = canPin ? ["taskset", "-c", "0", ...words] : words;
  const env = {
    PATH: process.env.PATH,
    HOME: fixture.home,
    OPENWORK_TOKEN: token,
    OPENWORK_HOST_TOKEN: "host",
  };
  const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text = (text + chunk).slice(-10_000);
      const found = pattern.exec(text);
      if (found) resolve({ child, port: Number(found[1]) });
    });
    child.once("close", (code) => reject(new Error(`${words.join(" ")} ended with ${code}: ${text}`)));
  });
}

function stop({ child }) {
  return new Promise((resolve) => {
    child.once("close", resolve);
    child.kill("SIGKILL");
  });
}

const startServer = ({ server }, fixture, flags = []) =>
  start(
    [...server, "--workspace", fixture.workspace, "--port", "0", "--approval", "auto", ...flags],
    /listening on http:\/\/127\.0\.0\.1:(\d+)/,
    fixture,
  );

/** Medians of all rounds, with the worst one, and whether they reach the target. */
function judge(found, target) {
  const middle = (key) => median(found.map((one) => one[key]));
  const [perSecond, ratio, ofCpu, cpuMicros] = ["perSecond", "ratio", "ofCpu", "cpuMicros"].map(middle);
  // On a busy machine only that by CPU means something; on an idle one both are the same.
  const judged = Number.isNaN(ofCpu) ? ratio : ofCpu;
  const worst = Math.min(...found.map((one) => (Number.isNaN(ofCpu) ? one.ratio : one.ofCpu)));
  const times = `${ratio.toFixed(2)} ×, by CPU ${ofCpu.toFixed(2)} × (worst round ${worst.toFixed(2)} ×, ${cpuMicros.toFixed(0)} µs each)`;
  const goal = target === undefined ? ["", ""] : [`≥ ${target} ×`, judged >= target ? "pass" : "**fail**"];
  return [`${Math.round(perSecond).toLocaleString("en-US")} req/s, ${times}`, ...goal];
}

async function throughput(runtime, fixture) {
  if (!runtime.raw) return [];
  const raw = await start(runtime.raw, /^(\d+)\n/, fixture);
  const server = await startServer(runtime, fixture, ["--no-log-requests"]);
  const ws = `/workspace/${fixture.id}`;
  const paths = {
    health: "/health",
    whoami: "/whoami",
    config: `${ws}/config`,
    skills: `${ws}/skills`,
    commands: `${ws}/commands`,
  };
  const headers = { authorization: `Bearer ${token}` };
  const rate = async (subject, path) => {
    const cpuBefore = cpuSeconds(subject);
    const { requests, perSecond } = await load({
      port: subject.port,
      path,
      headers,
      connections: 32,
      seconds,
    });
    return { perSecond, cpuMicros: ((cpuSeconds(subject) - cpuBefore) / requests) * 1e6 };
  };
  const warmUp = ({ port }, path) => load({ port, path, headers, connections: 32, seconds: warmUpSeconds });
  await warmUp(raw, "/");
  const rows = [];
  for (const [name, path] of Object.entries(paths)) {
    await warmUp(server, path);
    const found = [];
    let before = await rate(raw, "/");
    for (let round = 0; round < rounds; round += 1) {
      const own = await rate(server, path);
      const after = await rate(raw, "/");
      // The yardstick before and after: a noisy moment hits both.
      const ratio = own.perSecond / ((before.perSecond + after.perSecond) / 2);
      const ofCpu = (before.cpuMicros + after.cpuMicros) / 2 / own.cpuMicros;
      found.push({ ...own, ratio, ofCpu });
      before = after;
    }
    rows.push([runtime.name, `GET ${name}`, ...judge(found, runtime.ratios[name])]);
  }
  await Promise.all([stop(raw), stop(server)]);
  return rows;
}

async function startAndMemory(runtime, fixture) {
  const times = [];
  let idle = Number.NaN;
  for (let n = 0; n < 7; n += 1) {
    const startedAt = performance.now();
    const server = await startServer(runtime, fixture);
    await (await fetch(`http://127.0.0.1:${server.port}/health`)).text();
    times.push(performance.now() - startedAt);
    if (n === 6) {
      await new Promise((resolve) => setTimeout(resolve, 1500));
      const status = readFileSync(`/proc/${server.child.pid}/status`, "utf8");
      idle = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
    }
    await stop(server);
  }
  const ms = median(times);
  return [
    [
      runtime.name,
      "start to first answer",
      `${ms.toFixed(0)} ms, best ${Math.min(...times).toFixed(0)} ms`,
      `≤ ${runtime.startMs} ms`,
      ms <= runtime.startMs ? "pass" : "**fail**",
    ],
    [
      runtime.name,
      "memory when idle",
      `${idle.toFixed(0)} MiB`,
      "≤ 70 MB",
      idle * 1.048576 <= 70 ? "pass" : "**fail**",
    ],
  ];
}

const fixture = await makeFixture();
try {
  console.log("| Runtime | What | Measured | Target | |\n| --- | --- | --- | --- | --- |");
  for (const runtime of runtimes) {
    const rows = [...(await throughput(runtime, fixture)), ...(await startAndMemory(runtime, fixture))];
    for (const cells of rows) console.log(`| ${cells.join(" | ")} |`);
  }
} finally {
  await fixture.remove();
}
