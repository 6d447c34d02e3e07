// node node-http.mjs: serves the current directory below /agent, beside your own pages.
import { createServer } from "node:http";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toNodeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const openwork = toNodeListener(await createHandler(createNodeHost(config), { basePath: "/agent" }));

createServer((req, res) => openwork(req, res, () => res.end("your own page"))).listen(
  process.env.PORT ?? 3000,
);
