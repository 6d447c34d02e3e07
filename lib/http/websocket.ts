import { ApiError } from "../errors.ts";

/** The subprotocol that this server answers with when the caller offers it and the target chooses none. */
const ownProtocol = "openwork";
/** A subprotocol that carries a bearer token, for browsers: they can send no other header with a WebSocket. */
const bearerProtocol = "openwork.bearer.";

/** Whether a request asks for its connection to become a WebSocket. */
export function asksForWebSocket(headers: Headers): boolean {
  if (headers.get("upgrade")?.trim().toLowerCase() !== "websocket") return false;
  const tokens = (headers.get("connection") ?? "").toLowerCase().split(",");
  return tokens.some((token) => token.trim() === "upgrade");
}

/** What a caller offers in `Sec-WebSocket-Protocol`. */
export interface OfferedProtocols {
  /** The bearer token among them, if there is one. */
  token: string | null;
  /** Those that are meant for the target. */
  forwarded: string[];
  /** The one that this server may answer with by itself, since a browser insists on one that it offered. */
  own: string | null;
}

/**
 * Reads the subprotocols of a caller. Browsers connect with `new WebSocket(url, ["openwork",
 * "openwork.bearer.<token>"])` and see `openwork` chosen; neither goes to the target.
 */
export function offeredProtocols(header: string | null): OfferedProtocols {
  const offered = (header ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
  const bearer = offered.find((name) => name.startsWith(bearerProtocol));
  const isOwn = (name: string): boolean => name === ownProtocol || name.startsWith(bearerProtocol);
  return {
    token: bearer === undefined ? null : bearer.slice(bearerProtocol.length),
    forwarded: offered.filter((name) => !isOwn(name)),
    own: offered.includes(ownProtocol) ? ownProtocol : (bearer ?? null),
  };
}

/** The headers with the token of the subprotocol where a program would have put it. */
export function withProtocolToken(headers: Headers): Headers {
  const { token } = offeredProtocols(headers.get("sec-websocket-protocol"));
  if (token === null || headers.get("authorization")) return headers;
  const complete = new Headers(headers);
  complete.set("authorization", `Bearer ${token}`);
  return complete;
}

/**
 * Refuses the page of an origin that is not allowed: browsers let any page open a WebSocket, and send no
 * preflight. Programs send no origin; the pages of this server itself are as good as an allowed one.
 */
export function insistOnAllowedOrigin(
  origin: string | null,
  allowed: readonly string[],
  host: string | null,
): void {
  if (origin === null || allowed.includes("*")) return;
  const normal = normalOrigin(origin);
  if (allowed.some((other) => normalOrigin(other) === normal)) return;
  if (host !== null && [`http://${host}`, `https://${host}`].some((own) => normalOrigin(own) === normal))
    return;
  const list = allowed.join(", ") || "none";
  const message = `The page's origin ${origin.slice(0, 200)} is not among the CORS origins of this server (${list}).`;
  throw new ApiError("forbidden", message, { reason: "origin" });
}

/** An origin in its shortest form: lower case, without the default port. */
function normalOrigin(origin: string): string {
  const known = URL.canParse(origin) ? new URL(origin).origin : "null";
  // Origins of other schemes have no normal form of their own.
  return known === "null" ? origin.toLowerCase() : known;
}
