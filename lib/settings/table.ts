/** One setting: where it can be given, its default, and what it does. Help, README and the reader use this same row. */
export interface Setting {
  name: string;
  /** Name without dashes; `value` is what follows it, absent for a switch. */
  flag?: { name: string; value?: string; repeatable?: boolean };
  variable?: string;
  /** Dotted key of server.json. */
  key?: string;
  default: string;
  /** One sentence: meaning, unit, and what it costs in security. */
  about: string;
  /** The value is never quoted in messages. */
  secret?: boolean;
}

/** Every setting by its short id. */
export type SettingId =
  | "config"
  | "host"
  | "port"
  | "token"
  | "hostToken"
  | "approvalMode"
  | "approvalTimeout"
  | "workspaces"
  | "authorizedRoots"
  | "cors"
  | "allowedHosts"
  | "trustProxy"
  | "basePath"
  | "readOnly"
  | "protectedPaths"
  | "engineUrl"
  | "engineDirectory"
  | "engineUser"
  | "enginePassword"
  | "engineStart"
  | "engineTimeout"
  | "routerPort"
  | "logFormat"
  | "logRequests"
  | "runId"
  | "tokenStore"
  | "dataDir"
  | "inbox"
  | "inboxMaxBytes"
  | "outbox"
  | "ui"
  | "sandbox"
  | "sandboxBackend"
  | "browser"
  | "verbose";

