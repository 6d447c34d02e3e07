import type { ServerConfig, TokenSource } from "./host.ts";
import { isHostEntry } from "./http/allowed-hosts.ts";
import { isInside } from "./paths.ts";
import { checkBasePath } from "./public-address.ts";
import { checkSettings } from "./settings/file.ts";
import type { ParsedFlags } from "./settings/flags.ts";
import { pathsFor, type Paths } from "./settings/paths.ts";
import { ConfigError, quoted, switchWord } from "./settings/error.ts";
import {
  checkPort,
  given,
  readList,
  readNumber,
  readSwitch,
  readText,
  readWord,
  toNumber,
  type Sources,
} from "./settings/sources.ts";
import { settings, type Setting } from "./settings/table.ts";
import { resolveWorkspaces } from "./settings/workspaces.ts";

export { ConfigError } from "./settings/error.ts";
export { parseSettings } from "./settings/file.ts";
export { mistypedKeyWarnings, parseFlags, unknownFlagWarnings } from "./settings/flags.ts";
export { helpText, settingsMarkdown, settingsTable } from "./settings/table.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What the settings are made of. Nothing here touches the machine but `realPath`. */
export interface ConfigInput {
  flags: ParsedFlags;
  env: Environment;
  /** The parsed settings file, any shape; null when there is none. */
  file: unknown;
  /** Absolute. */
  cwd: string;
  /** Absolute. */
  home: string;
  /** Absolute path of the settings file, also when it does not exist; see `settingsPath`. */
  configPath: string;
  /** The directory that a path really is, links resolved; null when there is none. Default: the path itself. */
  realPath?: (path: string) => string | null;
  /** A new secret, for each token that is not configured and for the run id. */
  randomToken(): string;
}

const MAX_INBOX_BYTES = 250_000_000;

/** Where the settings file is: `--config`, then `OPENWORK_SERVER_CONFIG`, then `~/.config/openwork/server.json`. */
export function settingsPath(input: { flags: ParsedFlags; env: Environment; cwd: string; home: string }): {
  path: string;
  /** Whether somebody named it; such a file is expected to exist. */
  named: boolean;
} {
  const { cwd, home, flags, env } = input;
  const sources: Sources = { flags, env, file: checkSettings(null, ""), warn: () => {} };
  const text = readText(sources, settings.config)?.value;
  const path = pathsFor(cwd, home).resolve(cwd, text ?? "~/.config/openwork/server.json");
  return { path, named: text !== undefined };
}

/** Whether the settings in force are to be printed at start. */
export function isVerbose(flags: ParsedFlags): boolean {
  const word = flags.values["verbose"];
  return word !== undefined && switchWord(word, "--verbose");
}

function token(
  sources: Sources,
  setting: Setting,
  random: () => string,
): { value: string; source: TokenSource } {
  const text = readText(sources, setting);
  return text ? { value: text.value, source: text.from } : { value: random(), source: "generated" };
}

/** The flag knows two words and is ignored with any other; elsewhere all but the exact word `auto` mean manual. */
function approvalMode(sources: Sources): "manual" | "auto" {
  for (const { from, source, value } of given(sources, settings.approvalMode)) {
    if (value === "auto" || value === "manual") return value;
    if (from !== "cli") {
      sources.warn(`${source} is neither auto nor manual: ${quoted(value)}; writes are asked for.`);
      return "manual";
    }
    sources.warn(`${source} is neither auto nor manual and ignored: ${quoted(value)}.`);
  }
  return "manual";
}

const logFormats: ReadonlyMap<string, "pretty" | "json"> = new Map([
  ["json", "json"],
  ["pretty", "pretty"],
  ["text", "pretty"],
  ["human", "pretty"],
]);

/** The flag decides, and means JSON for the exact word alone; elsewhere unknown words are passed over. */
function logFormat(sources: Sources): "pretty" | "json" {
  for (const { from, source, value } of given(sources, settings.logFormat)) {
    const known = logFormats.get(from === "cli" ? String(value) : String(value).trim().toLowerCase());
    if (known) return known;
    sources.warn(`${source} knows pretty and json, not ${quoted(value)}.`);
    if (from === "cli") return "pretty";
  }
  return "pretty";
}

