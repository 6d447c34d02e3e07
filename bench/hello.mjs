/** The yardstick: the least that `node:http` can do, an answer of constant bytes. Prints its port. */
import { createServer } from "node:http";

const body = Buffer.from('{"ok":true}');
const server = createServer((_request, response) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
