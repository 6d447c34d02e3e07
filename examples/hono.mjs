// bun hono.mjs, or deno serve -A --unstable-no-legacy-abort --port 3000 hono.mjs. Keeps everything in memory.
import { Hono } from "hono";
import { createHandler } from "openwork-server";
import { createMemoryHost } from "openwork-server/host";
import { withWebSockets } from "openwork-server/runtime";

const settings = { token: "a-client-token", hostToken: "a-host-token" };
const handler = await createHandler(createMemoryHost({ settings }), { basePath: "/agent" });
const openwork = withWebSockets(handler); // the engine's terminals

const app = new Hono();
app.use(async (c, next) => (await openwork(c.req.raw, c.env)) ?? next());
app.get("/", (c) => c.text("your own page"));
const { fetch } = app;
export default { port: process.env.PORT ?? 3000, idleTimeout: 0, fetch, websocket: openwork.websocket };
