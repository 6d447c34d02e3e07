import { load, mount, run } from "./program.mjs";

const { createBunHost, withWebSockets } = await load("adapters/bun.js");
const handler = await mount(createBunHost);

/** How many there have been. */
let opened = 0;
let closed = 0;
const own = {
  ...(process.env.BACKPRESSURE_LIMIT && { backpressureLimit: Number(process.env.BACKPRESSURE_LIMIT) }),
  open(socket) {
    opened += 1;
    socket.send(`${socket.data.name} ${opened}`);
  },
  message(socket, data) {
    socket.send(`own ${data} to ${this === own}, ${closed} closed`);
  },
  close() {
    closed += 1;
  },
};
const openwork = withWebSockets(handler, { websocket: own });

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  async fetch(request, server) {
    const answer = await openwork(request, server);
    if (answer) return answer;
    if (server.upgrade(request, { data: { name: "live" } })) return;
    return new Response("your own page");
  },
  websocket: openwork.websocket,
});
run(server.port, () => {
  openwork.close();
  return Promise.all([handler.close(), server.stop()]);
});
