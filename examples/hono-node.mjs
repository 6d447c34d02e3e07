// node hono-node.mjs
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toUpgradeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const openwork = await createHandler(createNodeHost(config), { basePath: "/agent" });

const app = new Hono();
app.use(async (c, next) => (await openwork(c.req.raw)) ?? next());
app.get("/", (c) => c.text("your own page"));
const server = serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000) });
server.on("upgrade", toUpgradeListener(openwork)); // the engine's terminals
