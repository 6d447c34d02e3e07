/**
 * `npm run bench:transfer [-- --server PATH] [-- --rounds N] [-- --megabytes N]`: sends a file to the built
 * server and fetches it back, raw and as a form, against `cat` doing the same on the same disk in the same
 * minute, and measures how much memory that costs the server at its peak (Linux).
 */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeFixture } from "./fixture.mjs";
import { startBareTransfer, startServer, stop } from "./processes.mjs";

const { values } = parseArgs({
  options: {
    server: { type: "string", default: fileURLToPath(new URL("../dist/adapters/cli.js", import.meta.url)) },
    rounds: { type: "string", default: "5" },
    megabytes: { type: "string", default: "250" },
  },
});
const rounds = Number(values.rounds);
const size = Number(values.megabytes) * 1_000_000;
const token = "bench-token";
const piece = Buffer.alloc(1_000_000, "what is carried over ");
const boundary = "----------------------------bench";

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
const shell = (command) => execFileSync("/bin/sh", ["-c", command], { stdio: "ignore" });

async function timed(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** One request on a connection of its own; the answer is read and thrown away. */
function exchange(port, { method, path, headers = {}, before = "", after = "", sends = 0 }) {
  return new Promise((resolve, reject) => {
    const length = Buffer.byteLength(before) + sends + Buffer.byteLength(after);
    const options = { port, method, path, agent: false };
    const authorization = { authorization: `Bearer ${token}`, "content-length": length };
    const req = request({ ...options, headers: { ...authorization, ...headers } }, (res) => {
      let received = 0;
      res.on("data", (chunk) => (received += chunk.length));
      res.once("error", reject);
      res.once("end", () =>
        res.statusCode < 300 ? resolve(received) : reject(new Error(`${method} ${path}: ${res.statusCode}`)),
      );
    });
    req.once("error", reject);
    if (before) req.write(before);
    let left = sends;
    const push = () => {
      while (left > 0) {
        left -= piece.length;
        if (!req.write(piece)) return void req.once("drain", push);
      }
      req.end(after);
    };
    push();
  });
}

function statusOf(pid, field) {
  const file = `/proc/${pid}/status`;
  const line = existsSync(file) && new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(file, "utf8"));
  return line ? Number(line[1]) / 1024 : Number.NaN;
}

/** The peak memory over `work` above what the idle server has, in MB. */
async function peakOver(pid, work) {
  const clear = `/proc/${pid}/clear_refs`;
  if (!existsSync(clear)) return Number.NaN;
  const idle = statusOf(pid, "VmRSS");
  writeFileSync(clear, "5");
  await work();
  return statusOf(pid, "VmHWM") - idle;
}

function writeSource(path) {
  const fd = openSync(path, "w");
  for (let left = size; left > 0; left -= piece.length) writeSync(fd, piece);
  fsyncSync(fd);
  closeSync(fd);
}

async function measure(fixture) {
  const source = join(fixture.workspace, "source.bin");
  const copy = join(fixture.workspace, "copy.bin");
  writeSource(source);
  const inbox = join(fixture.workspace, ".opencode/openwork/inbox/form.bin");
  const uploads = [join(fixture.workspace, "put.bin"), inbox];
  const server = await startServer({
    command: values.server,
    home: fixture.home,
    workspace: fixture.workspace,
    token,
    flags: ["--no-log-requests"],
    env: { OPENWORK_INBOX_MAX_BYTES: String(size) },
    // As `cat`, which may also use what the machine has.
    core: null,
  });
  const bare = await startBareTransfer(source, copy);
  const { port, child } = server;
  const raw = `/workspace/${fixture.id}/files/raw?path=`;
  const form = {
    method: "POST",
    path: `/workspace/${fixture.id}/inbox`,
    headers: { "content-type": `multipart/form-data; boundary=${boundary}` },
    before: `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="form.bin"\r\n\r\n`,
    after: `\r\n--${boundary}--\r\n`,
    sends: size,
  };
  const works = {
    "cat, writing": () => shell(`cat '${source}' > '${copy}'`),
    "cat, writing to the disk": () => shell(`cat '${source}' > '${copy}' && sync '${copy}'`),
    "cat, reading through a pipe": () => shell(`cat '${source}' | cat > /dev/null`),
    "node:http, writing": () => exchange(bare.port, { method: "PUT", path: "/", sends: size }),
    "node:http, reading": () => exchange(bare.port, { method: "GET", path: "/" }),
    "PUT files/raw": () => exchange(port, { method: "PUT", path: `${raw}put.bin`, sends: size }),
    "POST inbox": () => exchange(port, form),
    "GET files/raw": () => exchange(port, { method: "GET", path: `${raw}source.bin` }),
  };
  const seconds = Object.fromEntries(Object.keys(works).map((name) => [name, []]));
  const peaks = { ...seconds };
  for (const name of Object.keys(works)) peaks[name] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, work] of Object.entries(works)) {
      // Each writes a new file: one that replaces another needs memory for both until the old one is gone.
      rmSync(copy, { force: true });
      for (const path of uploads) rmSync(path, { force: true });
      shell("sync");
      const peak = await peakOver(child.pid, async () => seconds[name].push(await timed(work)));
      peaks[name].push(peak);
    }
  }
  await Promise.all([server, bare].map(stop));
  return { seconds, peaks };
}

const fixture = await makeFixture();
try {
  const { seconds, peaks } = await measure(fixture);
  const rate = (name) => size / 1e6 / median(seconds[name]);
  const yardsticks = {
    "PUT files/raw": ["cat, writing", "cat, writing to the disk", "node:http, writing"],
    "POST inbox": ["cat, writing", "cat, writing to the disk", "node:http, writing"],
    "GET files/raw": ["cat, reading through a pipe", "node:http, reading"],
  };
  console.log(`${size / 1e6} MB, median of ${rounds} rounds\n`);
  console.log("| work | MB/s | of the yardstick | peak memory |\n|---|---|---|---|");
  for (const name of Object.keys(seconds)) {
    const ratios = (yardsticks[name] ?? []).map(
      (yard) => `${(rate(name) / rate(yard)).toFixed(2)} × ${yard}`,
    );
    const peak = yardsticks[name] ? `+ ${Math.max(...peaks[name]).toFixed(0)} MB` : "";
    console.log(`| ${name} | ${rate(name).toFixed(0)} | ${ratios.join("; ")} | ${peak} |`);
  }
} finally {
  await fixture.remove();
}
