// node node-http.mjs: serves the current directory below /agent, beside your own pages.
import { createServer } from "node:http";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toNodeListener, toUpgradeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const handler = await createHandler(createNodeHost(config), { basePath: "/agent" });
const openwork = toNodeListener(handler);

const server = createServer((req, res) => openwork(req, res, () => res.end("your own page")));
server.on("upgrade", toUpgradeListener(handler)); // the engine's terminals
server.listen(process.env.PORT ?? 3000);
