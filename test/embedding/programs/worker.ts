import { createCloudflareHost, withWebSockets, type ObjectContext } from "../../../adapters/cloudflare.ts";
import { createHandler } from "../../../handlers/index.ts";

/** What the platform offers beyond the web's standards. */
interface Platform {
  WebSocketPair: new () => [WebSocket, WebSocket & { accept(): void }];
}
const { WebSocketPair } = globalThis as unknown as Platform;

/** A Durable Object of somebody's own that hosts a handler below `/agent`. */
export class Agent {
  readonly #openwork: Promise<(request: Request) => Promise<Response | null>>;
  #opened = 0;

  constructor(context: ObjectContext, env: object) {
    const host = createCloudflareHost(context.storage, env);
    this.#openwork = createHandler(host, { basePath: "/agent" }).then((handler) => withWebSockets(handler));
  }

  async fetch(request: Request): Promise<Response> {
    const answer = await (await this.#openwork)(request);
    if (answer) return answer;
    return request.headers.has("upgrade") ? this.#live() : new Response("your own page");
  }

  #live(): Response {
    // The pair is no list, but an object with the keys 0 and 1.
    const [webSocket, socket] = Object.values(new WebSocketPair()) as [
      WebSocket,
      WebSocket & { accept(): void },
    ];
    socket.accept();
    socket.addEventListener("message", ({ data }) => socket.send(`own ${String(data)} to true, 0 closed`));
    socket.send(`live ${(this.#opened += 1)}`);
    return new Response(null, { status: 101, webSocket } as ResponseInit);
  }
}

/** What the Worker is bound to. */
interface Env {
  AGENT: {
    idFromName(name: string): unknown;
    get(id: unknown): { fetch(request: Request): Promise<Response> };
  };
}

export default {
  fetch: (request: Request, { AGENT }: Env): Promise<Response> =>
    AGENT.get(AGENT.idFromName("agent")).fetch(request),
};
