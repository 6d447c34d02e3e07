import type { Awaitable } from "../lib/awaitable.ts";
import type { Host } from "../lib/host.ts";
import { checkBasePath } from "../lib/public-address.ts";
import type { Tunnel } from "../lib/proxy.ts";
import type { Route } from "../lib/route.ts";
import { closeServices, openServices } from "../lib/services.ts";
import { routes as approvals } from "./approvals.ts";
import { routes as artifacts } from "./artifacts.ts";
import { routes as audit } from "./audit.ts";
import { routes as asyncRequests } from "./async-requests.ts";
import { routes as catalog } from "./catalog.ts";
import { Dispatcher } from "./dispatch.ts";
import { routes as fileBatches } from "./file-batches.ts";
import { routes as fileEvents } from "./file-events.ts";
import { routes as fileOps } from "./file-ops.ts";
import { routes as fileSessions } from "./file-sessions.ts";
import { routes as engine } from "./engine.ts";
import { routes as events } from "./events.ts";
import { routes as skills } from "./skills.ts";
import { routes as commands } from "./commands.ts";
import { routes as config } from "./config.ts";
import { routes as content } from "./content.ts";
import { routes as inbox } from "./inbox.ts";
import { Locator } from "./locator.ts";
import { routes as mcp } from "./mcp.ts";
import { openapiRoutes } from "./openapi.ts";
import { routes as plugins } from "./plugins.ts";
import { routes as portability } from "./portability.ts";
import { routes as raw } from "./raw.ts";
import { routes as proxy } from "./proxy.ts";
import { routes as search } from "./search.ts";
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
  ...asyncRequests,
  ...events,
  ...engine,
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
  ...search,
  ...fileSessions,
  ...catalog,
  ...fileBatches,
  ...fileOps,
  ...fileEvents,
  ...audit,
  ...proxy,
  ...ui,
  ...openapiRoutes(() => routes),
];

/** A server as a pure function, with a way to end it. */
export interface Handler<Elsewhere = never> {
  (request: Request): Promise<Response | Elsewhere>;
  /** The same without a promise where the answer is there at once, for servers that send such answers faster. */
  answer(request: Request): Awaitable<Response | Elsewhere>;
  /** The same for a request that asks for a WebSocket: an answer, or whom to connect its socket to. */
  upgrade(request: Request): Promise<Response | Tunnel | Elsewhere>;
  /** Whether a request is below the base path, and so for this handler; any other is answered null. */
  serves(request: { url: string }): boolean;
  /** Ends long polls and streams at once, withdraws what waits for approval and stops watching. */
  close(): Promise<void>;
}

/** How a handler sits in somebody else's server. */
export interface HandlerOptions {
  /**
   * The path below which this server answers, such as `/agent`; with it the handler answers null to every other
   * request. Default: that of the settings, and every other request is answered 404.
   */
  basePath?: string;
  /**
   * Believe the `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix` headers. Only behind a proxy that
   * sets all three itself: elsewhere any caller could point links to another host. Default: that of the
   * settings, false unless set.
   */
  trustProxy?: boolean;
  /**
   * Names under which public pages are shown without a token, beside addresses, `localhost` and the CORS origins; `*`
   * for any. Default: those of the settings, any unless set: a program that hosts this handler has its own listener.
   */
  allowedHosts?: readonly string[];
}

/**
 * Opens the stores of a host and returns its handler. Two handlers in one process share nothing.
 * Throws an `ApiError` `token_store_damaged` when the token store makes no sense, and a `StorageError` when it or the
 * data directory cannot be used: nothing is served then; and a TypeError for a base path that is none.
 */
export function createHandler(
  host: Host,
  options: HandlerOptions & { basePath: string },
): Promise<Handler<null>>;
export function createHandler(
  host: Host,
  options?: HandlerOptions & { basePath?: undefined },
): Promise<Handler>;
export async function createHandler(host: Host, options: HandlerOptions = {}): Promise<Handler<null>> {
  const { config } = host;
  const mounting = {
    basePath: checkBasePath(options.basePath ?? config.basePath),
    trustProxy: options.trustProxy ?? config.trustProxy,
    allowedHosts: options.allowedHosts ?? config.allowedHosts ?? ["*"],
  };
  const isComposed = options.basePath !== undefined;
  const services = await openServices(host);
  const dispatcher = new Dispatcher(services, mounting);
  const locator = new Locator(routes, mounting.basePath);
  const handle = async (request: Request): Promise<Response | null> => answer(request);
  const serves = ({ url }: { url: string }): boolean => !isComposed || !locator.find(url).isElsewhere;
  function answer(request: Request): Awaitable<Response | null> {
    const destination = locator.find(request.url);
    return isComposed && destination.isElsewhere ? null : dispatcher.handle(request, destination);
  }
  async function upgrade(request: Request): Promise<Response | Tunnel | null> {
    const destination = locator.find(request.url);
    return isComposed && destination.isElsewhere ? null : dispatcher.upgrade(request, destination);
  }
  return Object.assign(handle, { answer, upgrade, serves, close: () => closeServices(services) });
}
