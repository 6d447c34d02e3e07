// node fastify.mjs
import Fastify from "fastify";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toNodeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const openwork = toNodeListener(await createHandler(createNodeHost(config), { basePath: "/agent" }));

const app = Fastify();
app.addHook("onRequest", (request, reply, next) => openwork(request.raw, reply.raw, next));
app.get("/", () => "your own page");
await app.listen({ port: Number(process.env.PORT ?? 3000) });
