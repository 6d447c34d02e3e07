import type { Tunnel } from "../../lib/proxy.ts";
import { tunnelRefusal } from "../http-server.ts";

/** What the platform adds to an answer that switched to the WebSocket protocol. */
type WithSocket = Response & { readonly webSocket?: object | null };

/**
 * Connects a caller to the target of a tunnel: the platform itself passes the messages on. Resolves with the
 * target's answer, or with the reason why there is none.
 */
export async function connectWebSocket(tunnel: Tunnel): Promise<Response> {
  let response: WithSocket;
  try {
    response = await ask(tunnel);
  } catch (error) {
    return tunnelRefusal(error);
  }
  const headers = new Headers(response.headers);
  tunnel.cleanAnswerHeaders(headers);
  const { webSocket } = response;
  if (!webSocket) return new Response(response.body, { status: response.status, headers });
  // A browser fails a connection for which none of its subprotocols was chosen.
  if (tunnel.protocol !== null && !headers.has("sec-websocket-protocol"))
    headers.set("sec-websocket-protocol", tunnel.protocol);
  // The platform answers the caller's handshake itself.
  headers.delete("sec-websocket-accept");
  return new Response(null, { status: 101, headers, webSocket } as ResponseInit);
}

async function ask(tunnel: Tunnel): Promise<Response> {
  // The handshake with the target is the platform's own.
  const {
    connection: _connection,
    "sec-websocket-key": _key,
    "sec-websocket-version": _version,
    "sec-websocket-extensions": _extensions,
    ...headers
  } = tunnel.headers;
  const controller = new AbortController();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    controller.abort();
  }, tunnel.timeoutMs);
  try {
    return await fetch(tunnel.url, { headers, redirect: "manual", signal: controller.signal });
  } catch (cause) {
    throw late ? tunnel.timedOut() : tunnel.unreachable(cause);
  } finally {
    clearTimeout(timer);
  }
}