/** The settings in the order in which help and README list them. Precedence: flag, variable, server.json, default. */
export const settings: Readonly<Record<SettingId, Setting>> = {
  config: {
    name: "settings file",
    flag: { name: "config", value: "PATH" },
    variable: "OPENWORK_SERVER_CONFIG",
    default: "~/.config/openwork/server.json",
    about: "JSON, comments allowed; may hold the two tokens, so keep it readable by you alone.",
  },
  workspaces: {
    name: "workspaces",
    flag: { name: "workspace", value: "PATH", repeatable: true },
    variable: "OPENWORK_WORKSPACES",
    key: "workspaces",
    default: "the current directory when a token is generated, else none",
    about:
      "Directories to serve; everything below them can be read by every token and written by collaborators.",
  },
  host: {
    name: "bind address",
    flag: { name: "host", value: "H" },
    variable: "OPENWORK_HOST",
    key: "host",
    default: "127.0.0.1",
    about: "Address to listen on; anything but loopback lets other machines try tokens over plain HTTP.",
  },
  port: {
    name: "port",
    flag: { name: "port", value: "N" },
    variable: "OPENWORK_PORT",
    key: "port",
    default: "8787",
    about: "TCP port, 0 to 65535; 0 picks a free one, told by the listening line.",
  },
  token: {
    name: "client token",
    flag: { name: "token", value: "T" },
    variable: "OPENWORK_TOKEN",
    key: "token",
    default: "random, printed at start",
    about:
      "Gives a collaborator's rights; a flag can be read by every user of the machine, a variable cannot.",
    secret: true,
  },
  hostToken: {
    name: "host token",
    flag: { name: "host-token", value: "T" },
    variable: "OPENWORK_HOST_TOKEN",
    key: "hostToken",
    default: "random, printed at start",
    about: "Gives the owner's rights: answering approvals and issuing tokens; keep it to yourself.",
    secret: true,
  },
  approvalMode: {
    name: "approval mode",
    flag: { name: "approval", value: "manual|auto" },
    variable: "OPENWORK_APPROVAL_MODE",
    key: "approval.mode",
    default: "manual",
    about: "manual asks the host before every write; auto lets every collaborator write unasked.",
  },
  approvalTimeout: {
    name: "approval timeout",
    flag: { name: "approval-timeout", value: "MS" },
    variable: "OPENWORK_APPROVAL_TIMEOUT_MS",
    key: "approval.timeoutMs",
    default: "30000",
    about: "Milliseconds after which an unanswered write is denied.",
  },
  authorizedRoots: {
    name: "authorised roots",
    key: "authorizedRoots",
    default: "the workspaces",
    about: "Only workspaces at or below these directories are served; an empty list authorises none.",
  },
  cors: {
    name: "CORS origins",
    flag: { name: "cors", value: "LIST" },
    variable: "OPENWORK_CORS_ORIGINS",
    key: "corsOrigins",
    default: "*",
    about: "Web origins whose pages may call this server; * lets any page try, a token is still needed.",
  },
  allowedHosts: {
    name: "allowed hosts",
    flag: { name: "allowed-hosts", value: "LIST" },
    variable: "OPENWORK_ALLOWED_HOSTS",
    key: "allowedHosts",
    default: "none more on a loopback address, else *",
    about:
      "Host names, such as agents.example, *.example or * for any, under which /ui and /openapi.json may be asked for without a token, beside IP addresses, localhost, this machine's name and the CORS origins; any other may be a page that points its name at this machine.",
  },
  trustProxy: {
    name: "trust the proxy",
    flag: { name: "trust-proxy" },
    variable: "OPENWORK_TRUST_PROXY",
    key: "trustProxy",
    default: "off",
    about:
      "Believes X-Forwarded-Proto, -Host and -Prefix; only behind a proxy that sets all three, since anybody else could point links elsewhere.",
  },
  basePath: {
    name: "base path",
    flag: { name: "base-path", value: "PATH" },
    variable: "OPENWORK_BASE_PATH",
    key: "basePath",
    default: "none",
    about: "Path such as /agent below which everything is served, for a proxy that does not take it away.",
  },
  readOnly: {
    name: "read-only",
    flag: { name: "read-only" },
    variable: "OPENWORK_READONLY",
    key: "readOnly",
    default: "off",
    about: "Refuses every write, whatever the token.",
  },
  protectedPaths: {
    name: "protected paths",
    variable: "OPENWORK_PROTECTED_PATHS",
    key: "protectedPaths",
    default: ".env, .env.*, *.pem, *.key, id_rsa*, id_ed25519*, .netrc, .npmrc",
    about: "File-name patterns that viewers cannot read; an empty list shows them everything.",
  },
  engineUrl: {
    name: "engine URL",
    flag: { name: "opencode-base-url", value: "URL" },
    variable: "OPENWORK_OPENCODE_BASE_URL",
    default: "none",
    about:
      "Base URL of the engine, for workspaces without one of their own; collaborators reach it through the proxy.",
  },
  engineDirectory: {
    name: "engine directory",
    flag: { name: "opencode-directory", value: "PATH" },
    variable: "OPENWORK_OPENCODE_DIRECTORY",
    default: "the path of a local workspace",
    about: "Directory the engine works in; used only when exactly one workspace is served.",
  },
  engineUser: {
    name: "engine user",
    flag: { name: "opencode-username", value: "U" },
    variable: "OPENWORK_OPENCODE_USERNAME",
    key: "opencodeUsername",
    default: "none",
    about: "User name for the engine, for workspaces without one of their own; shown to collaborators.",
  },
  enginePassword: {
    name: "engine password",
    flag: { name: "opencode-password", value: "P" },
    variable: "OPENWORK_OPENCODE_PASSWORD",
    key: "opencodePassword",
    default: "none",
    about:
      "Password for the engine, for workspaces without one of their own; shown to collaborators, never to viewers.",
    secret: true,
  },
  engineStart: {
    name: "start the engine",
    flag: { name: "engine" },
    variable: "OPENWORK_ENGINE",
    key: "engine",
    default: "off",
    about:
      "Starts and supervises `opencode serve` for workspaces without an engine URL, on a free port with a random password.",
  },
  engineTimeout: {
    name: "engine timeout",
    variable: "OPENWORK_ENGINE_TIMEOUT_MS",
    default: "1800000",
    about:
      "Milliseconds that the engine may take until an answer through the proxy begins; from then on there is no limit.",
  },
  routerPort: {
    name: "router port",
    flag: { name: "opencode-router-health-port", value: "N" },
    variable: "OPENCODE_ROUTER_HEALTH_PORT",
    default: "not configured",
    about:
      "Port of the OpenCode Router on 127.0.0.1, 1 to 65535; most of it is reachable with the host token only.",
  },
  logFormat: {
    name: "log format",
    flag: { name: "log-format", value: "pretty|json" },
    variable: "OPENWORK_LOG_FORMAT",
    key: "logFormat",
    default: "pretty",
    about: "Lines for people, or one OpenTelemetry-shaped JSON record per line.",
  },
  logRequests: {
    name: "request log",
    flag: { name: "log-requests" },
    variable: "OPENWORK_LOG_REQUESTS",
    key: "logRequests",
    default: "on",
    about:
      "One line per request, without query and tokens; status 499 is a caller that hung up; --no-log-requests is the opposite.",
  },
  runId: {
    name: "run id",
    variable: "OPENWORK_RUN_ID",
    default: "random",
    about: "Carried by every log record of this run.",
  },
  tokenStore: {
    name: "token store",
    variable: "OPENWORK_TOKEN_STORE",
    default: "tokens.json beside the settings file",
    about: "File with the hashes of the issued tokens; whoever can write it can let people in.",
  },
  dataDir: {
    name: "data directory",
    variable: "OPENWORK_DATA_DIR",
    default: "~/.openwork/openwork-server",
    about: "Audit logs and remembered state; kept outside the workspaces so that clients cannot rewrite it.",
  },
  inbox: {
    name: "inbox",
    variable: "OPENWORK_INBOX_ENABLED",
    default: "on",
    about: "Whether collaborators may upload files into a workspace's inbox.",
  },
  inboxMaxBytes: {
    name: "inbox size limit",
    variable: "OPENWORK_INBOX_MAX_BYTES",
    default: "50000000",
    about: "Largest upload in bytes, never above 250000000; uploads can fill the disk.",
  },
  outbox: {
    name: "outbox",
    variable: "OPENWORK_OUTBOX_ENABLED",
    default: "on",
    about: "Whether files in a workspace's outbox can be listed and downloaded.",
  },
  ui: {
    name: "built-in page",
    variable: "OPENWORK_TOY_UI",
    default: "on",
    about: "Whether the console is served at /ui; it loads without a token and asks for one.",
  },
  sandbox: {
    name: "sandbox",
    variable: "OPENWORK_SANDBOX_ENABLED",
    default: "on when a backend is set",
    about: "Whether capabilities tell that the engine runs in a sandbox; it confines nothing by itself.",
  },
  sandboxBackend: {
    name: "sandbox backend",
    variable: "OPENWORK_SANDBOX_BACKEND",
    default: "none",
    about: "docker or container; told in capabilities, confines nothing by itself.",
  },
  browser: {
    name: "browser provider",
    variable: "OPENWORK_BROWSER_PROVIDER",
    default: "none",
    about: "sandbox-headless, host-interactive or client-interactive; told in capabilities only.",
  },
  verbose: {
    name: "print settings",
    flag: { name: "verbose" },
    default: "off",
    about: "Prints the settings in force at start, without tokens.",
  },
};

