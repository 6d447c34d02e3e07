import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type ClientRequestArgs,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { pipeline, Readable, type Duplex } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { Response as FastResponse } from "@whatwg-node/server";
import { connectForRelay, setIdle } from "./relay.ts";

/**
 * Idle connections are dropped early: a server that closes one at the moment a request goes out on it looks like
 * a failure of that request.
 */
const keptIdleMs = 4000;
const agentOptions = {
  keepAlive: true,
  maxFreeSockets: 64,
  timeout: keptIdleMs,
  scheduling: "lifo",
} as const;

/**
 * Sets a kept connection up once instead of after each answer, which costs a call of the system. How long the
 * target means to keep it does not matter: what goes out on one that was closed is sent again. Large answers are read
 * past the client.
 */
class RelayingAgent extends HttpAgent {
  override createConnection(
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Socket {
    // What the agent connects are sockets, and the options are those of a socket.
    return connectForRelay(
      (onread) => super.createConnection({ ...options, ...(onread && { onread }) }, callback) as Socket,
    );
  }

  override keepSocketAlive(socket: Duplex): boolean {
    // What this agent connects are sockets.
    const kept = socket as Socket;
    setIdle(kept, true);
    kept.unref();
    if (kept.timeout !== keptIdleMs) kept.setTimeout(keptIdleMs);
    return true;
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    setIdle(socket, false);
    super.reuseSocket(socket, request);
  }
}

/** An address taken apart without being normalised: the path goes out as it came in (I61). */
const address = /^(https?:)\/\/(\[[^\]]*\]|[^/:?#]+)(?::(\d+))?(.*)$/;

/** What keeps the connections. The one for TLS is made when first asked for: most engines are beside the server. */
class Agents {
  readonly http: HttpAgent = new RelayingAgent(agentOptions);
  #https: HttpsAgent | null = null;

  get https(): HttpsAgent {
    return (this.#https ??= new HttpsAgent(agentOptions));
  }
}

/**
 * A `fetch` that passes things on: bytes come as they are, compressed or not, redirects are not followed, silence
 * is not limited, headers go out as given, and the body of the answer is a Node stream, which the server sends
 * without touching it. It takes what the proxy gives: an absolute URL, a plain object of headers, a signal.
 */
export function createRawFetch(): typeof fetch {
  const agents = new Agents();
  return async (input, init = {}) => {
    // Only these may be sent twice, and so only these go on a connection that may just be closing.
    const repeatable = init.method === "GET" || init.method === "HEAD";
    try {
      return await exchange(String(input), init, repeatable ? agents : null);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      return exchange(String(input), init, null);
    }
  };
}

/** A kept connection was closed by the other side before the request reached it. */
class StaleConnection extends Error {}

function exchange(url: string, init: RequestInit, agents: Agents | null): Promise<Response> {
  return new Promise((resolve, reject) => {
    const req = open(url, init, agents);
    req.once("response", (res: IncomingMessage) => resolve(toResponse(res)));
    // Nobody asked for another protocol, and nobody would read it.
    req.once("upgrade", (_res, socket) => {
      socket.destroy();
      reject(new Error("the target switched protocols unasked"));
    });
    req.on("error", (error: NodeJS.ErrnoException) => {
      reject(req.reusedSocket && error.code === "ECONNRESET" ? new StaleConnection() : error);
    });
    const { body, signal } = init;
    const abort = (): void => void req.destroy(new DOMException("The request was aborted", "AbortError"));
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
    if (body === null || body === undefined) req.end();
    else {
      pipeline(toReadable(body), req, (error) => {
        // A body that was broken off says why; what befalls the connection is told by the request itself.
        if (error && !/^E[A-Z]/.test(error.code ?? "")) reject(error);
      });
    }
  });
}

function open(url: string, init: RequestInit, agents: Agents | null): ClientRequest {
  const [, protocol = "", host = "", port, path = ""] = address.exec(url) ?? [];
  const options = {
    hostname: host.startsWith("[") ? host.slice(1, -1) : host,
    port,
    path: path.startsWith("/") ? path : `/${path}`,
    method: init.method ?? "GET",
    headers: framed(init),
  };
  return protocol === "https:"
    ? httpsRequest({ ...options, agent: agents?.https ?? false })
    : httpRequest({ ...options, agent: agents?.http ?? false });
}

/**
 * The headers, which the proxy makes as one plain object, with the framing of the body: Node's client leaves that
 * away for some methods, and a body without framing is the beginning of another request (CVE-2025-59139).
 */
function framed({ headers, body }: RequestInit): Record<string, string> {
  const given = headers as Record<string, string>;
  if (body === null || body === undefined || given["content-length"] !== undefined) return given;
  return { ...given, "transfer-encoding": "chunked" };
}

/** Bodies of requests to this server are Node streams in web clothes; others are what they seem. */
function toReadable(body: NonNullable<RequestInit["body"]>): Readable | Uint8Array[] {
  if (body instanceof Readable) return body;
  if (body instanceof ReadableStream) return Readable.fromWeb(body as NodeReadableStream);
  throw new TypeError("only streams are passed on");
}

function toResponse(res: IncomingMessage): Response {
  // The class takes Node's streams and headers; its type speaks of the web's only.
  const headers = res.headers as Record<string, string>;
  return new FastResponse(res as unknown as BodyInit, { status: res.statusCode ?? 502, headers });
}
