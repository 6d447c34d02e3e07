// bun bun.mjs
import { createHandler } from "openwork-server";
import { configure, createBunHost } from "openwork-server/bun";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const openwork = await createHandler(createBunHost(config), { basePath: "/agent" });

Bun.serve({
  port: Number(process.env.PORT ?? 3000),
  idleTimeout: 0, // else polls and streams are cut after ten seconds
  fetch: async (request) => (await openwork(request)) ?? new Response("your own page"),
});
