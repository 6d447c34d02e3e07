/** The yardstick of transfer.mjs: what `node:http` and a file stream do with the same bytes, durably as well. */
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { createServer } from "node:http";
import { pipeline } from "node:stream/promises";

const [source, copy] = process.argv.slice(2);

async function take(req, res) {
  await pipeline(req, createWriteStream(copy));
  const file = await open(copy);
  await file.sync();
  await file.close();
  res.end("{}");
}

const server = createServer((req, res) => {
  if (req.method === "PUT") return void take(req, res);
  res.writeHead(200, { "content-length": statSync(source).size });
  return void pipeline(createReadStream(source), res);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
