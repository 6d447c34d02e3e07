/** Methods that a browser may use, here and through the engine proxy. */
const allowMethods = "GET,POST,PATCH,PUT,DELETE,HEAD,OPTIONS";
const allowHeaders =
  "Authorization,Content-Type,X-OpenWork-Host-Token,X-OpenWork-Client-Id,X-OpenCode-Directory,If-Match,If-None-Match,If-Range,Range,Prefer,Last-Event-ID";
const exposeHeaders =
  "Content-Disposition,Content-Range,Accept-Ranges,ETag,Last-Modified,Location,Retry-After,Preference-Applied,Allow";

/** The CORS headers of a request's answer (wire contract, section 5, and I68); none for an origin that is not allowed. */
export type CorsHeaders = (request: Request) => Readonly<Record<string, string>>;

/** Makes the function that gives an answer's CORS headers from the allow-list of exact origins or `*`. */
export function corsFor(origins: readonly string[]): CorsHeaders {
  if (origins.includes("*")) {
    const everywhere = headersFor("*");
    return () => everywhere;
  }
  const none = Object.freeze({});
  // Nothing needs to be looked up in the headers, which a runtime may make only then.
  if (origins.length === 0) return () => none;
  const byOrigin = new Map(origins.map((origin) => [origin, headersFor(origin)]));
  return ({ headers }) => byOrigin.get(headers.get("origin") ?? "") ?? none;
}

function headersFor(origin: string): Readonly<Record<string, string>> {
  return Object.freeze({
    "access-control-allow-origin": origin,
    "access-control-allow-headers": allowHeaders,
    "access-control-allow-methods": allowMethods,
    "access-control-expose-headers": exposeHeaders,
    vary: "Origin",
  });
}

/** The headers of a preflight's answer; a private-network request is granted to allowed origins only. */
export function preflightHeaders(
  cors: Readonly<Record<string, string>>,
  request: Request,
): Record<string, string> {
  if (!cors["access-control-allow-origin"]) return {};
  const privateNetwork = request.headers.get("access-control-request-private-network") === "true";
  return {
    ...cors,
    "access-control-max-age": "600",
    ...(privateNetwork ? { "access-control-allow-private-network": "true" } : {}),
  };
}
