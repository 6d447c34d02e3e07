import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Response as FastResponse } from "@whatwg-node/server";
import { listenProblem, refusal, type HttpServer, type ListenOptions } from "../http-server.ts";
import { createListener, isEndless, send } from "./listener.ts";
import { createUpgradeListener } from "./websocket.ts";

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
  readonly #answers = new Set<ServerResponse>();
  #stopping = false;

  get stopping(): boolean {
    return this.#stopping;
  }

  watch(server: Server): void {
    server.on("connection", (socket: Socket) => {
      // One that asked for another protocol in vain begins anew.
      if (this.#busy.has(socket)) return;
      this.#busy.set(socket, 0);
      socket.once("close", () => this.#busy.delete(socket));
    });
    server.on("request", ({ socket }: IncomingMessage, res: ServerResponse) => {
      this.#busy.set(socket, (this.#busy.get(socket) ?? 0) + 1);
      this.#answers.add(res);
      res.once("close", () => {
        this.#answers.delete(res);
        const left = (this.#busy.get(socket) ?? 1) - 1;
        if (this.#busy.has(socket)) this.#busy.set(socket, left);
        if (this.#stopping && left === 0) socket.destroySoon();
      });
    });
  }

  /**
   * A connection without a request is closed although it may be about to send one: it has been promised nothing.
   * Event streams never end by themselves, so they end now.
   */
  stop(): void {
    this.#stopping = true;
    for (const res of this.#answers) {
      if (isEndless(res)) res.end();
    }
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
  const upgrades =
    answerUpgrade && createUpgradeListener({ answer: answerUpgrade, serves: () => true, send, log });
  if (upgrades) server.on("upgrade", upgrades);
  server.on("clientError", onClientError);
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  const address = await listen(server, options.host, options.port);
  return {
    host: options.host,
    port: address.port,
    stop() {
      server.close();
      upgrades?.close();
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
