// In the place of the package `next`, as far as a custom server sees of it: the first request has it listen to the upgrades
// of that request's server, where it answers its own in a later turn and leaves all others alone.
import { setTimeout } from "node:timers/promises";

async function onUpgrade(req, socket) {
  await setTimeout(20);
  if (req.url !== "/_next/hmr") return;
  // Enough for a test to tell who answered.
  socket.end("HTTP/1.1 418 Reloading\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

export default function next() {
  let isListening = false;
  return {
    prepare: async () => {},
    getRequestHandler: () => async (req, res) => {
      if (!isListening) req.socket.server.on("upgrade", onUpgrade);
      isListening = true;
      res.end("your own page");
    },
  };
}
