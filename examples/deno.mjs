// deno run -A --unstable-no-legacy-abort deno.mjs
import { createHandler } from "openwork-server";
import { configure, createDenoHost } from "openwork-server/deno";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const openwork = await createHandler(createDenoHost(config), { basePath: "/agent" });

const port = Number(Deno.env.get("PORT") ?? 3000);
Deno.serve({ port }, async (request) => (await openwork(request)) ?? new Response("your own page"));
