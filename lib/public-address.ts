import { Target } from "./paths.ts";

/** How callers see this server: what links and locations are made of. */
export interface PublicAddress {
  /** Scheme and host, such as `https://example.org`, without a path. */
  readonly origin: string;
  /** Host and port as in an origin. */
  readonly host: string;
  /** What precedes every path of this server: empty, or such as `/agent`. */
  readonly base: string;
}

/** Where a handler is mounted in somebody else's server. */
export interface Mounting {
  /** Checked by {@link checkBasePath}. */
  basePath: string;
  /** Believe `X-Forwarded-Proto`, `-Host` and `-Prefix`. */
  trustProxy: boolean;
  /** Names under which public pages are shown; see {@link refusedHost}. */
  allowedHosts: readonly string[];
}

const pathPrefix = /^(?:\/[^/?#\s\\]+)+$/;

/** A base path in the one form used here: empty for none or `/`, else without a slash at its end. Throws a TypeError that quotes a bad one. */
export function checkBasePath(basePath: string | undefined): string {
  const trimmed = (basePath ?? "").replace(/\/$/, "");
  const isDotted = trimmed.split("/").some((part) => part === "." || part === "..");
  if (trimmed === "" || (pathPrefix.test(trimmed) && !isDotted)) return trimmed;
  throw new TypeError(`basePath must be a path such as "/agent", got ${JSON.stringify(basePath)}.`);
}

/** The target below a base path, or null when it lies elsewhere. The base itself is its own root. */
export function belowBase(target: Target, basePath: string): Target | null {
  if (basePath === "") return target;
  if (target.path !== basePath && !target.path.startsWith(`${basePath}/`)) return null;
  return new Target(target.path.slice(basePath.length) || "/", target.search);
}

function first(headers: Headers, name: string, valid: RegExp): string | null {
  const value = headers.get(name)?.split(",", 1)[0]?.trim();
  return value !== undefined && valid.test(value) ? value : null;
}

/** How the caller of a request sees this server. A proxy is believed only where it is trusted: anybody can send its headers. */
export function publicAddressOf(
  request: Request,
  { basePath, trustProxy }: Pick<Mounting, "basePath" | "trustProxy">,
): PublicAddress {
  const { protocol, host } = new URL(request.url);
  if (!trustProxy) return { origin: `${protocol}//${host}`, host, base: basePath };
  const { headers } = request;
  const scheme = first(headers, "x-forwarded-proto", /^https?$/i)?.toLowerCase() ?? protocol.slice(0, -1);
  const name = first(headers, "x-forwarded-host", /^[a-z0-9._:[\]-]+$/i) ?? host;
  const prefix = first(headers, "x-forwarded-prefix", pathPrefix) ?? "";
  return { origin: `${scheme}://${name}`, host: name, base: prefix + basePath };
}
