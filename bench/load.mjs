/**
 * Load generator, run as a process of its own: `node load.mjs '<job as JSON>'`. Keeps a number of connections
 * busy with one request at a time each, over plain sockets, because an HTTP client costs more than the server
 * under test. Prints one line of JSON: requests, seconds, failures and latencies in milliseconds.
 */
import { connect } from "node:net";

const headEnd = Buffer.from("\r\n\r\n");

/** @type {{ port: number, path: string, headers: Record<string, string>, connections: number, seconds: number }} */
const job = JSON.parse(process.argv[2] ?? "{}");
const request = Buffer.from(
  [
    `GET ${job.path} HTTP/1.1`,
    "host: 127.0.0.1",
    ...Object.entries(job.headers).map(([k, v]) => `${k}: ${v}`),
  ].join("\r\n") + "\r\n\r\n",
);
const latencies = [];
let failures = 0;
const start = performance.now();
const end = start + job.seconds * 1000;

/** Bytes of the first answer in a buffer, or 0 while it is not whole. */
function answerLength(bytes) {
  const head = bytes.indexOf(headEnd);
  if (head < 0) return 0;
  const length = /\r\ncontent-length: *(\d+)/i.exec(bytes.latin1Slice(0, head))?.[1];
  if (length === undefined) throw new Error("an answer without Content-Length cannot be measured");
  const total = head + 4 + Number(length);
  return bytes.length >= total ? total : 0;
}

function client() {
  return new Promise((resolve, reject) => {
    const socket = connect(job.port, "127.0.0.1");
    let waiting = Buffer.alloc(0);
    let sentAt = 0;
    function next() {
      sentAt = performance.now();
      if (sentAt >= end) {
        socket.destroy();
        resolve();
      } else socket.write(request);
    }
    socket.setNoDelay(true);
    socket.on("connect", next);
    socket.on("error", reject);
    socket.on("close", resolve);
    socket.on("data", (chunk) => {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
      const length = answerLength(waiting);
      if (length === 0) return;
      // "HTTP/1.1 200": the status begins at the tenth byte.
      if (waiting[9] !== 0x32) failures += 1;
      waiting = waiting.subarray(length);
      latencies.push(performance.now() - sentAt);
      next();
    });
  });
}

await Promise.all(Array.from({ length: job.connections }, client));
latencies.sort((a, b) => a - b);
const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
process.stdout.write(
  `${JSON.stringify({
    requests: latencies.length,
    seconds: (performance.now() - start) / 1000,
    failures,
    p50: at(0.5),
    p99: at(0.99),
  })}\n`,
);
