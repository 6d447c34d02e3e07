import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type Socket, WebSocketServer } from "./websocket.ts";

/** The engine's end of a connection. */
export interface TerminalEnd {
  socket: Socket;
  /** For bytes that no WebSocket would send. */
  wire: Duplex;
  url: string;
  headers: Record<string, string>;
  /** Bodies of the pongs that came. */
  pongs: string[];
  closed: Promise<{ code: number; reason: string }>;
}

/** An engine's terminal that says back what it hears. */
export interface Terminal {
  url: string;
  /** The connections so far. */
  ends: TerminalEnd[];
  /** The newest connection. */
  last(): TerminalEnd;
  stop(): void;
}

/**
 * Starts it. It says back what it hears, texts behind `heard `; `bye` has it close with 4001. Below `/refused` it
 * declines with 410, below `/silent` it never answers, below `/deflate`
 * it compresses for who can, below `/bogus` it answers no handshake's key; of subprotocols it knows `pty.v2`.
 */
export async function startTerminal(): Promise<Terminal> {
  const server = createServer((_req, res) => res.writeHead(404).end('{"name":"NotFoundError"}'));
  const ends: TerminalEnd[] = [];
  const common = {
    noServer: true,
    maxPayload: 1024 ** 3,
    handleProtocols: (offered: ReadonlySet<string>) => (offered.has("pty.v2") ? "pty.v2" : false),
  };
  const plain = new WebSocketServer(common);
  const deflating = new WebSocketServer({ ...common, perMessageDeflate: { threshold: 0 } });
  server.on("upgrade", (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (req.url?.includes("/silent")) return;
    if (req.url?.includes("/refused")) {
      const body = '{"name":"GoneError"}';
      socket.end(
        `HTTP/1.1 410 Gone\r\nContent-Type: application/json\r\nWWW-Authenticate: Basic realm="engine"\r\n` +
          `Content-Length: ${body.length}\r\n\r\n${body}`,
      );
      return;
    }
    if (req.url?.includes("/bogus")) {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
      socket.write("Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n");
      return;
    }
    const wss = req.url?.includes("/deflate") ? deflating : plain;
    wss.handleUpgrade(req, socket, head, (ws) => ends.push(terminalEnd(ws, socket, req)));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ends,
    last() {
      const end = ends.at(-1);
      if (!end) throw new Error("nobody connected");
      return end;
    },
    stop() {
      for (const { socket } of ends) socket.terminate();
      server.closeAllConnections();
      server.close();
    },
  };
}

function terminalEnd(socket: Socket, wire: Duplex, req: IncomingMessage): TerminalEnd {
  const pongs: string[] = [];
  socket.on("pong", ((data: Buffer) => pongs.push(data.toString())) as never);
  socket.on("error", () => undefined);
  socket.on("message", ((data: Buffer, binary: boolean) => {
    if (!binary && data.toString() === "bye") socket.close(4001, "so long");
    else socket.send(binary ? data : `heard ${data.toString()}`);
  }) as never);
  return {
    socket,
    wire,
    url: req.url ?? "",
    headers: req.headers as Record<string, string>,
    pongs,
    closed: new Promise((resolve) => {
      socket.on("close", ((code: number, reason: Buffer) =>
        resolve({ code, reason: reason.toString() })) as never);
    }),
  };
}
