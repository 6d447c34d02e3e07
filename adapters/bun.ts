import type { Host, ServerConfig } from "../lib/host.ts";
import {
  crashReply,
  hostProblem,
  listenProblem,
  refusal,
  type HttpServer,
  type ListenOptions,
} from "./http-server.ts";
import { createLocalHost, type LocalHostOptions, type LocalRuntime } from "./local/host.ts";
import { startLocalServer, type RunningServer, type StartOptions } from "./local/server.ts";

export { ListenError } from "./http-server.ts";
export { configure } from "./local/config.ts";
export type { LocalHostOptions } from "./local/host.ts";
export type { RunningServer, StartOptions } from "./local/server.ts";

/** The part of Bun's own server that is used. */
interface BunServer {
  readonly port: number;
  stop(closeActiveConnections?: boolean): Promise<void>;
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
    fetch(request: Request): Response | Promise<Response>;
    error(error: unknown): Response;
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

const runtime: LocalRuntime = { fetch: patientFetch, Response: globalThis.Response };

/** The host of a Bun process: storages on the disk, each confined to its directory, and the process's network. */
export function createBunHost(config: ServerConfig, options: LocalHostOptions = {}): Host {
  return createLocalHost(config, runtime, options);
}

/** Listens with `Bun.serve`. Rejects with ListenError, and with what `createHandler` throws. */
export function startServer(options: StartOptions): Promise<RunningServer> {
  return startLocalServer(options, { ...runtime, listen });
}

async function listen({ host, port, answer, log }: ListenOptions): Promise<HttpServer> {
  const hosts = { good: "" };
  function serve(request: Request): Response | Promise<Response> {
    const sent = request.headers.get("host");
    // Only HTTP/1.0 may leave it out; the address of such a request comes without an origin.
    if (sent === null) return answer(new Request(new URL(request.url, "http://localhost"), request));
    const problem = hostProblem(sent, hosts);
    return problem === null ? answer(request) : Response.json(refusal(problem), { status: 400 });
  }
  const server = start({ host, port, log, serve });
  let stopped: Promise<void> | null = null;
  const stop = (): Promise<void> => (stopped ??= server.stop());
  return {
    host,
    port: server.port,
    stop: () => void stop(),
    async drained(graceMs) {
      const timer = setTimeout(() => void server.stop(true), graceMs);
      await stop();
      clearTimeout(timer);
    },
  };
}

function start(options: {
  host: string;
  port: number;
  log: ListenOptions["log"];
  serve: (request: Request) => Response | Promise<Response>;
}): BunServer {
  const { host, port, log, serve } = options;
  try {
    return bunRuntime().serve({
      hostname: host,
      port,
      reusePort: false,
      idleTimeout: 0,
      // Each endpoint has its own limit, with an answer that says so.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      development: false,
      fetch: serve,
      error(error) {
        const { status, body } = crashReply(error, log);
        return Response.json(body, { status });
      },
    });
  } catch (error) {
    // A name that cannot be resolved is an invalid argument here.
    const unknownName = error instanceof Error && Reflect.get(error, "code") === "EINVAL";
    throw listenProblem(unknownName ? Object.assign(error, { code: "ENOTFOUND" }) : error, host, port);
  }
}
