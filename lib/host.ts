import type { Base64Codec } from "./base64.ts";
import type { ContentQuery } from "./search/content.ts";
import type { ReadableStorage, Storage } from "./storage.ts";

/** Where a token came from, as `/status` tells. */
export type TokenSource = "cli" | "env" | "file" | "generated";

/** One workspace as configured (wire contract, 10.1). */
export interface WorkspaceConfig {
  /** `ws_` and 12 hex digits of the SHA-256 of the given absolute path. */
  id: string;
  name: string;
  /** Absolute, lexically resolved, no trailing slash. */
  path: string;
  workspaceType: "local" | "remote";
  baseUrl?: string;
  directory?: string;
  /** Engine access after all fallbacks; the parts that exist. */
  opencode: { baseUrl?: string; directory?: string; username?: string; password?: string };
}

/** The checked, frozen settings (wire contract, section 2). All that handlers know of flags and variables. */
export interface ServerConfig {
  host: string;
  port: number;
  clientToken: string;
  hostToken: string;
  tokenSource: { client: TokenSource; host: TokenSource };
  approval: { mode: "manual" | "auto"; timeoutMs: number };
  workspaces: readonly WorkspaceConfig[];
  /** Absolute paths; an empty list authorises nothing. */
  authorizedRoots: readonly string[];
  corsOrigins: readonly string[];
  /** Host names of the setting; null when none were named. See {@link refusedHost}. */
  allowedHosts: readonly string[] | null;
  /** Whether `X-Forwarded-Proto`, `-Host` and `-Prefix` are believed. */
  trustProxy: boolean;
  /** What precedes every path: empty, or such as `/agent`. */
  basePath: string;
  readOnly: boolean;
  log: { format: "pretty" | "json"; requests: boolean; runId: string };
  configPath: string;
  tokenStorePath: string;
  dataDir: string;
  inbox: { enabled: boolean; maxBytes: number };
  outbox: { enabled: boolean };
  ui: { enabled: boolean };
  sandbox: { enabled: boolean; backend: "none" | "docker" | "container" };
  browser: { enabled: boolean; placement: string; mode: string };
  engine: {
    /** Whether this server starts the engine itself. */
    start: boolean;
    /** How long it may take until an answer through the proxy begins, milliseconds. */
    timeoutMs: number;
  };
  /** Port of the OpenCode Router on 127.0.0.1; null when not configured. */
  routerPort: number | null;
  /** Names closed to viewers (glob patterns over the file name). */
  protectedPaths: readonly string[];
}

/** Severity of a log record, in OpenTelemetry's numbers. */
export type LogLevel = "INFO" | "WARN" | "ERROR";

/** Writes log records; the adapter decides where and in which format. */
export interface Log {
  (level: LogLevel, body: string, attributes?: Readonly<Record<string, unknown>>): void;
}

/** A parent folder of a workspace, for skill discovery: its skill directories and whether it is a git root. */
export interface Ancestor {
  isGitRoot(): Promise<boolean>;
  /** `.opencode/skills` and `.claude/skills` of that folder, in this order. */
  skills: readonly ReadableStorage[];
}

/** A JSON file outside every workspace that the server owns, and the storage that holds just its directory. */
export interface StoreFile {
  storage: Storage;
  /** Path of the file in that storage. */
  path: string;
  /** No other program can write it. Default: any may. */
  isPrivate?: boolean;
}

/** An engine that this server runs itself. */
export interface OwnEngine {
  /** Its address, as the workspaces that use it have it. */
  readonly baseUrl: string;
  /** Why it may not answer just now, and the last lines that it printed; null when it has long been running. */
  trouble(): { message: string; printed: string } | null;
  /** Ends it with all that it started, and starts it again. */
  restart(): Promise<void>;
}

/** What a request that is passed on may say besides. */
export interface RawInit extends RequestInit {
  /** Milliseconds that the answer may take to begin; then the request fails with a `TimeoutError`. Default: any time. */
  firstByteMs?: number;
  /** Calls `end` when an event stream has to end, perhaps at once; what it returns is called when it has ended. */
  endStreams?: EndStreams | null;
}

/** Calls `end` once what it is about has come to pass, perhaps at once; what it returns ends that. */
export type EndStreams = (end: () => void) => () => void;

/** See {@link Host.rawFetch}. */
export type RawFetch = (input: string | URL | Request, init?: RawInit) => Promise<Response>;

/** Everything that a runtime supplies to the handlers. Made by an adapter; nothing in it is module state. */
export interface Host {
  config: ServerConfig;
  version: string;
  /** The address really bound, once listening; port 0 in the settings becomes the real one. */
  address(): { host: string; port: number };
  /** The writable root of a workspace. Called once per workspace. */
  storage(workspace: WorkspaceConfig): Storage;
  /** Parent folders of a workspace, nearest first, up to the root of the file system. */
  ancestors(workspace: WorkspaceConfig): readonly Ancestor[];
  /** What the user keeps for all workspaces, read-only: `~/.config/opencode`, and the global skill directories in order of precedence. */
  user: { opencode: ReadableStorage; skills: readonly ReadableStorage[] };
  /** The data directory: audit logs and remembered state. */
  data: Storage;
  tokenStore: StoreFile;
  /** server.json; its directory may not exist. `resolve` makes a path of that file absolute as the start-up does. */
  settings: StoreFile & { resolve(path: string): string };
  /** For requests to engine and router. */
  fetch: typeof fetch;
  /**
   * The same for what is passed on: answers carry the bytes as they came, compressed or not, and redirects are
   * never followed; their headers can be changed. Absent where the runtime's client always decodes.
   */
  rawFetch?: RawFetch;
  /** Absent where the engine is somebody else's, or there is none. */
  ownEngine?: OwnEngine;
  /** The class answers are built with: on Node that of the HTTP adapter, several times faster than the native one. */
  Response: typeof Response;
  /** Base64 for large contents; without it they are coded in script. */
  base64?: Base64Codec;
  /** That class copies the headers it is given, and faster when it is given a `Headers`: so answers may share one. Default: no. */
  sharesHeaders?: boolean;
  log: Log;
  /**
   * Paths of files in a workspace that may well hold a text, as a program of the machine finds them; absent
   * where there is none. What the files hold, and whether they are inside, is checked by reading them.
   */
  grep?: (
    workspace: WorkspaceConfig,
    query: ContentQuery,
    signal: AbortSignal,
  ) => AsyncIterable<string> | undefined;
}
