/** Headers of one connection, never of the message (RFC 9110, 7.6.1); `Connection` may name more. */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** What of a request is meant for this server: its credentials and the browser's, its name, and its handshakes. */
const ours: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "expect",
  "host",
  "http2-settings",
  "origin",
  "x-opencode-directory",
  "x-openwork-client-id",
  "x-openwork-host-token",
]);

/**
 * What of an answer would speak for this server: the target's challenge would have browsers ask people for a
 * password of the engine, and the others are about the whole origin.
 */
const theirs: RegExp =
  /^(?:www-authenticate|alt-svc|clear-site-data|strict-transport-security|access-control-.*)$/;

/** The headers that go to the target: those of the message, without any credential of ours. */
export function requestHeaders(given: Headers): Record<string, string> {
  const named = namedByConnection(given);
  const headers: Record<string, string> = {};
  for (const [name, value] of given) {
    const key = name.toLowerCase();
    if (!hopByHop.has(key) && !ours.has(key) && !named.has(key)) headers[key] = value;
  }
  return headers;
}

/** Leaves of the headers that come back those that may pass. `rewrite` translates addresses of the target. */
export function cleanAnswerHeaders(headers: Headers, rewrite: (address: string) => string): void {
  const named = namedByConnection(headers);
  const dropped: string[] = [];
  for (const name of headers.keys()) {
    const key = name.toLowerCase();
    if (hopByHop.has(key) || named.has(key) || theirs.test(key)) dropped.push(name);
  }
  for (const name of dropped) headers.delete(name);
  for (const name of addressNames) {
    const address = headers.get(name);
    if (address !== null) headers.set(name, rewrite(address));
  }
}

const addressNames = ["location", "content-location"] as const;

function namedByConnection(headers: Headers): ReadonlySet<string> {
  const connection = headers.get("connection");
  if (connection === null || connection === "keep-alive" || connection === "close") return nothing;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}

const nothing: ReadonlySet<string> = new Set();

/**
 * Translates an address that a target answers with (I62): one inside the target, absolute or as a path, becomes
 * a path below the proxy; any other, and one relative to the request, stays.
 */
export function addressRewriter(base: URL, mountPath: () => string): (address: string) => string {
  return (address) => {
    const prefix = base.pathname.replace(/\/+$/, "");
    let path = address;
    if (/^https?:/i.test(address)) {
      const url = URL.canParse(address) ? new URL(address) : null;
      if (url?.origin !== base.origin) return address;
      path = url.pathname + url.search + url.hash;
    }
    // Two slashes begin the name of another host.
    if (!path.startsWith("/") || /^\/[/\\]/.test(path)) return address;
    const below = path === prefix || path.startsWith(`${prefix}/`) || path.startsWith(`${prefix}?`);
    return below ? mountPath() + path.slice(prefix.length) : address;
  };
}

/** Whether a content type is that of the only answer that never ends by itself. */
export function isEventStream(contentType: string): boolean {
  return /^text\/event-stream\b/i.test(contentType);
}
