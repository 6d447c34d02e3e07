// deno run -A --unstable-no-legacy-abort deno.mjs
import { createHandler } from "openwork-server";
import { configure, createDenoHost, withWebSockets } from "openwork-server/deno";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const handler = await createHandler(createDenoHost(config), { basePath: "/agent" });
const openwork = withWebSockets(handler); // the engine's terminals

const port = Number(Deno.env.get("PORT") ?? 3000);
Deno.serve({ port }, async (request) => (await openwork(request)) ?? new Response("your own page"));
