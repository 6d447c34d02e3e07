import type { Awaitable } from "../lib/awaitable.ts";
import type { Host, ServerConfig } from "../lib/host.ts";
import { noCloseCode } from "../lib/http/websocket-frames.ts";
import { answerEmbedded, type EmbeddedHandler, type WithWebSockets } from "./embedded.ts";
import type { HttpServer, ListenOptions } from "./http-server.ts";
import { createLocalHost, type LocalHostOptions, type LocalRuntime } from "./local/host.ts";
import { RequestService, startNative, type NativeServer } from "./local/native-server.ts";
import type { CallerSocket, Relay } from "./local/relay.ts";
import { refusedHandshake, Relays, silentCallerSeconds } from "./local/relays.ts";
import { startLocalServer, type RunningServer, type StartOptions } from "./local/server.ts";

export { ListenError } from "./http-server.ts";
export { configure } from "./local/config.ts";
export type { EmbeddedHandler, WithWebSockets } from "./embedded.ts";
export type { LocalHostOptions } from "./local/host.ts";
export type { RunningServer, StartOptions } from "./local/server.ts";

/** The part of Deno's own server that is used. */
interface DenoServer {
  readonly addr: { port: number };
  shutdown(): Promise<void>;
}

/** The part of a WebSocket that is used; of one on the server's side any code may be sent. */
interface DenoSocket {
  readonly bufferedAmount: number;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: string | ArrayBuffer }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
}

interface DenoRuntime {
  serve(
    options: { hostname: string; port: number; onListen(): void; onError(error: unknown): Response },
    handler: (request: Request) => Awaitable<Response>,
  ): DenoServer;
  /** `idleTimeout` in seconds. */
  upgradeWebSocket(
    request: Request,
    options: { idleTimeout: number },
  ): { socket: DenoSocket; response: Response };
}

function denoRuntime(): DenoRuntime {
  const deno: unknown = Reflect.get(globalThis, "Deno");
  if (deno === undefined)
    throw new Error("This module runs on Deno; the package offers ./node and ./bun too.");
  return deno as DenoRuntime;
}

const runtime: LocalRuntime = { fetch: globalThis.fetch, Response: globalThis.Response };

/** The host of a Deno process: storages on the disk, each confined to its directory, and the process's network. */
export function createDenoHost(config: ServerConfig, options: LocalHostOptions = {}): Host {
  return createLocalHost(config, runtime, options);
}

/** Listens with `Deno.serve`. Rejects with ListenError, and with what `createHandler` throws. */
export function startServer(options: StartOptions): Promise<RunningServer> {
  return startLocalServer(options, { ...runtime, listen });
}

/**
 * A handler whose WebSockets, such as the engine's terminals, work in your own `Deno.serve` and in what runs in it, such as
 * Hono. Its answers must be returned to the server as they are. `server`, which Bun needs, is not looked at.
 */
export function withWebSockets<Answer extends Response | null>(
  handler: EmbeddedHandler<Answer>,
): WithWebSockets<[server?: unknown], Answer> {
  const relays = new Relays();
  const serve = (request: Request): Promise<Response | Answer> =>
    answerEmbedded(handler, request, {
      refuse: refusedHandshake,
      connect: (tunnel) => relays.connect(request, tunnel, acceptWebSocket),
    });
  return Object.assign(serve, { close: () => relays.stop() });
}

async function listen(options: ListenOptions): Promise<HttpServer> {
  const { host, port } = options;
  const service = new RequestService(options, acceptWebSocket);
  const serve = (request: Request): Awaitable<Response> => service.serve(request);
  const onError = (error: unknown): Response => service.crashed(error);
  const start = (): NativeServer => {
    // What it prints when it listens is said by the command, in the configured format.
    const server = denoRuntime().serve({ hostname: host, port, onListen() {}, onError }, serve);
    return { port: server.addr.port, stop: () => server.shutdown() };
  };
  return startNative(options, service, start, (error) => error.message.startsWith("failed to lookup"));
}

function acceptWebSocket(request: Request, relay: Relay, protocol: string | null): Response {
  const { socket, response } = denoRuntime().upgradeWebSocket(request, { idleTimeout: silentCallerSeconds });
  // Its own option looks for the protocol in what was offered, and fails for a list without blanks.
  if (protocol !== null) response.headers.set("sec-websocket-protocol", protocol);
  socket.addEventListener("open", () => relay.open(callerOf(socket)));
  socket.addEventListener("message", ({ data }) =>
    relay.fromCaller(typeof data === "string" ? data : new Uint8Array(data)),
  );
  socket.addEventListener("close", ({ code, reason }) => relay.callerClosed(code, reason));
  return response;
}

/** Nothing here stops it from reading: a caller that sends too fast is sent away in the end. */
function callerOf(socket: DenoSocket): CallerSocket {
  return {
    send(data) {
      socket.send(data);
      return true;
    },
    buffered: () => socket.bufferedAmount,
    close: (code, reason) => (code === noCloseCode ? socket.close() : socket.close(code, reason)),
  };
}
