/** What the proxy is measured against: a small JSON answer, a stream of any size, a place to send as much to, and event streams that stay silent. */
import { createServer } from "node:http";
import { pipeline, Readable } from "node:stream";

const small = JSON.stringify({ healthy: true, version: "1.0.0", text: "x".repeat(200) });
const chunk = Buffer.alloc(64 * 1024, 7);

function* chunks(bytes) {
  for (let left = bytes; left > 0; left -= chunk.length)
    yield left < chunk.length ? chunk.subarray(0, left) : chunk;
}

const server = createServer((req, res) => {
  const url = new URL(req.url, "http://target");
  if (url.pathname === "/small") {
    res.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(small) });
    res.end(small);
  } else if (url.pathname === "/bytes") {
    const bytes = Number(url.searchParams.get("bytes"));
    const length = url.searchParams.has("chunked") ? {} : { "content-length": bytes };
    res.writeHead(200, { "content-type": "application/octet-stream", ...length });
    pipeline(Readable.from(chunks(bytes)), res, () => {});
  } else if (url.pathname === "/sink") {
    let bytes = 0;
    req.on("data", (data) => (bytes += data.length));
    req.on("end", () => res.end(String(bytes)));
  } else {
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.write("data: connected\n\n");
  }
});
server.keepAliveTimeout = 30_000;
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
