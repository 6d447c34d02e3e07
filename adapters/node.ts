import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createHandler, type Handler } from "../handlers/index.ts";
import type { Ancestor, Host, Log, ServerConfig, StoreFile } from "../lib/host.ts";
import { pathsFor } from "../lib/settings-paths.ts";
import { serverUrl } from "../lib/start-lines.ts";
import type { Storage } from "../lib/storage.ts";
import { fetchWithIdleLimit } from "./node-fetch.ts";
import { type Answer, NodeResponse, startHttpServer } from "./node-http.ts";
import { createNodeLog } from "./node-log.ts";
import { packageVersion } from "./node-machine.ts";
import { createDiskStorage } from "./storage/disk.ts";

export { ListenError } from "./node-http.ts";

/** What a host needs to know that is no setting. */
export interface NodeHostOptions {
  log: Log;
  /** Default: the version of this package. */
  version?: string;
  /** The user's home, for global skills and engine settings. Default: that of the process. */
  home?: string;
  /** The bound address. Default: the configured one. */
  address?: () => { host: string; port: number };
}

const secretModes = { fileMode: 0o600, dirMode: 0o700 } as const;

const skillDirs = (dir: string): string[] => [join(dir, ".opencode/skills"), join(dir, ".claude/skills")];

const readable = (dir: string): Storage => createDiskStorage(dir, { readOnly: true });

function ancestorsOf(path: string): Ancestor[] {
  const list: Ancestor[] = [];
  for (let dir = path; dir !== dirname(dir);) {
    dir = dirname(dir);
    const git = join(dir, ".git");
    list.push({ isGitRoot: async () => existsSync(git), skills: skillDirs(dir).map(readable) });
  }
  return list;
}

/** Files beside each other share one storage, so that one of them never sweeps the other's unfinished write. */
function storeFiles(): (path: string) => StoreFile {
  const byDir = new Map<string, Storage>();
  return (path) => {
    const dir = dirname(path);
    const storage = byDir.get(dir) ?? createDiskStorage(dir, secretModes);
    byDir.set(dir, storage);
    return { storage, path: basename(path) };
  };
}

/** The host of a Node process: storages on the disk, each confined to its directory, and the process's network. */
export function createNodeHost(config: ServerConfig, options: NodeHostOptions): Host {
  const home = options.home ?? homedir();
  const paths = pathsFor(process.cwd(), home);
  const storeFile = storeFiles();
  return {
    config,
    version: options.version ?? packageVersion(),
    address: options.address ?? (() => ({ host: config.host, port: config.port })),
    storage: (workspace) => createDiskStorage(workspace.path, { readOnly: false }),
    ancestors: (workspace) => ancestorsOf(workspace.path),
    user: {
      opencode: readable(join(home, ".config/opencode")),
      skills: [".config/opencode/skills", ".claude/skills", ".agents/skills", ".agent/skills"].map((dir) =>
        readable(join(home, dir)),
      ),
    },
    data: createDiskStorage(config.dataDir, secretModes),
    tokenStore: storeFile(config.tokenStorePath),
    settings: {
      ...storeFile(config.configPath),
      resolve: (path) => paths.resolve(dirname(config.configPath), path),
    },
    fetch: fetchWithIdleLimit(0),
    Response: NodeResponse,
    log: options.log,
  };
}

/** How to start a server; what is absent is taken from the process. */
export interface StartOptions {
  config: ServerConfig;
  version?: string;
  home?: string;
  /** Where log lines go. Default: standard output. */
  write?: (text: string) => void;
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

/**
 * Listens and answers. Rejects with ListenError when the address cannot be had, and with what `createHandler`
 * throws, such as a damaged token store (I22).
 */
export async function startServer({ config, version, home, write }: StartOptions): Promise<RunningServer> {
  const { log, flush } = createNodeLog(config.log, version ?? packageVersion(), write);
  let handler: Promise<Handler>;
  let answer: Answer = async (request) => (await handler)(request);
  // The address comes first: a second start on it must fail before it touches any file.
  const http = await startHttpServer({
    host: config.host,
    port: config.port,
    log,
    answer: (request) => answer(request),
  });
  const { host, port } = http;
  const stop = async (graceMs: number): Promise<void> => {
    http.stop();
    await http.drained(graceMs);
  };
  handler = createHandler(
    createNodeHost(config, {
      log,
      address: () => ({ host, port }),
      ...(version !== undefined && { version }),
      ...(home !== undefined && { home }),
    }),
  );
  const ready = await handler.catch(async (error: unknown) => {
    await stop(0);
    throw error;
  });
  answer = ready;
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
