import { engineUrl } from "./engine.ts";
import { ApiError } from "./errors.ts";
import type { EndStreams, Host } from "./host.ts";
import { endable, peekBody } from "./proxy/body.ts";
import { addressRewriter, cleanAnswerHeaders, isEventStream, requestHeaders } from "./proxy/headers.ts";

/** Where proxied requests go, and how it is told when they cannot. */
export interface ProxyTarget {
  service: "opencode" | "opencode-router";
  /** Its path, if any, comes before that of the request (I61). */
  base: URL;
  /** Path of the proxy as the caller sees it, for addresses in answers: `/w/<id>/opencode`. */
  mountPath(): string;
  /** Headers that this server adds, or puts in place of the caller's. */
  headers: Readonly<Record<string, string>>;
  unreachable(cause: unknown): ApiError;
  timedOut(): ApiError;
}

/** A request on its way to a target. */
export interface ProxyRequest {
  method: string;
  /** As sent, below the proxy; escapes and double slashes kept. */
  path: string;
  /** With its `?`, as sent. */
  search: string;
  headers: Headers;
  body: ReadableStream<Uint8Array> | null;
  /** Aborted when the caller goes away; then the target is let go of as well. */
  signal: AbortSignal;
  /** When an event stream that it is answered with has to end: its caller may no more, or the workspace is gone. */
  endStreams: EndStreams | null;
}

/** What the checked parts of an upgrade come to: whom to connect the caller's socket to, and with which headers. */
export interface Tunnel {
  /** Absolute `http` or `https` address. */
  url: string;
  headers: Readonly<Record<string, string>>;
  /** The subprotocol to answer with when the target chooses none; null when the caller offered none to us. */
  protocol: string | null;
  /** Leaves of the headers of the target's answer those that may pass. */
  cleanAnswerHeaders(headers: Headers): void;
  unreachable(cause: unknown): ApiError;
  timedOut(): ApiError;
  /** Milliseconds that the target may take to answer. */
  timeoutMs: number;
  /**
   * When it has to end, because its caller may no more or the workspace is gone; what it returns has to be called
   * when the connection is gone.
   */
  endStreams: EndStreams | null;
}

/** Told by what only a tunnel has: programs replace the platform's classes, so that an answer may be of several. */
export function isTunnel(decided: Response | Tunnel): decided is Tunnel {
  return "cleanAnswerHeaders" in decided;
}

/** Answers with these have no body, whatever else they say. */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304]);

/** The body of a request, or null when it has none. */
export async function bodyOf(request: Request): Promise<ReadableStream<Uint8Array> | null> {
  const { headers, body, method } = request;
  if (body === null || method === "GET" || method === "HEAD") return null;
  if (headers.has("transfer-encoding") || Number(headers.get("content-length")) > 0) return body;
  // Some runtimes give every request a body; only its end tells that there is none.
  return (await peekBody(body, 0)).body;
}

/**
 * Sends a request on and returns the answer as a stream, with the headers that may pass. Nothing is buffered.
 * The target may take `firstByteMs` until its answer begins; from then on there is no limit (I65).
 */
export async function forward(
  host: Pick<Host, "fetch" | "rawFetch" | "Response">,
  target: ProxyTarget,
  request: ProxyRequest,
  firstByteMs: number,
): Promise<Response> {
  const headers = { ...requestHeaders(request.headers), ...target.headers };
  // A length without its body would have the target take the next request for one.
  if (request.body === null) delete headers["content-length"];
  const { method, body, signal, endStreams } = request;
  const init = { method, headers, body, redirect: "manual", signal } as const;
  const url = engineUrl(target.base, (request.path || "/") + request.search);
  const answering = host.rawFetch
    ? host.rawFetch(url, { ...init, firstByteMs, endStreams })
    : decoded(host.fetch, url, init, { firstByteMs, endStreams });
  const answer = await answering.catch((cause: unknown) => {
    if (cause instanceof Error && cause.name === "TimeoutError") throw target.timedOut();
    const refusal = refusalIn(cause);
    if (refusal) throw refusal;
    throw signal.aborted ? callerGone() : target.unreachable(cause);
  });
  const rewrite = addressRewriter(target.base, () => target.mountPath());
  // Made for this request alone: nothing is gained by making it again.
  cleanAnswerHeaders(answer.headers, rewrite);
  if (method !== "HEAD" && !bodiless.has(answer.status)) return answer;
  await answer.body?.cancel();
  // That of what is not sent; a caller would wait for it (RFC 9110, 8.6).
  if (method !== "HEAD" && answer.status !== 304) answer.headers.delete("content-length");
  return new host.Response(null, { status: answer.status, headers: answer.headers });
}

/** The answer of a client that decodes what comes compressed and frames bodies by itself (I60). */
async function decoded(
  fetch: typeof globalThis.fetch,
  url: string,
  init: RequestInit & { headers: Readonly<Record<string, string>>; signal: AbortSignal },
  { firstByteMs, endStreams }: { firstByteMs: number; endStreams: EndStreams | null },
): Promise<Response> {
  const { "content-length": _, ...headers } = init.headers;
  const { answer, letGo } = await untilFirstByte(
    fetch,
    url,
    { ...init, headers: { ...headers, "accept-encoding": "identity" } },
    firstByteMs,
  );
  const passed = new Headers(answer.headers);
  if (passed.has("content-encoding")) {
    passed.delete("content-encoding");
    passed.delete("content-length");
  }
  const { body, status } = answer;
  const ends = endStreams && body && isEventStream(passed.get("content-type") ?? "") ? endStreams : null;
  const passedBody = ends && body ? endable(body, letGo, ends) : body;
  return new Response(bodiless.has(status) ? null : passedBody, { status, headers: passed });
}

async function untilFirstByte(
  fetch: typeof globalThis.fetch,
  url: string,
  init: RequestInit & { signal: AbortSignal },
  firstByteMs: number,
): Promise<{ answer: Response; letGo(): void }> {
  const { signal, body } = init;
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    abort();
  }, firstByteMs);
  try {
    // Not every runtime's types know `duplex`, every runtime wants it for a streamed body.
    const streamed = body === null || body === undefined ? {} : { duplex: "half" };
    const answer = await fetch(url, { ...init, ...streamed, signal: controller.signal } as RequestInit);
    return { answer, letGo: abort };
  } catch (cause) {
    throw isLate ? new DOMException("There was no answer in time", "TimeoutError") : cause;
  } finally {
    clearTimeout(timer);
  }
}

/** What this server found in the body while it was passing it on. Clients wrap it. */
function refusalIn(error: unknown): ApiError | null {
  if (error instanceof ApiError) return error;
  return error instanceof Error && error.cause instanceof ApiError ? error.cause : null;
}

/** What nobody reads: the caller went away before there was an answer. */
export function callerGone(): ApiError {
  return new ApiError("request_withdrawn", "The request was withdrawn before it was answered.");
}