function routerPort(sources: Sources): number | null {
  for (const { source, value } of given(sources, settings.routerPort)) {
    const port = toNumber(value);
    if (port === 0) return null;
    if (port !== undefined && Number.isInteger(port) && port > 0 && port <= 65_535) return port;
    sources.warn(`${source} is no port and ignored: ${quoted(value)}.`);
  }
  return null;
}

function inboxMaxBytes(sources: Sources): number {
  const { value } = readNumber(sources, settings.inboxMaxBytes, 50_000_000);
  const bytes = Math.trunc(value);
  if (bytes >= 1) return Math.min(bytes, MAX_INBOX_BYTES);
  sources.warn(`OPENWORK_INBOX_MAX_BYTES must be positive, got ${quoted(value)}; 50000000 is used.`);
  return 50_000_000;
}

/** A turn of a conversation may be one answer, and take its time. */
const defaultEngineTimeoutMs = 1_800_000;
/** Timers count to here. */
const longestTimeoutMs = 2 ** 31 - 1;

function engineTimeoutMs(sources: Sources): number {
  const { value } = readNumber(sources, settings.engineTimeout, defaultEngineTimeoutMs);
  if (value >= 1) return Math.min(Math.trunc(value), longestTimeoutMs);
  sources.warn(
    `OPENWORK_ENGINE_TIMEOUT_MS must be positive, got ${quoted(value)}; ${defaultEngineTimeoutMs} is used.`,
  );
  return defaultEngineTimeoutMs;
}

const browsers = {
  "sandbox-headless": { enabled: true, placement: "in-sandbox", mode: "headless" },
  "host-interactive": { enabled: true, placement: "host-machine", mode: "interactive" },
  "client-interactive": { enabled: true, placement: "client-machine", mode: "interactive" },
  none: { enabled: false, placement: "external", mode: "none" },
} as const;

function corsOrigins(sources: Sources): string[] {
  const origins = readList(sources, settings.cors) ?? ["*"];
  for (const origin of origins) {
    if (origin !== "*" && !/^[a-z][a-z0-9+.-]*:\/\/[^/\s]+$/i.test(origin)) {
      sources.warn(`The CORS origin ${quoted(origin)} matches no page: an origin is scheme://host[:port].`);
    }
  }
  return origins;
}

function allowedHosts(sources: Sources): string[] | null {
  const hosts = readList(sources, settings.allowedHosts) ?? null;
  for (const host of hosts?.filter((entry) => !isHostEntry(entry)) ?? []) {
    sources.warn(`The allowed host ${quoted(host)} matches none: a host is a name[:port], *.name or *.`);
  }
  return hosts;
}

function basePath(sources: Sources): string {
  const [first] = given(sources, settings.basePath);
  try {
    return first ? checkBasePath(String(first.value).trim()) : "";
  } catch {
    throw new ConfigError(`${first?.source} must be a path such as /agent, got ${quoted(first?.value)}.`);
  }
}

const defaultProtectedPaths = [
  ".env",
  ".env.*",
  "*.pem",
  "*.key",
  "id_rsa*",
  "id_ed25519*",
  ".netrc",
  ".npmrc",
] as const;

/** Settings that stand alone: no path, no token. */
function plainSettings(
  sources: Sources,
  randomToken: () => string,
): Omit<
  ServerConfig,
  | "clientToken"
  | "hostToken"
  | "tokenSource"
  | "workspaces"
  | "authorizedRoots"
  | "configPath"
  | "tokenStorePath"
  | "dataDir"
