import type { Tunnel } from "./proxy.ts";

/**
 * What a route answers: data, not a Response, so that one place builds every Response with the class and
 * the common headers that the host wants. `json` is serialised, `jsonText` is JSON already.
 */
export type HttpReply = { status?: number; headers?: Record<string, string> } & (
  | { json: unknown }
  | { jsonText: string }
  | { text: string }
  | { bytes: Uint8Array }
  | { stream: ReadableStream<Uint8Array> | null }
  | { response: Response }
);

/** An answer, or whom to connect the caller's socket to when the request asks for a WebSocket. */
export type Reply = HttpReply | { tunnel: Tunnel };
