import { ApiError } from "../errors.ts";

/** What the list of allowed hosts is made of. */
export interface HostRule {
  /** Names as `agents.example`, `agents.example:8443`, `*.example`, or `*` for any. */
  names: readonly string[];
  corsOrigins: readonly string[];
  /** Whether `X-Forwarded-Host` is the work of a trusted proxy. */
  trustProxy: boolean;
}

const entry = /^(?:\*\.)?[^\s/:*?#@]+(?::\d+)?$/;

/** Whether a text can be an entry of the setting. */
export function isHostEntry(text: string): boolean {
  return text === "*" || entry.test(text);
}

/** Whether a server that listens on this address can be reached from this machine alone. */
export function isLoopback(address: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i.test(address);
}

/** Lower case, and without the dot that ends a full name. */
function normal(host: string): string {
  return host.toLowerCase().replace(/\.(?=:\d*$|$)/, "");
}

const port = /:\d*$/;
const address = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[\da-f:.]+\])$/;
const localhost = /^(?:.+\.)?localhost$/;

/** Whether no name server has a say in where this host leads. */
const isFixed = (name: string): boolean => address.test(name) || localhost.test(name);

/** Whether requests for a `Host` may be answered by this rule: `host` is name and port. */
function matcher({ names, corsOrigins }: HostRule): (host: string) => boolean {
  if (names.includes("*")) return () => true;
  const ofOrigins = corsOrigins
    .filter((origin) => URL.canParse(origin))
    .map((origin) => new URL(origin).host)
    .filter(Boolean);
  const known = new Set([...names, ...ofOrigins].map(normal));
  const suffixes = [...known].filter((name) => name.startsWith("*.")).map((name) => name.slice(1));
  return (host) => {
    const full = normal(host);
    const name = full.replace(port, "");
    const isBelow = suffixes.some((suffix) => full.endsWith(suffix) || name.endsWith(suffix));
    return isFixed(name) || known.has(full) || known.has(name) || isBelow;
  };
}

/**
 * Makes the check against DNS rebinding (CVE-2025-66414): a page may point its own name at this machine, and is then
 * of the same origin as this server. What comes of it is the refusal of a request, or null: 403 `host_not_allowed`.
 *
 * Such a page has no token, and this server knows no authority that a browser adds by itself, so everything that
 * takes a token is safe under any name; and there every name must work, because tunnels and TLS proxies pass on
 * the public one. The check is for what is public: the console, which would keep the tokens that somebody types
 * where that page finds them, and the description of the API. `/health` is asked for by launchers and tunnels
 * before they have a token and tells a version alone; preflights tell nothing. Addresses and `localhost` are
 * resolved by no name server, and the pages of CORS origins are trusted anyway.
 *
 * Behind a trusted proxy both names count, its own and the one that it passes on: a page can send
 * `X-Forwarded-Host`, but not `Host`.
 */
export function refusedHost(rule: HostRule): (request: Request) => ApiError | null {
  const isAllowed = matcher(rule);
  return (request) => {
    const { headers } = request;
    const forwarded = rule.trustProxy ? headers.get("x-forwarded-host")?.split(",", 1)[0]?.trim() : null;
    const asked = [headers.get("host") ?? new URL(request.url).host, ...(forwarded ? [forwarded] : [])];
    const foreign = asked.find((host) => !isAllowed(host));
    if (foreign === undefined) return null;
    const host = foreign.slice(0, 200);
    return new ApiError(
      "host_not_allowed",
      `This server does not show this under the name ${JSON.stringify(host)}: send a token, or add the name to the allowed hosts (--allowed-hosts, OPENWORK_ALLOWED_HOSTS, allowedHosts in server.json).`,
      { host },
    );
  };
}
