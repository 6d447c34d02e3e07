import type { Tunnel } from "../../lib/proxy.ts";
import { tunnelRefusal } from "../http-server.ts";

/** What the platform adds to an answer that switched to the WebSocket protocol. */
type WithSocket = Response & { readonly webSocket?: object | null };

/**
 * Connects a caller to the target of a tunnel: the platform itself passes the messages on. Resolves with the
 * target's answer, or with the reason why there is none.
 */
export async function connectWebSocket(tunnel: Tunnel): Promise<Response> {
  const controller = new AbortController();
  let response: WithSocket;
  try {
    response = await ask(tunnel, controller);
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
  // A socket that was given away cannot be closed, but what it came from can be broken off, and takes both sides with it.
  // Nothing tells here when they are gone: what watches them stays until the platform forgets the whole object.
  tunnel.endStreams?.(() => controller.abort());
  return new Response(null, { status: 101, headers, webSocket } as ResponseInit);
}

async function ask(tunnel: Tunnel, controller: AbortController): Promise<Response> {
  // The handshake with the target is the platform's own.
  const {
    connection: _connection,
    "sec-websocket-key": _key,
    "sec-websocket-version": _version,
    "sec-websocket-extensions": _extensions,
    ...headers
  } = tunnel.headers;
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
