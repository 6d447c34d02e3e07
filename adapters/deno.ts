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

/** The part of Deno's own server that is used. */
interface DenoServer {
  readonly addr: { port: number };
  shutdown(): Promise<void>;
}

interface DenoRuntime {
  serve(
    options: { hostname: string; port: number; onListen(): void; onError(error: unknown): Response },
    handler: (request: Request) => Promise<Response>,
  ): DenoServer;
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

async function listen({ host, port, answer, log }: ListenOptions): Promise<HttpServer> {
  const hosts = { good: "" };
  async function serve(request: Request): Promise<Response> {
    // Only HTTP/1.0 may leave it out; the bound address stands in for it.
    const sent = request.headers.get("host");
    const problem = sent === null ? null : hostProblem(sent, hosts);
    return problem === null ? answer(request) : Response.json(refusal(problem), { status: 400 });
  }
  const server = start({ host, port, log, serve });
  let stopped: Promise<void> | null = null;
  const stop = (): Promise<void> => (stopped ??= server.shutdown());
  return {
    host,
    port: server.addr.port,
    stop: () => void stop(),
    async drained(graceMs) {
      // There is no way to cut what is left once a shutdown has begun: the end of the process does.
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, graceMs)));
      await Promise.race([stop(), late]);
      clearTimeout(timer);
    },
  };
}

function start(options: {
  host: string;
  port: number;
  log: ListenOptions["log"];
  serve: (request: Request) => Promise<Response>;
}): DenoServer {
  const { host, port, log, serve } = options;
  try {
    const onError = (error: unknown): Response => {
      const { status, body } = crashReply(error, log);
      return Response.json(body, { status });
    };
    // What it prints when it listens is said by the command, in the configured format.
    return denoRuntime().serve({ hostname: host, port, onListen() {}, onError }, serve);
  } catch (error) {
    const unknownName = error instanceof Error && error.message.startsWith("failed to lookup");
    throw listenProblem(unknownName ? Object.assign(error, { code: "ENOTFOUND" }) : error, host, port);
  }
}
