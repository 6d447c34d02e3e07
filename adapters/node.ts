import type { Host, ServerConfig } from "../lib/host.ts";
import { createLocalHost, type LocalHostOptions, type LocalRuntime } from "./local-host.ts";
import { startLocalServer, type RunningServer, type StartOptions } from "./local-server.ts";
import { fetchWithIdleLimit } from "./node-fetch.ts";
import { NodeResponse, startHttpServer } from "./node-http.ts";
import { createRawFetch } from "./node-raw-fetch.ts";

export { ListenError } from "./http-server.ts";
export type { LocalHostOptions } from "./local-host.ts";
export type { RunningServer, StartOptions } from "./local-server.ts";

const runtime: LocalRuntime = {
  fetch: fetchWithIdleLimit(0),
  rawFetch: createRawFetch(),
  Response: NodeResponse,
};

/** The host of a Node process: storages on the disk, each confined to its directory, and the process's network. */
export function createNodeHost(config: ServerConfig, options: LocalHostOptions): Host {
  return createLocalHost(config, runtime, options);
}

/** Listens with `node:http`. Rejects with ListenError, and with what `createHandler` throws. */
export function startServer(options: StartOptions): Promise<RunningServer> {
  return startLocalServer(options, { ...runtime, listen: startHttpServer });
}
