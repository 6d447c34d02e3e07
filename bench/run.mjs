/**
 * `npm run bench [-- --server PATH] [-- --rounds N] [-- --seconds N]`: measures the built server and prints one
 * table. What is measured against what, and why so, is in README.md beside this file.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeFixture, writeAuditLog } from "./fixture.mjs";
import { bareStartMs, canPin, cpuSeconds, load, startHello, startServer, stop } from "./processes.mjs";

const { values } = parseArgs({
  options: {
    server: {
      type: "string",
      default: fileURLToPath(new URL("../dist/bin/openwork-server.js", import.meta.url)),
    },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "2" },
    only: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const token = "bench-token";
const connections = 32;

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
const whole = (n) => Math.round(n).toLocaleString("en-US");
const mark = (ok) => (ok ? "pass" : "**fail**");

/** What each subject reaches, in turns, round after round, so that a noisy moment hits all alike. */
async function throughput(subjects) {
  const results = subjects.map(() => ({ perSecond: [], cpuMicros: [] }));
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, { server, path }] of subjects.entries()) {
      const headers = { authorization: `Bearer ${token}` };
      // Round -1 warms up: compiled code and filled caches are what a running server has.
      const job = { port: server.port, path, headers, connections, seconds: round < 0 ? 1 : seconds };
      const before = cpuSeconds(server);
      const { perSecond, requests } = await load(job);
      if (round < 0) continue;
      results[index].perSecond.push(perSecond);
      results[index].cpuMicros.push(((cpuSeconds(server) - before) / requests) * 1e6);
    }
  }
  return results.map(({ perSecond, cpuMicros }) => ({
    perSecond: median(perSecond),
    cpuMicros: median(cpuMicros),
  }));
}

async function measureThroughput(fixture, options) {
  const hello = await startHello();
  const quiet = await startServer({ ...options, flags: ["--no-log-requests"] });
  const logging = await startServer({ ...options, flags: ["--log-requests"] });
  const ws = `/workspace/${fixture.id}`;
  const subjects = [
    { name: "`node:http` hello-world", server: hello, path: "/" },
    { name: "GET /health", server: quiet, path: "/health", target: 0.5 },
    { name: "GET /whoami", server: quiet, path: "/whoami" },
    { name: "GET …/config", server: quiet, path: `${ws}/config`, target: 0.25 },
    { name: "GET …/skills (20)", server: quiet, path: `${ws}/skills`, target: 0.25 },
    { name: "GET …/commands (20)", server: quiet, path: `${ws}/commands`, target: 0.25 },
    { name: "GET /health, request log on", server: logging, path: "/health" },
    { name: "`node:http` hello-world, again", server: hello, path: "/" },
  ].filter(({ name, server }) => !values.only || server === hello || name.includes(values.only));
  const rates = await throughput(subjects);
  const raw = (rates[0].perSecond + rates.at(-1).perSecond) / 2;
  await Promise.all([hello, quiet, logging].map(stop));
  const rows = [];
  for (const [index, { name, target }] of subjects.entries()) {
    const { perSecond, cpuMicros } = rates[index];
    const ratio = perSecond / raw;
    const cpu = Number.isNaN(cpuMicros) ? "" : `, ${cpuMicros.toFixed(0)} µs of CPU each`;
    const measured = `${whole(perSecond)} req/s, ${ratio.toFixed(2)} ×${cpu}`;
    if (target === undefined) rows.push([name, measured, "", ""]);
    else rows.push([name, measured, `≥ ${target} ×`, mark(ratio >= target)]);
  }
  return rows;
}

async function measureAudit(fixture, options) {
  await writeAuditLog(fixture, 60);
  const server = await startServer({ ...options, flags: ["--no-log-requests"] });
  const path = `/workspace/${fixture.id}/audit?limit=50`;
  const job = { port: server.port, path, headers: { authorization: `Bearer ${token}` }, connections: 1 };
  await load({ ...job, seconds: 0.5 });
  const { p50, p99 } = await load({ ...job, seconds });
  await stop(server);
  return [
    [
      "Audit page of 50 out of 60 MB, p50",
      `${p50.toFixed(2)} ms (p99 ${p99.toFixed(2)} ms)`,
      "≤ 3 ms",
      mark(p50 <= 3),
    ],
  ];
}

async function measureStart(options) {
  const times = [];
  const bare = [];
  let memory = "not known here";
  for (let n = 0; n < 10; n += 1) {
    bare.push(await bareStartMs());
    const server = await startServer({ ...options, flags: [] });
    times.push(server.firstAnswerMs);
    if (n === 9) {
      await new Promise((resolve) => {
        setTimeout(resolve, 1000);
      });
      const status = `/proc/${server.child.pid}/status`;
      const kilobytes = existsSync(status) && /VmRSS:\s+(\d+)/.exec(readFileSync(status, "utf8"))?.[1];
      if (kilobytes) memory = `${(Number(kilobytes) / 1024).toFixed(0)} MiB resident`;
    }
    await stop(server);
  }
  const ms = median(times);
  const measured = `${ms.toFixed(0)} ms (an empty Node program: ${median(bare).toFixed(0)} ms)`;
  return [
    ["Process start to first answer, median of 10", measured, "≤ 250 ms", mark(ms <= 250)],
    ["Memory when idle", memory, "", ""],
  ];
}

async function main() {
  const fixture = await makeFixture();
  try {
    const options = { command: values.server, home: fixture.home, workspace: fixture.workspace, token };
    const rows = await measureThroughput(fixture, options);
    if (!values.only) rows.push(...(await measureStart(options)), ...(await measureAudit(fixture, options)));
    const table = [["What", "Measured", "Target", ""], ["---", "---", "---", "---"], ...rows];
    for (const cells of table) console.log(`| ${cells.join(" | ")} |`);
    console.log(
      `\nNode ${process.version}; ${connections} connections; ${rounds} rounds of ${seconds} s, medians; ${
        canPin ? "server and load on a core each" : "cores not pinned: compare with care"
      }.`,
    );
  } finally {
    await fixture.remove();
  }
}

await main();
