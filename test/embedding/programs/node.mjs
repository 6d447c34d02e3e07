import { createServer } from "node:http";
import { createRequire } from "node:module";
import { setTimeout } from "node:timers/promises";
import { load, mount, run } from "./program.mjs";

const { WebSocketServer } = createRequire(new URL("../../node_modules/", import.meta.url))("ws");
const { createNodeHost, toNodeListener, toUpgradeListener } = await load("adapters/node.js");
const handler = await mount(createNodeHost);
const openwork = toNodeListener(handler);
const upgrades = toUpgradeListener(handler);

const server = createServer((req, res) => openwork(req, res, () => res.end("your own page")));
server.on("upgrade", upgrades);

/** How many there have been. */
let opened = 0;
const live = new WebSocketServer({ noServer: true });
live.on("connection", (socket) => {
  socket.send(`live ${(opened += 1)}`);
  socket.on("message", (data) => socket.send(`own ${data} to true, 0 closed`));
});
// Another listener beside, such as that of Next.js: it makes up its mind later, and leaves what is not its own alone.
server.on("upgrade", async (req, socket, head) => {
  await setTimeout(50);
  if (req.url === "/live") live.handleUpgrade(req, socket, head, (ws) => live.emit("connection", ws));
});

server.listen(0, "127.0.0.1", () => {
  run(server.address().port, async () => {
    upgrades.close();
    server.close();
    await handler.close();
  });
});
