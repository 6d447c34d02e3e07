import type { Awaitable } from "../lib/awaitable.ts";
import type { Host, ServerConfig } from "../lib/host.ts";
import { mostMessageBytes } from "../lib/http/websocket-frames.ts";
import type { HttpServer, ListenOptions } from "./http-server.ts";
import { createLocalHost, type LocalHostOptions, type LocalRuntime } from "./local/host.ts";
import {
  RequestService,
  silentCallerSeconds,
  startNative,
  type NativeServer,
} from "./local/native-server.ts";
import type { CallerSocket, Relay } from "./local/relay.ts";
import { startLocalServer, type RunningServer, type StartOptions } from "./local/server.ts";

export { ListenError } from "./http-server.ts";
export { configure } from "./local/config.ts";
export type { LocalHostOptions } from "./local/host.ts";
export type { RunningServer, StartOptions } from "./local/server.ts";

/** The part of Bun's own server that is used. */
interface BunServer {
  readonly port: number;
  stop(closeActiveConnections?: boolean): Promise<void>;
  /** False when the request is none that could become a WebSocket. */
  upgrade(request: Request, options: { headers: Record<string, string>; data: Relay }): boolean;
}

/** The part of Bun's server-side WebSocket that is used. */
interface BunSocket {
  readonly data: Relay;
  send(data: string | Uint8Array): number;
  getBufferedAmount(): number;
  close(code: number, reason: string): void;
  /** Since 1.4. */
  pause?(): void;
  resume?(): void;
}

interface BunRuntime {
  serve(options: {
    hostname: string;
    port: number;
    /** On by default, and then a second server on the same port is no error. */
    reusePort: boolean;
    /** Seconds; 0 is none. The default cuts every stream that is silent for ten. */
    idleTimeout: number;
    maxRequestBodySize: number;
    development: boolean;
    fetch(request: Request): Awaitable<Response | undefined>;
    error(error: unknown): Response;
    websocket: {
      idleTimeout: number;
      maxPayloadLength: number;
      /** Bytes; what is sent beyond is dropped. */
      backpressureLimit: number;
      open(socket: BunSocket): void;
      message(socket: BunSocket, data: string | Uint8Array): void;
      close(socket: BunSocket, code: number, reason: string): void;
    };
  }): BunServer;
}

function bunRuntime(): BunRuntime {
  const bun: unknown = Reflect.get(globalThis, "Bun");
  if (bun === undefined)
    throw new Error("This module runs on Bun; the package offers ./node and ./deno too.");
  return bun as BunRuntime;
}

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

async function listen(options: ListenOptions): Promise<HttpServer> {
  let server: BunServer;
  const service = new RequestService<undefined>(options, (request, relay, protocol) => {
    const headers: Record<string, string> = protocol === null ? {} : { "sec-websocket-protocol": protocol };
    return server.upgrade(request, { headers, data: relay }) ? undefined : null;
  });
  const start = (): NativeServer => {
    server = serve(options, service);
    return { port: server.port, stop: () => server.stop(), cut: () => void server.stop(true) };
  };
  // A name that cannot be resolved is an invalid argument here.
  return startNative(options, service, start, (error) => Reflect.get(error, "code") === "EINVAL");
}

function serve({ host, port }: ListenOptions, service: RequestService<undefined>): BunServer {
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
    websocket: {
      idleTimeout: silentCallerSeconds,
      maxPayloadLength: mostMessageBytes,
      // One whole message may come to what waits already.
      backpressureLimit: 2 * mostMessageBytes,
      open: (socket) => socket.data.open(callerOf(socket)),
      message: (socket, data) => socket.data.fromCaller(data),
      close: (socket, code, reason) => socket.data.callerClosed(code, reason),
    },
  });
}

function callerOf(socket: BunSocket): CallerSocket {
  return {
    send: (data) => void socket.send(data),
    buffered: () => socket.getBufferedAmount(),
    close: (code, reason) => socket.close(code, reason),
    pause: () => socket.pause?.(),
    resume: () => socket.resume?.(),
  };
}
