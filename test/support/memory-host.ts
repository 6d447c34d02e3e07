import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { workspaceId } from "../../lib/hash.ts";
import type { Host, LogLevel, ServerConfig, WorkspaceConfig } from "../../lib/host.ts";
import type { Storage } from "../../lib/storage.ts";

/** The tokens of every test host. */
export const clientToken = "client-token";
export const hostToken = "host-token";

/** A workspace as the settings would describe it. */
export function workspaceAt(path: string, extra: Partial<WorkspaceConfig> = {}): WorkspaceConfig {
  return {
    id: workspaceId(path),
    name: path.slice(path.lastIndexOf("/") + 1),
    path,
    workspaceType: "local",
    opencode: { directory: path },
    ...extra,
  };
}

/** Settings of a test server: auto approval, one workspace at /ws, everything on. */
export function configOf(extra: Partial<ServerConfig> = {}): ServerConfig {
  const workspaces = extra.workspaces ?? [workspaceAt("/ws")];
  return {
    host: "127.0.0.1",
    port: 8787,
    clientToken,
    hostToken,
    tokenSource: { client: "cli", host: "cli" },
    approval: { mode: "auto", timeoutMs: 5000 },
    authorizedRoots: workspaces.map((workspace) => workspace.path),
    corsOrigins: ["*"],
    allowedHosts: null,
    trustProxy: false,
    basePath: "",
    readOnly: false,
    log: { format: "pretty", requests: true, runId: "test" },
    configPath: "/config/server.json",
    tokenStorePath: "/config/tokens.json",
    dataDir: "/data",
    inbox: { enabled: true, maxBytes: 50_000_000 },
    outbox: { enabled: true },
    ui: { enabled: true },
    sandbox: { enabled: false, backend: "none" },
    browser: { enabled: false, placement: "external", mode: "none" },
    engine: { start: false, timeoutMs: 10_000 },
    routerPort: null,
    protectedPaths: [".env", ".env.*", "*.pem", "*.key", "id_rsa*", "id_ed25519*", ".netrc", ".npmrc"],
    ...extra,
    workspaces,
  };
}

/** A host over memory storages, and handles to look behind it. */
export interface MemoryHost extends Host {
  storages: Map<string, Storage>;
  logged: { level: LogLevel; body: string; attributes?: Readonly<Record<string, unknown>> }[];
}

/** Makes a host whose every storage is in memory; `overrides` replace parts of it. */
export function memoryHost(config: ServerConfig = configOf(), overrides: Partial<Host> = {}): MemoryHost {
  const storages = new Map(
    config.workspaces.map((workspace) => [workspace.id, createMemoryStorage({ name: workspace.name })]),
  );
  const logged: MemoryHost["logged"] = [];
  const settings = createMemoryStorage({ name: "config" });
  return {
    config,
    version: "0.0.0-test",
    address: () => ({ host: config.host, port: config.port }),
    storage: (workspace) => {
      const storage = storages.get(workspace.id);
      if (!storage) throw new Error(`no storage for ${workspace.id}`);
      return storage;
    },
    ancestors: () => [],
    user: { opencode: createMemoryStorage({ name: "user-opencode" }), skills: [] },
    data: createMemoryStorage({ name: "data" }),
    tokenStore: { storage: settings, path: "tokens.json" },
    settings: {
      storage: settings,
      path: "server.json",
      resolve: (path) => (path.startsWith("/") ? path : `/config/${path}`),
    },
    fetch: globalThis.fetch,
    Response: globalThis.Response,
    log: (level, body, attributes) => logged.push(attributes ? { level, body, attributes } : { level, body }),
    storages,
    logged,
    ...overrides,
  };
}

/** One exchange with a handler: JSON in, status and JSON out. */
export interface Exchange {
  status: number;
  headers: Headers;
  json: any; // oxlint-disable-line typescript/no-explicit-any -- tests look into answers of every shape
  text: string;
}

/** What {@link Client} sends. */
export interface RequestOptions {
  /** A bearer token; the client token unless said otherwise; null for none. */
  token?: string | null;
  /** Sends the host token's header. */
  host?: boolean;
  json?: unknown;
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Sends requests to a handler without any network. */
export class Client {
  readonly handler: Handler;

  constructor(handler: Handler) {
    this.handler = handler;
  }

  async send(method: string, path: string, options: RequestOptions = {}): Promise<Exchange> {
    const headers = new Headers(options.headers);
    const token = options.token === undefined ? clientToken : options.token;
    if (token !== null) headers.set("authorization", `Bearer ${token}`);
    if (options.host) headers.set("x-openwork-host-token", hostToken);
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    if (options.json !== undefined) headers.set("content-type", "application/json");
    const request = new Request(`http://server.test${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
    const response = await this.handler(request);
    const text = await textOrNothing(response);
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      json = undefined;
    }
    return { status: response.status, headers: response.headers, json, text };
  }

  get(path: string, options?: RequestOptions): Promise<Exchange> {
    return this.send("GET", path, options);
  }

  post(path: string, json: unknown, options?: RequestOptions): Promise<Exchange> {
    return this.send("POST", path, { ...options, json });
  }

  patch(path: string, json: unknown, options?: RequestOptions): Promise<Exchange> {
    return this.send("PATCH", path, { ...options, json });
  }

  delete(path: string, options?: RequestOptions): Promise<Exchange> {
    return this.send("DELETE", path, options);
  }
}

/** The body's text; an event stream never ends, so it is let go. */
async function textOrNothing(response: Response): Promise<string> {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response.text();
  await response.body?.cancel();
  return "";
}

/** A running handler over memory with a client for it. */
export async function startMemoryServer(
  config?: ServerConfig,
  overrides?: Partial<Host>,
): Promise<{ host: MemoryHost; handler: Handler; client: Client; workspace: string; storage: Storage }> {
  const host = memoryHost(config, overrides);
  const handler = await createHandler(host);
  const [first] = host.config.workspaces;
  const workspace = first?.id ?? "";
  const storage = host.storages.get(workspace) ?? createMemoryStorage();
  return { host, handler, client: new Client(handler), workspace, storage };
}

/** Writes a text file straight into a storage, past the server. */
export async function put(storage: Storage, path: string, text: string): Promise<void> {
  await storage.commit([{ op: "write", path, body: new TextEncoder().encode(text) }]);
}

/** The text of a file in a storage, or null. */
export async function textOf(storage: Storage, path: string): Promise<string | null> {
  const file = await storage.readFile(path);
  return file && new TextDecoder().decode(file.bytes);
}
