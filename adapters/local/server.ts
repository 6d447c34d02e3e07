import { hostname } from "node:os";
import { createHandler, type Handler } from "../../handlers/index.ts";
import type { Log, OwnEngine, ServerConfig } from "../../lib/host.ts";
import { isLoopback } from "../../lib/http/allowed-hosts.ts";
import { serverUrl } from "../../lib/start-lines.ts";
import { version as ownVersion } from "../../lib/version.ts";
import type { Answer, Listen } from "../http-server.ts";
import { createLocalHost, type LocalRuntime } from "./host.ts";
import { createNodeLog } from "../node/log.ts";

/** How to start a server; what is absent is taken from the process. */
export interface StartOptions {
  config: ServerConfig;
  version?: string;
  home?: string;
  /** Where log lines go. Default: standard output. */
  write?: (text: string) => void;
  /** The engine that this process runs, if it does. */
  ownEngine?: OwnEngine;
}

/** A server that answers requests. */
export interface RunningServer {
  host: string;
  /** The port really bound. */
  port: number;
  url: string;
  log: Log;
  /** Writes log lines that have gathered, now. */
  flushLog(): void;
  /**
   * Stops (I99): no new connections, long polls and streams end at once, running requests have `graceMs`
   * (10 s unless told) to finish, then the audit is written out.
   */
  close(options?: { graceMs?: number }): Promise<void>;
}

/** Who can reach the server from elsewhere sees its pages under whatever name leads there, unless names are set. */
function allowedHosts({ host, allowedHosts: named }: ServerConfig): readonly string[] {
  return [...(named ?? (isLoopback(host) ? [] : ["*"])), hostname()];
}

/**
 * Listens and answers. Rejects with ListenError when the address cannot be had, and with what `createHandler`
 * throws, such as a damaged token store (I22).
 */
export async function startLocalServer(
  { config, version, home, write, ownEngine }: StartOptions,
  runtime: LocalRuntime & { listen: Listen },
): Promise<RunningServer> {
  const { log, flush } = createNodeLog(config.log, version ?? ownVersion, write);
  let handler: Promise<Handler>;
  let answer: Answer = async (request) => (await handler)(request);
  // The address comes first: a second start on it must fail before it touches any file.
  const http = await runtime.listen({
    host: config.host,
    port: config.port,
    log,
    answer: (request) => answer(request),
    answerUpgrade: async (request) => (await handler).upgrade(request),
  });
  const { host, port } = http;
  const stop = async (graceMs: number): Promise<void> => {
    http.stop();
    await http.drained(graceMs);
  };
  const local = createLocalHost(config, runtime, {
    log,
    address: () => ({ host, port }),
    ...(version !== undefined && { version }),
    ...(home !== undefined && { home }),
    ...(ownEngine && { ownEngine }),
  });
  handler = createHandler(local, { allowedHosts: allowedHosts(config) });
  const ready = await handler.catch(async (error: unknown) => {
    await stop(0);
    throw error;
  });
  answer = ready.answer;
  return {
    host,
    port,
    url: serverUrl(host, port),
    log,
    flushLog: flush,
    async close({ graceMs = 10_000 } = {}) {
      http.stop();
      // Two halves at once: the handler ends what waits, the connections see their running requests off.
      await Promise.all([ready.close(), http.drained(graceMs)]);
      flush();
    },
  };
}
