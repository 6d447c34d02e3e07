import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { Awaitable } from "../../lib/awaitable.ts";
import { asksForWebSocket } from "../../lib/http/websocket.ts";
import type { Tunnel } from "../../lib/proxy.ts";
import { crashReply, hostProblem, listenProblem, refusal, tunnelRefusal } from "../http-server.ts";
import type { HttpServer, ListenOptions } from "../http-server.ts";
import { Relay } from "./relay.ts";
import { askForUpgrade, type Declined } from "./upgrade.ts";

/** A caller of whom nothing comes for so long, no answer to a ping either, is gone; seconds. */
export const silentCallerSeconds = 600;

/** A server of a runtime, as far as stopping it goes. */
export interface NativeServer {
  port: number;
  /** Resolves when the last request is answered. */
  stop(): Promise<void>;
  /** Ends what is left. Absent where only the end of the process does. */
  cut?(): void;
}

/**
 * Makes a WebSocket of a request and has the relay begin once it is open, with the subprotocol if there is one.
 * Returns what the runtime wants as the answer; null when the request cannot become a WebSocket any more.
 */
export type AcceptWebSocket<Accepted> = (
  request: Request,
  relay: Relay,
  protocol: string | null,
) => Accepted | null;

/** What the servers of Bun and Deno call for every request, and what is open between callers and the engine. */
export class RequestService<Accepted extends Response | undefined> {
  readonly #options: ListenOptions;
  readonly #accept: AcceptWebSocket<Accepted>;
  readonly #hosts = { good: "" };
  /** That of the last good host, with the slash behind it. */
  #goodOrigin = "";
  readonly #relays = new Set<Relay>();
  #stopping = false;

  constructor(options: ListenOptions, accept: AcceptWebSocket<Accepted>) {
    this.#options = options;
    this.#accept = accept;
  }

  serve(request: Request): Awaitable<Response | Accepted> {
    if (this.#hasGoodHost(request.url)) return this.#options.answer(request);
    const { headers } = request;
    const sent = headers.get("host");
    // Only HTTP/1.0 may leave it out; Bun gives the address of such a request without an origin.
    if (sent === null)
      return this.#options.answer(new Request(new URL(request.url, "http://localhost"), request));
    const problem = hostProblem(sent, this.#hosts);
    if (problem !== null) return refuse(problem);
    if (request.url.startsWith(`http://${sent}/`)) this.#goodOrigin = `http://${sent}/`;
    const upgrades = headers.has("upgrade") && request.method === "GET" && asksForWebSocket(headers);
    return upgrades ? this.#upgrade(request) : this.#options.answer(request);
  }

  /**
   * Whether the address alone proves that the Host header is the last good one. The runtime put header and target
   * together, and every target begins with a slash: where there is but one behind the name, it is the target's. To look
   * at the headers costs more than all else that a short answer needs. No WebSocket is offered at such a path.
   */
  #hasGoodHost(url: string): boolean {
    const known = this.#goodOrigin;
    return known !== "" && url.startsWith(known) && url.indexOf("/", known.length) < 0;
  }

  /** The answer for what a handler should never throw. */
  crashed(error: unknown): Response {
    const { status, body } = crashReply(error, this.#options.log);
    return Response.json(body, { status });
  }

  /** Closes every WebSocket. */
  stop(): void {
    this.#stopping = true;
    for (const relay of this.#relays) relay.stop();
  }

  async #upgrade(request: Request): Promise<Response | Accepted> {
    const { answer, answerUpgrade } = this.#options;
    if (!answerUpgrade) return answer(request);
    const problem = handshakeProblem(request.headers);
    // The version is what RFC 6455, 4.4 wants told.
    if (problem !== null) return refuse(problem, { "sec-websocket-version": "13" });
    const decided = await answerUpgrade(request);
    if (decided instanceof Response) return decided;
    try {
      return await this.#connect(request, decided);
    } catch (error) {
      return tunnelRefusal(error);
    }
  }

  async #connect(request: Request, tunnel: Tunnel): Promise<Response | Accepted> {
    const key = request.headers.get("sec-websocket-key") ?? "";
    const upstream = await askForUpgrade(withoutExtensions(tunnel), request.signal);
    if (!upstream.switched) return passOn(upstream);
    const { socket, head, headers } = upstream;
    if (headers.get("sec-websocket-accept") !== acceptFor(key)) {
      socket.destroy();
      throw tunnel.unreachable(new Error("its answer is no WebSocket handshake"));
    }
    let unwatch: (() => void) | undefined;
    const relay = new Relay(socket, head, () => {
      this.#relays.delete(relay);
      unwatch?.();
    });
    this.#relays.add(relay);
    unwatch = tunnel.endStreams?.(() => relay.dismiss());
    if (socket.destroyed) unwatch?.();
    if (this.#stopping) relay.stop();
    const accepted = this.#accept(request, relay, headers.get("sec-websocket-protocol") ?? tunnel.protocol);
    if (accepted !== null) return accepted;
    socket.destroy();
    return refuse("The connection cannot become a WebSocket.");
  }
}

/** Starts a runtime's server. Throws ListenError; `isUnknownName` tells its error for a name without an address. */
export function startNative(
  { host, port }: Pick<ListenOptions, "host" | "port">,
  service: { stop(): void },
  start: () => NativeServer,
  isUnknownName: (error: Error) => boolean,
): HttpServer {
  let server: NativeServer;
  try {
    server = start();
  } catch (error) {
    const unknown = error instanceof Error && isUnknownName(error);
    throw listenProblem(unknown ? Object.assign(error, { code: "ENOTFOUND" }) : error, host, port);
  }
  let stopped: Promise<void> | null = null;
  const stop = (): Promise<void> => (stopped ??= server.stop());
  return {
    host,
    port: server.port,
    stop() {
      service.stop();
      void stop();
    },
    async drained(graceMs) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, graceMs)));
      await Promise.race([stop(), late.then(() => server.cut?.())]);
      clearTimeout(timer);
    },
  };
}

function refuse(problem: string, headers: Record<string, string> = {}): Response {
  return Response.json(refusal(problem), { status: 400, headers });
}

function handshakeProblem(headers: Headers): string | null {
  const key = headers.get("sec-websocket-key") ?? "";
  if (headers.get("sec-websocket-version") !== "13") return "The WebSocket version must be 13.";
  return /^[A-Za-z0-9+/]{22}==$/.test(key) ? null : "The Sec-WebSocket-Key must be 16 bytes in base64.";
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
