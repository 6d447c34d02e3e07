import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { ServerConfig } from "../../lib/host.ts";
import type { Storage } from "../../lib/storage.ts";
import { temporaryDir } from "../storage/temporary-dir.ts";
import {
  configOf,
  startMemoryServer,
  workspaceAt,
  type Client,
  type Exchange,
} from "../support/memory-host.ts";

/** A server to test, over memory or a real directory. */
export interface Subject {
  client: Client;
  storage: Storage;
  /** `/workspace/<id>`. */
  ws: string;
  /** The real directory; empty over memory. */
  dir: string;
  [Symbol.dispose](): void;
}

/** Starts a handler over a kind of storage. */
export async function start(kind: "memory" | "disk", config: Partial<ServerConfig> = {}): Promise<Subject> {
  if (kind === "memory") {
    const { client, storage, workspace, handler } = await startMemoryServer(configOf(config));
    const ws = `/workspace/${workspace}`;
    return { client, storage, ws, dir: "", [Symbol.dispose]: () => void handler.close() };
  }
  const dir = temporaryDir();
  const storage = createDiskStorage(dir.path, { watch: false });
  const settings = configOf({ ...config, workspaces: [workspaceAt(dir.path)] });
  const { client, workspace, handler } = await startMemoryServer(settings, { storage: () => storage });
  return {
    client,
    storage,
    ws: `/workspace/${workspace}`,
    dir: dir.path,
    [Symbol.dispose]() {
      void handler.close();
      dir[Symbol.dispose]();
    },
  };
}

/** A token of the scope viewer. */
export async function viewerOf(client: Client): Promise<string> {
  const { json } = await client.post("/tokens", { scope: "viewer" }, { host: true, token: null });
  return json.token;
}

/** The first request that waits for the host. */
export async function waiting(client: Client): Promise<Exchange["json"]> {
  const page = await client.get("/approvals?wait=5", { host: true, token: null });
  return page.json.items[0];
}

/** Answers a request as the host. */
export function decide(client: Client, id: string, reply: "allow" | "deny"): Promise<Exchange> {
  return client.post(`/approvals/${id}`, { reply }, { host: true, token: null });
}

/** Every path of a storage, hidden temporaries too where it is a directory. */
export async function pathsIn(storage: Storage, below = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const batch of storage.walk(below))
    for (const { path, kind } of batch) if (kind === "file") paths.push(path);
  return paths.toSorted();
}
