import type { Host } from "../lib/host.ts";
import type { Tunnel } from "../lib/proxy.ts";
import type { Route } from "../lib/route.ts";
import { closeServices, openServices } from "../lib/services.ts";
import { routes as approvals } from "./approvals.ts";
import { routes as artifacts } from "./artifacts.ts";
import { routes as audit } from "./audit.ts";
import { routes as deferred } from "./deferred.ts";
import { Dispatcher } from "./dispatch.ts";
import { routes as events } from "./events.ts";
import { routes as skills } from "./skills.ts";
import { routes as commands } from "./commands.ts";
import { routes as config } from "./config.ts";
import { routes as content } from "./content.ts";
import { routes as inbox } from "./inbox.ts";
import { routes as mcp } from "./mcp.ts";
import { routes as plugins } from "./plugins.ts";
import { routes as portability } from "./portability.ts";
import { routes as raw } from "./raw.ts";
import { routes as server } from "./server.ts";
import { routes as tokens } from "./tokens.ts";
import { routes as ui } from "./ui.ts";
import { routes as workspaces } from "./workspaces.ts";

/** The route table: every endpoint of the server, as data. */
export const routes: readonly Route[] = [
  ...server,
  ...workspaces,
  ...tokens,
  ...approvals,
  ...deferred,
  ...events,
  ...config,
  ...mcp,
  ...plugins,
  ...skills,
  ...commands,
  ...portability,
  ...inbox,
  ...artifacts,
  ...content,
  ...raw,
  ...audit,
  ...ui,
];

/** A server as a pure function, with a way to end it. */
export interface Handler {
  (request: Request): Promise<Response>;
  /** The same for a request that asks for a WebSocket: an answer, or whom to connect its socket to. */
  upgrade(request: Request): Promise<Response | Tunnel>;
  /** Ends long polls and streams at once, withdraws what waits for approval and stops watching. */
  close(): Promise<void>;
}

/**
 * Opens the stores of a host and returns its handler. Two handlers in one process share nothing.
 * Throws an `ApiError` `token_store_damaged` when the token store cannot be read: nothing is served then.
 */
export async function createHandler(host: Host): Promise<Handler> {
  const services = await openServices(host);
  const dispatcher = new Dispatcher(services, routes);
  return Object.assign((request: Request) => dispatcher.handle(request), {
    upgrade: (request: Request) => dispatcher.upgrade(request),
    close: () => closeServices(services),
  });
}
