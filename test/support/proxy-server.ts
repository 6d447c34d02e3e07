import { Agent, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from "node:http";
import { afterAll, beforeAll } from "vitest";
import { NodeResponse, startHttpServer } from "../../adapters/node/http.ts";
import { createRawFetch } from "../../adapters/node/raw-fetch.ts";
import { clientToken, configOf, startMemoryServer, workspaceAt } from "./memory-host.ts";
import type { RawTarget } from "./raw-target.ts";

/** A server in this process whose engine is a target of the tests. */
export interface ProxyServer {
  port: number;
  /** What it logged of requests that it failed at. */
  crashes: string[];
  stop(): Promise<void>;
}

/** Hosts the handlers on Node's adapter, over storages in memory. `baseUrl` is that of the engine. */
export async function startProxyServer(baseUrl: string): Promise<ProxyServer> {
  const crashes: string[] = [];
  const log = (_level: string, body: string): void => void (body.endsWith(" failed") && crashes.push(body));
  const workspaces = [workspaceAt("/ws", { opencode: { baseUrl, directory: "/ws" } })];
  const engine = { start: false, timeoutMs: 30_000 };
  const { handler } = await startMemoryServer(configOf({ workspaces, engine }), {
    rawFetch: createRawFetch(),
    Response: NodeResponse,
    log,
  });
  const http = await startHttpServer({
    host: "127.0.0.1",
    port: 0,
    answer: (request) => handler.answer(request),
    answerUpgrade: (request) => handler.upgrade(request),
    log,
  });
  return {
    port: http.port,
    crashes,
    async stop() {
      http.stop();
      await handler.close();
      await http.drained(0);
    },
  };
}

/** Such a server in front of a target, both from before the first test of a file until after its last. */
export function proxyTo(target: RawTarget): Omit<ProxyServer, "stop"> {
  let server: ProxyServer;
  beforeAll(async () => {
    await target.start();
    server = await startProxyServer(`http://127.0.0.1:${target.port}`);
  });
  afterAll(async () => {
    await server?.stop();
    target.stop();
  });
  return {
    get port() {
      return server.port;
    },
    get crashes() {
      return server.crashes;
    },
  };
}

/** What a caller got. */
export interface Outcome {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  /** Whether the answer ended as its framing said it would. */
  isWhole: boolean;
}

/** What a caller sends; `body` as it is written piece by piece. */
export interface CallOptions {
  method?: string;
  body?: Iterable<Buffer> | string;
  headers?: Readonly<Record<string, string>>;
  agent?: Agent;
  token?: string;
}

/** Begins a request to the engine through a server, and resolves when its answer begins. */
export function begin(
  server: { port: number },
  path: string,
  options: CallOptions = {},
): Promise<IncomingMessage> {
  const { method = "GET", body = [], headers = {}, agent = false, token = clientToken } = options;
  return new Promise((resolve, reject) => {
    const req = httpRequest(
      {
        host: "127.0.0.1",
        port: server.port,
        path: `/opencode${path}`,
        method,
        agent,
        headers: { authorization: `Bearer ${token}`, ...headers },
      },
      resolve,
    );
    // Once there is an answer, what is wrong shows in it.
    req.on("error", reject);
    for (const piece of typeof body === "string" ? [body] : body) req.write(piece);
    req.end();
  });
}

/** Reads an answer to its end, in whatever way that comes. */
export async function outcomeOf(answer: IncomingMessage): Promise<Outcome> {
  const chunks: Buffer[] = [];
  const closed = new Promise<void>((resolve) => answer.once("close", resolve));
  answer.on("error", () => undefined).on("data", (bytes: Buffer) => chunks.push(bytes));
  // It may have been held up before.
  answer.resume();
  await closed;
  const body = Buffer.concat(chunks).toString("latin1");
  return {
    status: answer.statusCode ?? 0,
    headers: answer.headers,
    body,
    isWhole: answer.complete,
  };
}

/** A request to the engine through a server, and all of its answer. */
export async function call(server: { port: number }, path: string, options?: CallOptions): Promise<Outcome> {
  return outcomeOf(await begin(server, path, options));
}
