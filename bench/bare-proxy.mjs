/** The least that a proxy can do in `node:http`: no check, no change, a pipe each way. What ours costs beyond it is ours. */
import { Agent, createServer, request } from "node:http";
import { pipeline } from "node:stream";

const port = Number(process.argv[2]);
const agent = new Agent({ keepAlive: true });
const server = createServer((req, res) => {
  const path = req.url.replace("/opencode", "");
  const out = request({ port, path, method: req.method, headers: req.headers, agent }, (answer) => {
    res.writeHead(answer.statusCode, answer.headers);
    pipeline(answer, res, () => {});
  });
  out.on("error", () => res.destroy());
  res.on("close", () => out.destroy());
  pipeline(req, out, () => {});
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
