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

/**
 * The handler's answer to a request. One that asks for a WebSocket goes to `connect`, unless `refuse` finds something
 * wrong with it; what is somebody else's is not looked at.
 */
export async function answerEmbedded<Answer extends Response | null>(
  handler: EmbeddedHandler<Answer>,
  request: Request,
  connect: (tunnel: Tunnel) => Promise<Response>,
  refuse: (headers: Headers) => Response | null = () => null,
): Promise<Response | Answer> {
  const { method, headers } = request;
  if (method !== "GET" || !asksForWebSocket(headers) || !handler.serves(request)) return handler(request);
  const refused = refuse(headers);
  if (refused) return refused;
  const decided = await handler.upgrade(request);
  if (decided === null) return handler(request);
  return isTunnel(decided) ? connect(decided) : decided;
}
