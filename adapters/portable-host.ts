import { parseFlags, resolveConfig } from "../lib/config.ts";
import type { Host, Log, ServerConfig } from "../lib/host.ts";
import type { SettingsFile } from "../lib/settings/file.ts";
import type { Storage } from "../lib/storage.ts";
import { pathsFor } from "../lib/settings/paths.ts";
import { version } from "../lib/version.ts";

/** Where settings come from on a runtime without a command line and without a home directory. */
export interface PortableSettings {
  /** As server.json would give them. Default workspace: one at `/workspace`. */
  settings?: SettingsFile;
  /** Variables such as `OPENWORK_TOKEN`, which go before `settings`. Other names and other types are ignored. */
  env?: Readonly<Record<string, unknown>>;
}

const home = "/home";
const configPath = `${home}/.config/openwork/server.json`;

/** The checked settings (wire contract, section 2) and what was odd about them. Throws ConfigError. */
export function portableConfig({ settings = {}, env = {} }: PortableSettings): {
  config: ServerConfig;
  warnings: string[];
} {
  const variables = Object.entries(env).filter(([, value]) => typeof value === "string");
  return resolveConfig({
    flags: parseFlags([]),
    env: Object.fromEntries(variables) as Record<string, string>,
    file: { workspaces: [{ path: "/workspace" }], ...settings },
    cwd: "/",
    home,
    configPath,
    realPath: (path) => path,
    randomToken: () => crypto.randomUUID(),
  });
}

/** The storages of a portable host. Each is asked for once, by a name that no other has. */
export type StorageOf = (name: string) => Storage;

/** A host whose every storage is one of these: no file system, no parent folders, the platform's own classes. */
export function createPortableHost(config: ServerConfig, storageOf: StorageOf, log: Log): Host {
  const settings = storageOf("settings");
  const paths = pathsFor("/", home);
  return {
    config,
    version,
    address: () => ({ host: config.host, port: config.port }),
    storage: (workspace) => storageOf(`workspace-${workspace.id}`),
    ancestors: () => [],
    user: { opencode: storageOf("user-opencode"), skills: [] },
    data: storageOf("data"),
    tokenStore: { storage: settings, path: "tokens.json", isPrivate: true },
    settings: {
      storage: settings,
      path: "server.json",
      resolve: (path) => paths.resolve(paths.dirname(configPath), path),
    },
    // Some platforms insist on being called without a receiver.
    fetch: (input, init) => fetch(input, init),
    Response: globalThis.Response,
    log,
  };
}
