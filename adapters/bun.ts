import type { Host, ServerConfig } from "../lib/host.ts";
import { bunRuntime, type BunServer, type BunUpgrader, type BunWebSockets } from "./bun/runtime.ts";
import { acceptWebSocket, beside, relayed } from "./bun/websocket.ts";
import { answerEmbedded, type EmbeddedHandler, type WithWebSockets } from "./embedded.ts";
import type { HttpServer, ListenOptions } from "./http-server.ts";
import { createLocalHost, type LocalHostOptions, type LocalRuntime } from "./local/host.ts";
import { RequestService, startNative, type NativeServer } from "./local/native-server.ts";
import { refusedHandshake, Relays } from "./local/relays.ts";
import { startLocalServer, type RunningServer, type StartOptions } from "./local/server.ts";

export { ListenError } from "./http-server.ts";
export { configure } from "./local/config.ts";
export type { BunSocket, BunUpgrader, BunWebSockets } from "./bun/runtime.ts";
export type { EmbeddedHandler, WithWebSockets } from "./embedded.ts";
export type { LocalHostOptions } from "./local/host.ts";
export type { RunningServer, StartOptions } from "./local/server.ts";

/** The built-in client cuts an answer that is silent for five minutes unless it is told not to. */
const patientFetch = ((input: RequestInfo | URL, init?: RequestInit) =>
  fetch(input, { ...init, timeout: false } as RequestInit)) as typeof fetch;

const runtime: LocalRuntime = { fetch: patientFetch, Response: globalThis.Response, sharesHeaders: true };

/** The host of a Bun process: storages on the disk, each confined to its directory, and the process's network. */
export function createBunHost(config: ServerConfig, options: LocalHostOptions = {}): Host {
  return createLocalHost(config, runtime, options);
}

/** Listens with `Bun.serve`. Rejects with ListenError, and with what `createHandler` throws. */
export function startServer(options: StartOptions): Promise<RunningServer> {
  return startLocalServer(options, { ...runtime, listen });
}

/** A handler that serves its WebSockets in somebody else's `Bun.serve`. */
export interface WithBunWebSockets<Answer, Sockets> extends WithWebSockets<[server: BunUpgrader], Answer> {
  /** For `websocket` of `Bun.serve`. */
  websocket: Sockets;
}

/**
 * A handler whose WebSockets, such as the engine's terminals, work in your own `Bun.serve` and in what runs in it, such as
 * Hono: call it with the server, and give `Bun.serve` its `websocket`. WebSockets of your own go in as `websocket`: they
 * are kept apart, but the settings are those of all, and yours win. Callers that are slower than your
 * `backpressureLimit` allows are sent away with 1013.
 */
export function withWebSockets<Answer extends Response | null, Own extends object = BunWebSockets>(
  handler: EmbeddedHandler<Answer>,
  options: { websocket?: Own } = {},
): WithBunWebSockets<Answer, Own> {
  const relays = new Relays();
  const serve = (request: Request, server: BunUpgrader): Promise<Response | Answer> =>
    answerEmbedded(handler, request, {
      refuse: refusedHandshake,
      connect: (tunnel) =>
        relays.connect(request, tunnel, (_, relay, protocol) =>
          acceptWebSocket(server, request, relay, protocol),
        ),
    });
  // Without sockets of another kind these are what is promised.
  const websocket = options.websocket ? beside(options.websocket) : (relayed as object as Own);
  return Object.assign(serve, { websocket, close: () => relays.stop() });
}

async function listen(options: ListenOptions): Promise<HttpServer> {
  let server: BunServer;
  const service = new RequestService(options, (request, relay, protocol) =>
    acceptWebSocket(server, request, relay, protocol),
  );
  const start = (): NativeServer => {
    server = serve(options, service);
    return { port: server.port, stop: () => server.stop(), cut: () => void server.stop(true) };
  };
  // A name that cannot be resolved is an invalid argument here.
  return startNative(options, service, start, (error) => Reflect.get(error, "code") === "EINVAL");
}

function serve({ host, port }: ListenOptions, service: RequestService): BunServer {
  return bunRuntime().serve({
    hostname: host,
    port,
    reusePort: false,
    idleTimeout: 0,
    // Each endpoint has its own limit, with an answer that says so.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false,
    fetch: (request) => service.serve(request),
    error: (error) => service.crashed(error),
    websocket: relayed,
  });
}