/** The rows of the table, in order. */
export const settingsTable: readonly Setting[] = Object.values(settings);

function flagText(setting: Setting): string {
  if (!setting.flag) return "";
  return setting.flag.value ? `--${setting.flag.name} ${setting.flag.value}` : `--${setting.flag.name}`;
}

/** The text of `--help`. */
export function helpText(): string {
  const lines = ["Usage: openwork-server [--workspace PATH]... [options]", "", "Options:"];
  const rows = settingsTable.filter((row) => row.flag).map((row) => [flagText(row), row] as const);
  const width = Math.max(...rows.map(([flag]) => flag.length)) + 2;
  for (const [flag, row] of rows) {
    lines.push(`  ${flag.padEnd(width)}${row.about}`);
    lines.push(`  ${" ".repeat(width)}${row.variable ? `[${row.variable}] ` : ""}Default: ${row.default}`);
  }
  lines.push(`  ${"--version".padEnd(width)}Prints the version alone.`);
  lines.push(`  ${"--help, -h".padEnd(width)}Prints this text.`, "", "Without a flag:");
  for (const row of settingsTable) {
    if (row.flag || !row.variable) continue;
    const key = row.key ? `, or ${row.key} in the settings file` : "";
    lines.push(`  ${row.variable}${key}`, `      ${row.about}`, `      Default: ${row.default}`);
  }
  lines.push("", "A switch takes 1, true, yes, on or 0, false, no, off. A list is JSON, or split at , or ;.");
  lines.push("A flag wins over the environment, the environment over the settings file.");
  return `${lines.join("\n")}\n`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("*", "\\*");
}

function codeCell(text: string | undefined): string {
  return text ? `\`${text.replaceAll("|", "\\|")}\`` : "";
}

/** The table as markdown, for the README. */
export function settingsMarkdown(): string {
  const lines = [
    "| Setting | Flag | Environment | server.json | Default | What it does |",
    "|---|---|---|---|---|---|",
  ];
  for (const row of settingsTable) {
    const places = [flagText(row), row.variable, row.key].map(codeCell);
    lines.push(`| ${[cell(row.name), ...places, cell(row.default), cell(row.about)].join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}
