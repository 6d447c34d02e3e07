import { ApiError, toApiError } from "../lib/errors.ts";
import type { Awaitable } from "../lib/awaitable.ts";
import type { Log } from "../lib/host.ts";
import type { Tunnel } from "../lib/proxy.ts";

/** Answers one request, at once where it can; never throws for what a client did. */
export type Answer = (request: Request) => Awaitable<Response>;

/** Answers one request for a WebSocket: with an answer, or with whom to connect its socket to. */
export type AnswerUpgrade = (request: Request) => Promise<Response | Tunnel>;

/** What a runtime's server is started with. */
export interface ListenOptions {
  host: string;
  /** 0 picks a free one. */
  port: number;
  answer: Answer;
  /** Absent: requests for a WebSocket are answered like any other. */
  answerUpgrade?: AnswerUpgrade;
  log: Log;
}

/** A listening HTTP server. */
export interface HttpServer {
  host: string;
  /** The port really bound. */
  port: number;
  /** Takes no more connections and drops those without a running request; each other one goes after its answer. */
  stop(): void;
  /** Resolves when the last connection is gone; after `graceMs` those that remain are cut. */
  drained(graceMs: number): Promise<void>;
}

/** Starts to listen. Rejects with ListenError when the address cannot be had. */
export type Listen = (options: ListenOptions) => Promise<HttpServer>;

/** The server could not take its address; the message says what to change. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** The sentence for a failed listen, from the system's error code that every runtime puts on its error. */
export function listenProblem(error: unknown, host: string, port: number): ListenError {
  const reasons: Record<string, string> = {
    EADDRINUSE: `Port ${port} on ${host} is in use; choose another with --port, or 0 for a free one.`,
    EACCES: `Port ${port} on ${host} may not be used by this user; choose one above 1023 with --port.`,
    EADDRNOTAVAIL: `${host} is no address of this machine; choose one with --host.`,
    ENOTFOUND: `${host} is no address or known host name; choose one with --host.`,
  };
  const code = error instanceof Error ? String(Reflect.get(error, "code")) : "";
  const message = error instanceof Error ? error.message : String(error);
  const reason = reasons[code] ?? `Cannot listen on ${host} port ${port}: ${message}.`;
  return new ListenError(reason, { cause: error });
}

/**
 * What is wrong with a Host header, or null. Runtimes put header and target together to a URL: neither may hold
 * what would move the boundary. `memo` remembers the last good one, since a client sends the same again and again.
 */
export function hostProblem(host: string, memo: { good: string }): string | null {
  if (host === memo.good) return null;
  if (!/^[^\s/?#@\\]+$/.test(host) || !URL.canParse(`http://${host}`)) return "The Host header is no host.";
  memo.good = host;
  return null;
}

/** The body for a client that did not speak HTTP well enough for a handler to see its request. */
export function refusal(message: string): { code: string; message: string } {
  return { code: "invalid_request", message };
}

/** The answer of a tunnel that could not be opened. Throws what is no ApiError. */
export function tunnelRefusal(error: unknown): Response {
  if (!(error instanceof ApiError)) throw error;
  const { status, headers } = error;
  return Response.json(error.body(), { status, headers: { ...headers } });
}

/** Logs what a handler should never throw, and makes the answer that keeps the details to the log. */
export function crashReply(error: unknown, log: Log, what = "A request"): { status: 500; body: unknown } {
  const stack = error instanceof Error ? error.stack : String(error);
  log("ERROR", `${what} failed`, { "exception.stacktrace": stack });
  return { status: 500, body: toApiError(error).body() };
}
