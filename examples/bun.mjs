// bun bun.mjs
import { createHandler } from "openwork-server";
import { configure, createBunHost, withWebSockets } from "openwork-server/bun";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const handler = await createHandler(createBunHost(config), { basePath: "/agent" });
const openwork = withWebSockets(handler); // the engine's terminals; yours: withWebSockets(handler, { websocket })

Bun.serve({
  port: Number(process.env.PORT ?? 3000),
  idleTimeout: 0, // else polls and streams are cut after ten seconds
  fetch: async (request, server) => (await openwork(request, server)) ?? new Response("your own page"),
  websocket: openwork.websocket,
});
