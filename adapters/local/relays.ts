import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { Tunnel } from "../../lib/proxy.ts";
import { refusal, tunnelRefusal } from "../http-server.ts";
import { Relay } from "./relay.ts";
import { askForUpgrade, type Declined, type Upgraded } from "./upgrade.ts";

/** A caller of whom nothing comes for so long, no answer to a ping either, is gone; seconds. */
export const silentCallerSeconds = 600;

/**
 * Makes a WebSocket of a request and has the relay begin once it is open, with the subprotocol if there is one.
 * Returns what the runtime wants as the answer; null when the request cannot become a WebSocket any more.
 */
export type AcceptWebSocket = (request: Request, relay: Relay, protocol: string | null) => Response | null;

/** What is open between callers and the engine, where a runtime gives the messages of a WebSocket and not its bytes. */
export class Relays {
  readonly #open = new Set<Relay>();
  #isStopping = false;

  /** Connects a caller, whose handshake has been looked at, to the target of a tunnel; or says why it cannot. */
  async connect(request: Request, tunnel: Tunnel, accept: AcceptWebSocket): Promise<Response> {
    let upstream: Upgraded | Declined;
    try {
      upstream = await askForUpgrade(withoutExtensions(tunnel), request.signal);
      if (upstream.switched) insistOnHandshake(upstream, request, tunnel);
    } catch (error) {
      return tunnelRefusal(error);
    }
    if (!upstream.switched) return passOn(upstream);
    const { socket, headers } = upstream;
    const relay = this.#begin(upstream, tunnel);
    let accepted: Response | null = null;
    try {
      accepted = accept(request, relay, headers.get("sec-websocket-protocol") ?? tunnel.protocol);
    } finally {
      if (accepted === null) socket.destroy();
    }
    return accepted ?? refuse("The connection cannot become a WebSocket.");
  }

  /** Closes every WebSocket, and those to come. */
  stop(): void {
    this.#isStopping = true;
    for (const relay of this.#open) relay.stop();
  }

  #begin({ socket, head }: Upgraded, tunnel: Tunnel): Relay {
    let unwatch: (() => void) | undefined;
    const relay = new Relay(socket, head, () => {
      this.#open.delete(relay);
      unwatch?.();
    });
    this.#open.add(relay);
    unwatch = tunnel.endStreams?.(() => relay.dismiss());
    if (socket.destroyed) unwatch?.();
    if (this.#isStopping) relay.stop();
    return relay;
  }
}

/** The answer to a request for a WebSocket that is none of RFC 6455, or null. */
export function refusedHandshake(headers: Headers): Response | null {
  const problem = handshakeProblem(headers);
  // The version is what RFC 6455, 4.4 wants told.
  return problem === null ? null : refuse(problem, { "sec-websocket-version": "13" });
}

/** A 400 with the reason. */
export function refuse(problem: string, headers: Record<string, string> = {}): Response {
  return Response.json(refusal(problem), { status: 400, headers });
}

function handshakeProblem(headers: Headers): string | null {
  const key = headers.get("sec-websocket-key") ?? "";
  if (headers.get("sec-websocket-version") !== "13") return "The WebSocket version must be 13.";
  return /^[A-Za-z0-9+/]{22}==$/.test(key) ? null : "The Sec-WebSocket-Key must be 16 bytes in base64.";
}

/** Throws, and lets go of the target, when it did not read the handshake. */
function insistOnHandshake({ socket, headers }: Upgraded, request: Request, tunnel: Tunnel): void {
  const key = request.headers.get("sec-websocket-key") ?? "";
  if (headers.get("sec-websocket-accept") === acceptFor(key)) return;
  socket.destroy();
  throw tunnel.unreachable(new Error("its answer is no WebSocket handshake"));
}

/** What proves that a server read the handshake (RFC 6455, 4.2.2). */
function acceptFor(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** Frames are read here, so that none may be compressed. */
function withoutExtensions(tunnel: Tunnel): Tunnel {
  const { "sec-websocket-extensions": _, ...headers } = tunnel.headers;
  return { ...tunnel, headers };
}

function passOn({ status, headers, body }: Declined): Response {
  const empty = status === 204 || status === 304;
  if (empty) body.resume();
  // The runtime frames a stream by itself.
  headers.delete("content-length");
  return new Response(empty ? null : (Readable.toWeb(body) as ReadableStream), { status, headers });
}