> {
  const port = readNumber(sources, settings.port, 8787);
  const backend = readWord(sources, settings.sandboxBackend, ["docker", "container", "none"], "none");
  const browser = readWord(
    sources,
    settings.browser,
    ["sandbox-headless", "host-interactive", "client-interactive", "none"],
    "none",
  );
  return {
    host: readText(sources, settings.host)?.value ?? "127.0.0.1",
    port: checkPort(port.value, port.source),
    approval: {
      mode: approvalMode(sources),
      timeoutMs: readNumber(sources, settings.approvalTimeout, 30_000).value,
    },
    corsOrigins: corsOrigins(sources),
    allowedHosts: allowedHosts(sources),
    trustProxy: readSwitch(sources, settings.trustProxy, false),
    basePath: basePath(sources),
    readOnly: readSwitch(sources, settings.readOnly, false),
    log: {
      format: logFormat(sources),
      requests: readSwitch(sources, settings.logRequests, true),
      runId: readText(sources, settings.runId)?.value ?? randomToken(),
    },
    inbox: { enabled: readSwitch(sources, settings.inbox, true), maxBytes: inboxMaxBytes(sources) },
    outbox: { enabled: readSwitch(sources, settings.outbox, true) },
    ui: { enabled: readSwitch(sources, settings.ui, true) },
    sandbox: { enabled: readSwitch(sources, settings.sandbox, backend !== "none"), backend },
    browser: { ...browsers[browser] },
    engine: {
      start: readSwitch(sources, settings.engineStart, false),
      timeoutMs: engineTimeoutMs(sources),
    },
    routerPort: routerPort(sources),
    protectedPaths: readList(sources, settings.protectedPaths) ?? [...defaultProtectedPaths],
  };
}

/** Absent means every workspace; present, it is taken at its word, empty too (I10). */
function authorizedRoots(
  sources: Sources,
  paths: Paths,
  configDir: string,
  all: readonly string[],
): string[] {
  const listed = sources.file.authorizedRoots;
  if (!listed) return [...all];
  const named = listed.filter((root) => root.trim() !== "");
  if (named.length < listed.length)
    sources.warn("authorizedRoots holds a blank entry, which authorises nothing.");
  const roots = named.map((root) => paths.resolve(configDir, root));
  warnOfRefused(sources, roots, all);
  return roots;
}

/** A server that refuses all its workspaces, or one of them, looks as if it worked. */
function warnOfRefused(sources: Sources, roots: readonly string[], all: readonly string[]): void {
  const refused = all.filter((path) => !roots.some((root) => isInside(root, path)));
  if (refused.length > 0 && roots.length === 0) {
    sources.warn(
      "authorizedRoots in the settings file is empty: every workspace is refused. List their directories, or remove the key to serve all.",
    );
    return;
  }
  for (const path of refused) {
    sources.warn(`Workspace ${path} lies outside authorizedRoots of the settings file and is refused.`);
  }
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) freeze(part);
  }
  return value;
}

/**
 * The settings in force (wire contract, section 2), frozen, and what was odd about them. Precedence: flag,
 * environment, settings file, default; a blank value is unset. Throws ConfigError for what must stop the start.
 *
 * When no source names a workspace the current directory is served, provided that at least one token had to be
 * generated: then a person started this and reads that token off the screen. A launcher sets both tokens, its
 * current directory is nobody's choice (often `/`), and it gets what it named: nothing. The root of the file
 * system is never served unnamed, and a source that names an empty list means none.
 */
export function resolveConfig(input: ConfigInput): { config: ServerConfig; warnings: string[] } {
  const { flags, env, cwd, home, configPath, randomToken } = input;
  const warnings: string[] = [...flags.warnings];
  const paths = pathsFor(cwd, home);
  const configDir = paths.dirname(configPath);
  const file = checkSettings(input.file, configPath);
  const sources: Sources = { flags, env, file, warn: (text) => warnings.push(text) };
  const client = token(sources, settings.token, randomToken);
  const host = token(sources, settings.hostToken, randomToken);
  if (client.value === host.value) {
    sources.warn("The client token equals the host token: every client can answer approvals.");
  }
  const workspaces = resolveWorkspaces({
    sources,
    paths,
    cwd,
    configDir,
    realPath: input.realPath ?? ((path) => path),
    serveCwd: client.source === "generated" || host.source === "generated",
  });
  const storePath = readText(sources, settings.tokenStore)?.value;
  const config: ServerConfig = {
    ...plainSettings(sources, randomToken),
    clientToken: client.value,
    hostToken: host.value,
    tokenSource: { client: client.source, host: host.source },
    workspaces,
    authorizedRoots: authorizedRoots(
      sources,
      paths,
      configDir,
      workspaces.map((workspace) => workspace.path),
    ),
    configPath,
    tokenStorePath:
      storePath === undefined ? paths.resolve(configDir, "tokens.json") : paths.resolve(cwd, storePath),
    dataDir: paths.resolve(cwd, readText(sources, settings.dataDir)?.value ?? "~/.openwork/openwork-server"),
  };
  return { config: freeze(config), warnings };
}
