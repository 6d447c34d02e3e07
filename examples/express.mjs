// node express.mjs
import express from "express";
import { createHandler } from "openwork-server";
import { configure, createNodeHost, toNodeListener, toUpgradeListener } from "openwork-server/node";

const config = configure({ token: "a-client-token", hostToken: "a-host-token", workspaces: [{ path: "." }] });
const openwork = await createHandler(createNodeHost(config), { basePath: "/agent" });

const app = express();
app.use(toNodeListener(openwork)); // before anything that reads bodies, such as express.json()
app.get("/", (_req, res) => res.send("your own page"));
const server = app.listen(process.env.PORT ?? 3000);
server.on("upgrade", toUpgradeListener(openwork)); // the engine's terminals
