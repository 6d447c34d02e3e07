import type { ServerConfig } from "./host.ts";

/** `http://host:port` for a bound address; an IPv6 address gets its brackets. */
export function serverUrl(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** The same for a client on this machine: a wildcard address cannot be connected to. */
function localUrl(host: string, port: number): string {
  const local = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return serverUrl(local, port);
}

function workspaceLines({ workspaces, configPath, tokenSource }: ServerConfig): string[] {
  if (workspaces.length === 0) {
    const hint = `No workspace is configured, so nothing is served: start with --workspace PATH, or list some in OPENWORK_WORKSPACES or ${configPath}.`;
    const isLaunched = tokenSource.client !== "generated" && tokenSource.host !== "generated";
    return isLaunched
      ? [
          hint,
          "The current directory is served by itself only where a token is generated; both are configured.",
        ]
      : [hint];
  }
  const list = workspaces.map((workspace) => `  ${workspace.path} (${workspace.id})`);
  return [`Workspaces: ${workspaces.length}`, ...list];
}

/** Repeats the client token only when it was generated, and thus printed anyway. */
function nextLine({ tokenSource, clientToken }: ServerConfig, url: string): string {
  return tokenSource.client === "generated"
    ? `Try next: curl -H "Authorization: Bearer ${clientToken}" ${url}/status`
    : `Try next: curl ${url}/health`;
}

/** Where a person goes; whether writes wait there depends on who allows them, if there are any. */
function pageLine({ approval, readOnly }: ServerConfig, url: string): string {
  const isAsked = approval.mode === "manual" && !readOnly;
  return `${isAsked ? "Approve writes" : "See its status"} in a browser: ${url}/ui`;
}

/** What is printed once listening (wire contract, section 12): configured tokens never, generated ones always. */
export function startLines(config: ServerConfig, bound: { host: string; port: number }): string[] {
  const { tokenSource } = config;
  const lines = [`OpenWork server listening on ${serverUrl(bound.host, bound.port)}`];
  if (tokenSource.client === "generated") lines.push(`Client token: ${config.clientToken}`);
  if (tokenSource.host === "generated") lines.push(`Host token: ${config.hostToken}`);
  const url = localUrl(bound.host, bound.port) + config.basePath;
  lines.push(...workspaceLines(config), ...(config.ui.enabled ? [pageLine(config, url)] : []));
  lines.push(nextLine(config, url));
  return lines;
}

function list(items: readonly string[]): string {
  return items.join(", ") || "none";
}

/** What `--verbose` adds. */
export function verboseLines(config: ServerConfig): string[] {
  return [
    `Config path: ${config.configPath}`,
    `Read-only: ${config.readOnly}`,
    `Approval: ${config.approval.mode} (${config.approval.timeoutMs}ms)`,
    `CORS origins: ${list(config.corsOrigins)}`,
    ...(config.allowedHosts ? [`Allowed hosts: ${list(config.allowedHosts)}`] : []),
    ...(config.trustProxy ? ["Proxy headers are trusted"] : []),
    `Authorized roots: ${list(config.authorizedRoots)}`,
    `Token source: ${config.tokenSource.client}`,
    `Host token source: ${config.tokenSource.host}`,
  ];
}
