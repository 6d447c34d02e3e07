// node fastify.mjs
import Fastify from "fastify";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toNodeListener, toUpgradeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const handler = await createHandler(createNodeHost(config), { basePath: "/agent" });
const openwork = toNodeListener(handler);

const app = Fastify();
app.addHook("onRequest", (request, reply, next) => openwork(request.raw, reply.raw, next));
app.get("/", () => "your own page");
app.server.on("upgrade", toUpgradeListener(handler)); // the engine's terminals
await app.listen({ port: Number(process.env.PORT ?? 3000) });
