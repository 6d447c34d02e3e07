import { existsSync, lstatSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Ancestor, Host, Log, OwnEngine, RawFetch, ServerConfig, StoreFile } from "../../lib/host.ts";
import { pathsFor } from "../../lib/settings/paths.ts";
import type { Storage } from "../../lib/storage.ts";
import { version } from "../../lib/version.ts";
import { createNodeLog } from "../node/log.ts";
import { candidatesOf, findRipgrep, ripgrepTurns, suitsRipgrep } from "../ripgrep.ts";
import { createDiskStorage } from "../storage/disk.ts";
import { bufferCodec } from "./base64.ts";

/** In what the hosts of Node, Bun and Deno differ. */
export interface LocalRuntime {
  /** Without an idle limit: an engine's event stream may be silent for long. */
  fetch: typeof fetch;
  /** The same without decoding; see {@link Host}. */
  rawFetch?: RawFetch;
  /** The class that this runtime's server sends fastest. */
  Response: typeof Response;
  /** See {@link Host}. */
  sharesHeaders?: boolean;
}

/** What a host needs to know that is no setting. */
export interface LocalHostOptions {
  /** Default: lines on standard output, in the configured format. */
  log?: Log;
  /** Default: the version of this package. */
  version?: string;
  /** The user's home, for global skills and engine settings. Default: that of the process. */
  home?: string;
  /** The bound address. Default: the configured one. */
  address?: () => { host: string; port: number };
  /** The engine that this process runs, if it does. */
  ownEngine?: OwnEngine;
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

/** Settings are often links into a folder of dotfiles: there the file itself is, and there it is replaced. */
function linkTarget(path: string): string {
  try {
    return lstatSync(path).isSymbolicLink() ? realpathSync(path) : path;
  } catch {
    // Whoever reads it finds nothing, or tells what is wrong there.
    return path;
  }
}

/** Files beside each other share one storage, so that one of them never sweeps the other's unfinished write. */
function storeFiles(): (path: string) => StoreFile {
  const byDir = new Map<string, Storage>();
  return (given) => {
    const path = linkTarget(given);
    const dir = dirname(path);
    const storage = byDir.get(dir) ?? createDiskStorage(dir, { ...secretModes, flat: true });
    byDir.set(dir, storage);
    return { storage, path: basename(path) };
  };
}

/** The host of a process on a machine: storages on the disk, each confined to its directory. */
export function createLocalHost(
  config: ServerConfig,
  runtime: LocalRuntime,
  options: LocalHostOptions,
): Host {
  const home = options.home ?? homedir();
  const paths = pathsFor(process.cwd(), home);
  const storeFile = storeFiles();
  const ripgrep = findRipgrep();
  const turns = ripgrepTurns();
  return {
    config,
    version: options.version ?? version,
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
    fetch: runtime.fetch,
    ...(runtime.rawFetch && { rawFetch: runtime.rawFetch }),
    ...(options.ownEngine && { ownEngine: options.ownEngine }),
    Response: runtime.Response,
    base64: bufferCodec,
    ...(runtime.sharesHeaders && { sharesHeaders: true }),
    log: options.log ?? createNodeLog(config.log, options.version ?? version).log,
    ...(ripgrep !== null && {
      grep: ({ path }, query, signal) =>
        suitsRipgrep(path, query) ? candidatesOf(ripgrep, path, query, signal, turns) : undefined,
    }),
  };
}
