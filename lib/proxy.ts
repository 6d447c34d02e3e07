import { engineUrl } from "./engine.ts";
import { ApiError } from "./errors.ts";
import type { Host } from "./host.ts";
import { endable, peekBody } from "./proxy/body.ts";
import { addressRewriter, cleanAnswerHeaders, requestHeaders } from "./proxy/headers.ts";

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
  /** Calls `end` once the caller's token is revoked, perhaps at once; what it returns ends that. Null: it never is. */
  onRevoked: ((end: () => void) => () => void) | null;
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
   * Calls `end` once the caller's token is revoked, perhaps at once; what it returns ends that, and has to be called
   * when the connection is gone. Null: it never is. Where the runtime itself passes the messages on nobody can end it.
   */
  onRevoked: ((end: () => void) => () => void) | null;
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
  if (!host.rawFetch) {
    // The built-in client decodes what comes compressed and frames bodies by itself (I60).
    headers["accept-encoding"] = "identity";
    delete headers["content-length"];
  }
  const { answer, letGo } = await untilFirstByte(
    host.rawFetch ?? host.fetch,
    target,
    request,
    headers,
    firstByteMs,
  );
  const rewrite = addressRewriter(target.base, () => target.mountPath());
  const empty = request.method === "HEAD" || bodiless.has(answer.status);
  // The only answer that never ends by itself.
  const isEventStream = /^text\/event-stream\b/i.test(answer.headers.get("content-type") ?? "");
  const onRevoked = isEventStream && !empty ? request.onRevoked : null;
  if (host.rawFetch && !empty && !onRevoked) {
    // Made for this request alone: nothing is gained by making it again.
    cleanAnswerHeaders(answer.headers, rewrite);
    return answer;
  }
  const passed = new Headers(answer.headers);
  cleanAnswerHeaders(passed, rewrite);
  if (!host.rawFetch && passed.has("content-encoding")) {
    passed.delete("content-encoding");
    passed.delete("content-length");
  }
  if (empty) await answer.body?.cancel();
  const body = onRevoked && answer.body ? endable(answer.body, letGo, onRevoked) : answer.body;
  return new host.Response(empty ? null : body, { status: answer.status, headers: passed });
}

async function untilFirstByte(
  fetch: typeof globalThis.fetch,
  target: ProxyTarget,
  request: ProxyRequest,
  headers: Readonly<Record<string, string>>,
  firstByteMs: number,
): Promise<{ answer: Response; letGo(): void }> {
  const { signal, method, body } = request;
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    abort();
  }, firstByteMs);
  try {
    const answer = await fetch(engineUrl(target.base, (request.path || "/") + request.search), {
      method,
      headers,
      body,
      redirect: "manual",
      signal: controller.signal,
      // Not every runtime's types know it, every runtime wants it for a streamed body.
      ...(body === null ? {} : { duplex: "half" }),
    } as RequestInit);
    return { answer, letGo: abort };
  } catch (cause) {
    if (late) throw target.timedOut();
    const refusal = refusalIn(cause);
    if (refusal) throw refusal;
    if (signal.aborted) throw callerGone();
    throw target.unreachable(cause);
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
