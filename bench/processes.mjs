import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

const running = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Whether server and load can have a core each. */
export const canPin =
  availableParallelism() > 1 && spawnSync("taskset", ["--version"], { stdio: "ignore" }).status === 0;

/** Starts Node on one core: 0 for what is measured, 1 for what measures; null for any. */
function start(core, args, options = {}) {
  const command =
    canPin && core !== null ? ["taskset", "-c", String(core), process.execPath] : [process.execPath];
  const child = spawn(command[0], [...command.slice(1), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    ...options,
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  child.stdout.setEncoding("utf8");
  return child;
}

/** Resolves with the first match in what a process prints; rejects when it ends before. */
function printed(child, pattern) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text = (text + chunk).slice(-10_000);
      const found = pattern.exec(text);
      if (found) resolve(found[1]);
    });
    child.once("close", (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
}

const file = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Starts the yardstick. */
export async function startHello() {
  const child = start(0, [file("hello.mjs")]);
  return { port: Number(await printed(child, /^(\d+)\n/)), child };
}

/** Starts the yardstick of transfers. */
export async function startBareTransfer(source, copy) {
  const child = start(null, [file("bare-transfer.mjs"), source, copy]);
  return { port: Number(await printed(child, /^(\d+)\n/)), child };
}

/** Starts the server on a free port and tells how many milliseconds it took to the first answer. */
export async function startServer({ command, home, workspace, token, flags, env: extra = {}, core = 0 }) {
  const startedAt = performance.now();
  const args = [command, "--workspace", workspace, "--port", "0", "--approval", "auto", ...flags];
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    OPENWORK_TOKEN: token,
    OPENWORK_HOST_TOKEN: `host-${token}`,
    ...extra,
  };
  const child = start(core, args, { env });
  const port = Number(await printed(child, /listening on http:\/\/127\.0\.0\.1:(\d+)/));
  await (await fetch(`http://127.0.0.1:${port}/health`)).text();
  return { port, child, firstAnswerMs: performance.now() - startedAt };
}

/** How many milliseconds Node takes to start and end, with nothing to do. */
export async function bareStartMs() {
  const startedAt = performance.now();
  const child = start(0, ["-e", "0"]);
  await new Promise((resolve) => {
    child.once("close", resolve);
  });
  return performance.now() - startedAt;
}

/** Seconds of CPU that the threads of a process have used, or NaN where the system does not say. */
export function cpuSeconds({ child }) {
  const tasks = `/proc/${child.pid}/task`;
  if (!existsSync(`${tasks}/${child.pid}/schedstat`)) return Number.NaN;
  // The first field is in nanoseconds; that of `stat` is in hundredths of a second, too coarse for a short round.
  return readdirSync(tasks).reduce((sum, id) => sum + threadNanos(`${tasks}/${id}/schedstat`), 0) / 1e9;
}

function threadNanos(path) {
  try {
    return Number(readFileSync(path, "utf8").split(" ", 1)[0]);
  } catch {
    // It ended after it had been listed.
    return 0;
  }
}

/** Ends a process and waits until it is gone. */
export function stop({ child }) {
  return new Promise((resolve) => {
    child.once("close", resolve);
    child.kill("SIGTERM");
  });
}

/** Runs the load generator once. */
export async function load(job) {
  const child = start(1, [file("load.mjs"), JSON.stringify(job)]);
  const result = JSON.parse(await printed(child, /^(\{.*\})\n/));
  if (result.failures > 0) throw new Error(`${result.failures} requests to ${job.path} failed`);
  return { ...result, perSecond: result.requests / result.seconds };
}
