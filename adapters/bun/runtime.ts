import type { Awaitable } from "../../lib/awaitable.ts";

/** The part of Bun's server-side WebSocket that is used. */
export interface BunSocket {
  readonly data: unknown;
  readonly readyState: number;
  send(data: string | Uint8Array): number;
  getBufferedAmount(): number;
  close(code: number, reason: string): void;
  /** Since 1.4. */
  pause?(): void;
  resume?(): void;
}

/** The part of Bun's server that makes WebSockets, whatever data those are said to have. */
export interface BunUpgrader {
  /** False when the request is none that could become a WebSocket. */
  upgrade(request: Request, ...options: never[]): boolean;
}

/** What `Bun.serve` takes as `websocket`. Settings are those of all WebSockets of a server. */
export interface BunWebSockets {
  /** Seconds without a word, or an answer to a ping, after which a caller is gone. */
  idleTimeout: number;
  maxPayloadLength: number;
  /** Bytes; what is sent beyond is dropped. */
  backpressureLimit: number;
  open(socket: BunSocket): void;
  message(socket: BunSocket, data: string | Uint8Array): void;
  close(socket: BunSocket, code: number, reason: string): void;
}

/** The part of Bun's own server that is used. */
export interface BunServer extends BunUpgrader {
  readonly port: number;
  stop(closeActiveConnections?: boolean): Promise<void>;
}

/** The part of Bun that is used. */
export interface BunRuntime {
  serve(options: {
    hostname: string;
    port: number;
    /** On by default, and then a second server on the same port is no error. */
    reusePort: boolean;
    /** Seconds; 0 is none. The default cuts every stream that is silent for ten. */
    idleTimeout: number;
    maxRequestBodySize: number;
    development: boolean;
    fetch(request: Request): Awaitable<Response>;
    error(error: unknown): Response;
    websocket: BunWebSockets;
  }): BunServer;
}

/** Bun itself. Throws on any other runtime. */
export function bunRuntime(): BunRuntime {
  const bun: unknown = Reflect.get(globalThis, "Bun");
  if (bun === undefined)
    throw new Error("This module runs on Bun; the package offers ./node and ./deno too.");
  return bun as BunRuntime;
}
