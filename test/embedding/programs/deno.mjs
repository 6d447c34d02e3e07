import { load, mount, run } from "./program.mjs";

const { createDenoHost, withWebSockets } = await load("adapters/deno.js");
const handler = await mount(createDenoHost);
const openwork = withWebSockets(handler);

/** How many there have been. */
let opened = 0;
function live(request) {
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.addEventListener("open", () => socket.send(`live ${(opened += 1)}`));
  socket.addEventListener("message", ({ data }) => socket.send(`own ${data} to true, 0 closed`));
  return response;
}

const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
  const answer = await openwork(request);
  if (answer) return answer;
  return request.headers.has("upgrade") ? live(request) : new Response("your own page");
});
run(server.addr.port, () => {
  openwork.close();
  return Promise.all([handler.close(), server.shutdown()]);
});
