import { clientToken } from "../support/server.ts";
import type { Terminal, TerminalEnd } from "../support/terminal.ts";
import { openSocket, type Inbox, type Socket } from "../support/websocket.ts";
import type { Subject } from "./subject.ts";

/** The client token as programs send it. */
export const bearer: Readonly<Record<string, string>> = { authorization: `Bearer ${clientToken}` };

/** Both ends of one connection. */
export interface Connection {
  socket: Socket;
  inbox: Inbox;
  engine: TerminalEnd;
}

/** How a connection is asked for; as a program with the client token, unless told otherwise. */
export interface Opening {
  path?: string;
  protocols?: readonly string[];
  headers?: Readonly<Record<string, string>>;
}

/** Connects to the terminal of one server. */
export type Connect = (options?: Opening) => Promise<Connection>;

/** Where the terminal of the engine is behind a server. */
export const address = (subject: Subject, path = "/pty/p1/connect"): string =>
  `${subject.url}/w/${subject.id}/opencode${path}`;

/** Connects; rejects when the answer is no WebSocket. */
export async function connected(
  subject: Subject,
  terminal: Terminal,
  { path, ...options }: Opening = {},
): Promise<Connection> {
  const opened = await openSocket(address(subject, path), { headers: bearer, ...options });
  if (!opened.socket) throw new Error(`answered ${opened.status} ${JSON.stringify(opened.json)}`);
  return { socket: opened.socket, inbox: opened.inbox, engine: terminal.last() };
}
