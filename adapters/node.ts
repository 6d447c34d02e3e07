import type { Host, ServerConfig } from "../lib/host.ts";
import { createLocalHost, type LocalHostOptions } from "./local/host.ts";
import { startLocalServer, type RunningServer, type StartOptions } from "./local/server.ts";
import { fetchWithIdleLimit } from "./node/fetch.ts";
import { NodeResponse, startHttpServer } from "./node/http.ts";
import { createRawFetch } from "./node/raw-fetch.ts";

export { ListenError } from "./http-server.ts";
export { configure } from "./local/config.ts";
export type { LocalHostOptions } from "./local/host.ts";
export type { RunningServer, StartOptions } from "./local/server.ts";
export { toNodeListener, type NodeListener } from "./node/listener.ts";
export { toUpgradeListener, type UpgradeListener } from "./node/websocket.ts";

/**
 * The host of a Node process: storages on the disk, each confined to its directory, and the process's network.
 * Its answers are built with the built-in class, so that they fit into any other server.
 */
export function createNodeHost(config: ServerConfig, options: LocalHostOptions = {}): Host {
  return createLocalHost(config, { fetch: fetchWithIdleLimit(0), Response: globalThis.Response }, options);
}

/** Listens with `node:http`. Rejects with ListenError, and with what `createHandler` throws. */
export function startServer(options: StartOptions): Promise<RunningServer> {
  return startLocalServer(options, {
    fetch: fetchWithIdleLimit(0),
    rawFetch: createRawFetch(),
    Response: NodeResponse,
    listen: startHttpServer,
  });
}
