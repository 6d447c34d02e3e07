// A Cloudflare Worker; OPENWORK_TOKEN and OPENWORK_HOST_TOKEN are its secrets, AGENT is bound to the class.
import { createHandler } from "openwork-server";
import { createCloudflareHost, withWebSockets } from "openwork-server/cloudflare";

export class Agent {
  constructor(context, env) {
    const handler = createHandler(createCloudflareHost(context.storage, env), { basePath: "/agent" });
    this.openwork = handler.then(withWebSockets); // the engine's terminals
  }

  async fetch(request) {
    return (await (await this.openwork)(request)) ?? new Response("your own page");
  }
}

export default { fetch: (request, { AGENT }) => AGENT.get(AGENT.idFromName("agent")).fetch(request) };
