// node next-server.mjs: a custom server of a Next.js application, in the place of `next start`.
import { createServer } from "node:http";
import next from "next";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toNodeListener, toUpgradeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const handler = await createHandler(createNodeHost(config), { basePath: "/agent" });
const openwork = toNodeListener(handler);

const app = next({ dev: process.env.NODE_ENV !== "production" });
await app.prepare();
const pages = app.getRequestHandler();

const server = createServer((req, res) => openwork(req, res, () => pages(req, res)));
server.on("upgrade", toUpgradeListener(handler)); // the engine's terminals; Next.js adds a listener of its own
server.listen(process.env.PORT ?? 3000);
