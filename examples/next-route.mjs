// app/agent/[[...path]]/route.js of a Next.js application
import { createHandler } from "openwork-server";
import { createMemoryHost } from "openwork-server/host";

const settings = { token: "a-client-token", hostToken: "a-host-token" };
const openwork = createHandler(createMemoryHost({ settings }), { basePath: "/agent" });
const handler = async (request) => (await (await openwork)(request)) ?? new Response(null, { status: 404 });

export { handler as GET, handler as POST, handler as PUT, handler as PATCH, handler as DELETE };
export { handler as HEAD, handler as OPTIONS };
