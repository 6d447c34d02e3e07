import { createRequire } from "node:module";

/** What of the package `ws` the tests use; it comes without types. */
interface Socket {
  on(event: string, listener: (...args: never[]) => void): void;
  send(data: string | Uint8Array, options?: { fin: boolean }): void;
  ping(data?: string): void;
  pause(): void;
  resume(): void;
  close(code?: number, reason?: string): void;
  terminate(): void;
  readonly protocol: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
}

interface Package {
  WebSocket: new (
    url: string,
    protocols: readonly string[],
    options: { headers?: Readonly<Record<string, string>> },
  ) => Socket;
  WebSocketServer: new (options: {
    server?: unknown;
    noServer?: boolean;
    maxPayload?: number;
    perMessageDeflate?: { threshold: number };
    handleProtocols?: (offered: ReadonlySet<string>) => string | false;
  }) => {
    handleUpgrade(req: unknown, socket: unknown, head: unknown, done: (socket: Socket) => void): void;
    on(
      event: "connection",
      listener: (socket: Socket, request: { headers: Record<string, string>; url: string }) => void,
    ): void;
    close(): void;
  };
}

const require = createRequire(new URL("../node_modules/", import.meta.url));
const ws = require("ws") as Package;
export const WebSocket: Package["WebSocket"] = ws.WebSocket;
export const WebSocketServer: Package["WebSocketServer"] = ws.WebSocketServer;
export type { Socket };

/** What a connection came to: a socket, or the HTTP answer in its place. */
export type Opened =
  | { socket: Socket; inbox: Inbox; status: 101 }
  | { socket: null; status: number; json: Record<string, unknown>; headers: Record<string, unknown> };

/** Messages as they come, to be awaited. */
export interface Inbox {
  /** Everything so far; binary messages too. */
  text(): string;
  messages: { data: Uint8Array; binary: boolean }[];
  /** Resolves when the text so far holds this. */
  until(part: string): Promise<void>;
  closed: Promise<{ code: number; reason: string }>;
  pongs: number;
}

/** Opens a WebSocket, or tells what came instead. */
export function openSocket(
  url: string,
  options: {
    protocols?: readonly string[];
    headers?: Readonly<Record<string, string>>;
    /** Aborts the attempt. */
    signal?: AbortSignal;
  } = {},
): Promise<Opened> {
  return new Promise((resolve, reject) => {
    const { protocols = [], headers = {} } = options;
    const socket = new WebSocket(url.replace(/^http/, "ws"), protocols, { headers });
    options.signal?.addEventListener("abort", () => socket.terminate());
    const inbox = collect(socket);
    socket.on("open", () => resolve({ socket, inbox, status: 101 }));
    socket.on("error", ((error: Error) => reject(error)) as never);
    socket.on("unexpected-response", ((
      _req: unknown,
      res: AsyncIterable<Buffer> & { statusCode: number; headers: Record<string, unknown> },
    ) => {
      void (async () => {
        let text = "";
        for await (const chunk of res) text += chunk.toString("utf8");
        resolve({
          socket: null,
          status: res.statusCode,
          headers: res.headers,
          json: JSON.parse(text || "{}") as Record<string, unknown>,
        });
      })();
    }) as never);
  });
}

function collect(socket: Socket): Inbox {
  const messages: Inbox["messages"] = [];
  const waiting = new Set<() => void>();
  const text = (): string => messages.map(({ data }) => Buffer.from(data).toString("utf8")).join("");
  const inbox: Inbox = {
    text,
    messages,
    pongs: 0,
    until: (part) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (text().includes(part)) resolve();
          else waiting.add(check);
        };
        check();
      }),
    closed: new Promise((resolve) => {
      socket.on("close", ((code: number, reason: Buffer) =>
        resolve({ code, reason: reason.toString() })) as never);
    }),
  };
  socket.on("message", ((data: Buffer, binary: boolean) => {
    messages.push({ data, binary });
    const due = [...waiting];
    waiting.clear();
    for (const check of due) check();
  }) as never);
  socket.on("pong", () => (inbox.pongs += 1));
  return inbox;
}
