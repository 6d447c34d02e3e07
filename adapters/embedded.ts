import { isTunnel, type Tunnel } from "../lib/proxy.ts";
import { asksForWebSocket } from "../lib/http/websocket.ts";

/** What somebody else's server needs of a handler to serve its WebSockets too. */
export interface EmbeddedHandler<Answer extends Response | null> {
  (request: Request): Promise<Answer>;
  serves(request: { url: string }): boolean;
  upgrade(request: Request): Promise<Response | Tunnel | null>;
}

/** A handler that serves its WebSockets too: an answer may be the beginning of one, and has to be returned as it is. */
export interface WithWebSockets<Rest extends unknown[], Answer> {
  (request: Request, ...rest: Rest): Promise<Response | Answer>;
  /** Closes every WebSocket, and those to come. */
  close(): void;
}

/** How a request that asks for a WebSocket is served. */
export interface Connecting {
  /** The answer to a handshake that is none, or null. */
  refuse?(headers: Headers): Response | null;
  connect(tunnel: Tunnel): Promise<Response>;
}

/** The handler's answer to a request, or the beginning of a WebSocket. What is somebody else's is not looked at. */
export function answerEmbedded<Answer extends Response | null>(
  handler: EmbeddedHandler<Answer>,
  request: Request,
  connecting: Connecting,
): Promise<Response | Answer> {
  const { method, headers } = request;
  const upgrades = method === "GET" && asksForWebSocket(headers) && handler.serves(request);
  // Without a promise of its own: most requests are others.
  return upgrades ? answerUpgrade(handler, request, connecting) : handler(request);
}

async function answerUpgrade<Answer extends Response | null>(
  handler: EmbeddedHandler<Answer>,
  request: Request,
  { refuse, connect }: Connecting,
): Promise<Response | Answer> {
  const refused = refuse?.(request.headers) ?? null;
  if (refused) return refused;
  const decided = await handler.upgrade(request);
  if (decided === null) return handler(request);
  return isTunnel(decided) ? connect(decided) : decided;
}
