import { mostMessageBytes } from "../../lib/http/websocket-frames.ts";
import { type CallerSocket, Relay } from "../local/relay.ts";
import { silentCallerSeconds } from "../local/relays.ts";
import type { BunSocket, BunUpgrader, BunWebSockets } from "./runtime.ts";

/** Those of a handler, each with its relay as its data. */
export const relayed: BunWebSockets = {
  idleTimeout: silentCallerSeconds,
  maxPayloadLength: mostMessageBytes,
  // One whole message may come to what waits already.
  backpressureLimit: 2 * mostMessageBytes,
  open: (socket) => relayOf(socket)?.open(callerOf(socket)),
  message: (socket, data) => relayOf(socket)?.fromCaller(data),
  close: (socket, code, reason) => relayOf(socket)?.callerClosed(code, reason),
};

/** The server as it is: which data its WebSockets may have is told apart by its types alone. */
interface Upgrader {
  upgrade(request: Request, options: { headers: Record<string, string>; data: Relay }): boolean;
}

/** Makes a WebSocket of a request; null when it cannot become one any more. */
export function acceptWebSocket(
  server: BunUpgrader,
  request: Request,
  relay: Relay,
  protocol: string | null,
): Response | null {
  const headers: Record<string, string> = protocol === null ? {} : { "sec-websocket-protocol": protocol };
  const isOpen = (server as Upgrader).upgrade(request, { headers, data: relay });
  // The handshake has been answered: this is what frameworks want, and sent to nobody.
  return isOpen ? new Response(null) : null;
}

/** A function of somebody else's `websocket`. */
type Listener = (socket: { readonly data: unknown }, ...rest: unknown[]) => unknown;

const events = ["open", "message", "close", "drain", "ping", "pong"] as const;

/** Both: what happens to a handler's WebSockets is told to it alone, and what to others to `own`, whose settings win. */
export function beside<Own extends object>(own: Own): Own {
  const listeners: Partial<Record<(typeof events)[number], Listener>> = {};
  for (const name of events) {
    const others: unknown = Reflect.get(own, name);
    // The runtime calls it with what belongs to the name.
    const ours = Reflect.get(relayed, name) as Listener | undefined;
    if (ours === undefined && typeof others !== "function") continue;
    listeners[name] = (socket, ...rest) => {
      if (relayOf(socket)) return ours?.(socket, ...rest);
      return typeof others === "function" ? Reflect.apply(others, own, [socket, ...rest]) : undefined;
    };
  }
  // It takes whatever `own` takes, and has what `own` has.
  return { ...relayed, ...own, ...listeners };
}

function relayOf({ data }: { readonly data: unknown }): Relay | null {
  return data instanceof Relay ? data : null;
}

function callerOf(socket: BunSocket): CallerSocket {
  return {
    // Zero is also what an empty message comes to.
    send: (data) => socket.send(data) !== 0 || data.length === 0 || socket.readyState !== WebSocket.OPEN,
    buffered: () => socket.getBufferedAmount(),
    close: (code, reason) => socket.close(code, reason),
    pause: () => socket.pause?.(),
    resume: () => socket.resume?.(),
  };
}
