import type { Awaitable } from "../../lib/awaitable.ts";
import { asksForWebSocket } from "../../lib/http/websocket.ts";
import { isTunnel } from "../../lib/proxy.ts";
import { crashReply, hostProblem, listenProblem } from "../http-server.ts";
import type { HttpServer, ListenOptions } from "../http-server.ts";
import { refuse, refusedHandshake, Relays, type AcceptWebSocket } from "./relays.ts";

/** A server of a runtime, as far as stopping it goes. */
export interface NativeServer {
  port: number;
  /** Resolves when the last request is answered. */
  stop(): Promise<void>;
  /** Ends what is left. Absent where only the end of the process does. */
  cut?(): void;
}

/** What the servers of Bun and Deno call for every request. */
export class RequestService {
  readonly #options: ListenOptions;
  readonly #accept: AcceptWebSocket;
  readonly #hosts = { good: "" };
  /** That of the last good host, with the slash behind it. */
  #goodOrigin = "";
  readonly #relays = new Relays();

  constructor(options: ListenOptions, accept: AcceptWebSocket) {
    this.#options = options;
    this.#accept = accept;
  }

  serve(request: Request): Awaitable<Response> {
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
    this.#relays.stop();
  }

  async #upgrade(request: Request): Promise<Response> {
    const { answer, answerUpgrade } = this.#options;
    if (!answerUpgrade) return answer(request);
    const refused = refusedHandshake(request.headers);
    if (refused) return refused;
    const decided = await answerUpgrade(request);
    return isTunnel(decided) ? this.#relays.connect(request, decided, this.#accept) : decided;
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
