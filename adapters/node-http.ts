import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createServerAdapter, Response as FastResponse, sendNodeResponse } from "@whatwg-node/server";
import type { Log } from "../lib/host.ts";
import {
  crashReply,
  hostProblem,
  listenProblem,
  refusal,
  type Answer,
  type HttpServer,
  type ListenOptions,
} from "./http-server.ts";
import { serveUpgrades } from "./node-websocket.ts";

const absoluteTarget = /^https?:\/\/[^/?#]*/i;

/** A target in absolute form, which HTTP/1.1 servers must accept, loses its origin. */
function requestProblem(req: IncomingMessage, hosts: { good: string }): string | null {
  const target = (req.url ?? "/").replace(absoluteTarget, "");
  if (target.startsWith("/")) req.url = target;
  else if (target === "" || target === "*" || target.startsWith("?")) req.url = `/${target.replace("*", "")}`;
  else return "The request target must be a path.";
  const host = req.headers.host ?? "";
  if (host === "") return req.httpVersion === "1.0" ? null : "The Host header is missing.";
  return hostProblem(host, hosts);
}

function sendJson(res: ServerResponse, status: number, body: unknown): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const text = JSON.stringify(body);
  res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  res.end(text);
}

/** Whether the body is there as a whole. Anything unknown counts as a stream, which is never wrong. */
function isWhole(response: Response): boolean {
  const kind: unknown = Reflect.get(response, "bodyType");
  return kind === "String" || kind === "Buffer" || response.body === null;
}

/** Sends a stream: headers at once, and whichever side breaks, the other one is let go. */
async function sendStream(
  response: Response,
  body: ReadableStream<Uint8Array>,
  res: ServerResponse,
): Promise<void> {
  for (const [name, value] of response.headers) {
    if (name !== "set-cookie") res.setHeader(name, value);
  }
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) res.setHeader("set-cookie", cookies);
  res.statusCode = response.status;
  if (response.statusText) res.statusMessage = response.statusText;
  res.flushHeaders();
  if (res.req.method === "HEAD") {
    res.end();
    await body.cancel();
    return;
  }
  await pipeline(body, res);
}

async function send(response: Response, res: ServerResponse): Promise<void> {
  if (res.destroyed || res.writableEnded) return;
  const { body } = isWhole(response) ? { body: null } : response;
  if (body === null) await sendNodeResponse(response, res, res.req, true);
  else await sendStream(response, body, res);
}

/** The peer went away, or the source of a stream broke: what is left is to end the connection. */
function isPeerGone(error: unknown): boolean {
  const code = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return typeof code === "string" && /^(?:ECONNRESET|EPIPE|ERR_STREAM_|ABORT_ERR|ERR_HTTP_)/.test(code);
}

function createListener(answer: Answer, log: Log, isStopping: () => boolean) {
  const adapter = createServerAdapter(answer);
  const hosts = { good: "" };
  async function respond(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const problem = requestProblem(req, hosts);
    if (problem !== null) {
      res.shouldKeepAlive = false;
      sendJson(res, 400, refusal(problem));
      return;
    }
    const response = await adapter.handleNodeRequestAndResponse(req, res);
    if (isStopping()) res.shouldKeepAlive = false;
    await send(response, res);
  }
  return (req: IncomingMessage, res: ServerResponse): void => {
    respond(req, res).catch((error: unknown) => {
      if (isPeerGone(error)) {
        res.destroy();
        return;
      }
      const { status, body } = crashReply(error, log, `${req.method ?? ""} ${(req.url ?? "").split("?", 1)[0] ?? ""}`);
      sendJson(res, status, body);
    });
  };
}

/** Bytes that are no HTTP request, or one that took too long to arrive. */
function onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? ["431 Request Header Fields Too Large", "The headers are larger than 16 KiB."]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", "The request did not arrive in time."]
        : ["400 Bad Request", "This is not an HTTP/1.1 request."];
  const body = JSON.stringify(refusal(message));
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Counts the running requests of every connection, so that a stop knows which ones are idle. */
class Connections {
  readonly #busy = new Map<Socket, number>();
  #stopping = false;

  get stopping(): boolean {
    return this.#stopping;
  }

  watch(server: Server): void {
    server.on("connection", (socket: Socket) => {
      this.#busy.set(socket, 0);
      socket.once("close", () => this.#busy.delete(socket));
    });
    server.on("request", ({ socket }: IncomingMessage, res: ServerResponse) => {
      this.#busy.set(socket, (this.#busy.get(socket) ?? 0) + 1);
      res.once("close", () => {
        const left = (this.#busy.get(socket) ?? 1) - 1;
        if (this.#busy.has(socket)) this.#busy.set(socket, left);
        if (this.#stopping && left === 0) socket.destroySoon();
      });
    });
  }

  /** A connection without a request is closed although it may be about to send one: it has been promised nothing. */
  stop(): void {
    this.#stopping = true;
    for (const [socket, requests] of this.#busy) if (requests === 0) socket.destroySoon();
  }
}

function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenProblem(error, host, port)));
    server.listen(port, host, () => {
      server.removeAllListeners("error");
      server.on("error", () => {});
      resolve(server.address() as AddressInfo);
    });
  });
}

/** Starts to listen. Rejects with ListenError when the address cannot be had. */
export async function startHttpServer(options: ListenOptions): Promise<HttpServer> {
  const connections = new Connections();
  const server = createServer({
    headersTimeout: 60_000,
    // Only a bound for bodies that trickle in: a large upload over a slow line takes long, and answers have no limit.
    requestTimeout: 3_600_000,
    keepAliveTimeout: 75_000,
    // Finds peers that vanished without a word, so that their streams end.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    noDelay: true,
    // Checked with everything else, where the answer is JSON.
    requireHostHeader: false,
  });
  connections.watch(server);
  server.on(
    "request",
    createListener(options.answer, options.log, () => connections.stopping),
  );
  const { answerUpgrade, log } = options;
  if (answerUpgrade) serveUpgrades(server, { answer: answerUpgrade, send, log });
  server.on("clientError", onClientError);
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  const address = await listen(server, options.host, options.port);
  return {
    host: options.host,
    port: address.port,
    stop() {
      server.close();
      connections.stop();
    },
    async drained(graceMs) {
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** The Response class that this server sends several times faster than the built-in one. */
export const NodeResponse: typeof Response = FastResponse;
