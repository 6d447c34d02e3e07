// bun hono.mjs (on Node: serve(app) of @hono/node-server). Keeps everything in memory.
import { Hono } from "hono";
import { createHandler } from "openwork-server";
import { createMemoryHost } from "openwork-server/host";

const settings = { token: "a-client-token", hostToken: "a-host-token" };
const openwork = await createHandler(createMemoryHost({ settings }), { basePath: "/agent" });

const app = new Hono();
app.use(async (c, next) => (await openwork(c.req.raw)) ?? next());
app.get("/", (c) => c.text("your own page"));
export default { port: Number(process.env.PORT ?? 3000), idleTimeout: 0, fetch: app.fetch };
