import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { Response as FastResponse } from "@whatwg-node/server";
import { HttpAnswerError } from "../../lib/http/answer-head.ts";
import type { RawFetch, RawInit } from "../../lib/host.ts";
import { isEventStream } from "../../lib/proxy/headers.ts";
import { AnswerStream } from "./answer-stream.ts";
import { type Address, type Answer, Connection, StaleConnection } from "./connection.ts";
import { upload } from "./upload.ts";

/** Most connections that are kept for the requests to come, for each target. */
const mostIdle = 64;

/** The connections that no request is on, the last used one first in turn: the others are let go sooner. */
class IdleConnections {
  readonly #byTarget = new Map<string, Connection[]>();

  take(target: string): Connection | undefined {
    const list = this.#byTarget.get(target);
    let last = list?.pop();
    // One that has just ended leaves the list a little later.
    while (last?.socket.destroyed) last = list?.pop();
    return last;
  }

  add(target: string, connection: Connection): void {
    const list = this.#byTarget.get(target) ?? [];
    if (list.length >= mostIdle) connection.destroy();
    else this.#byTarget.set(target, list);
    if (!connection.socket.destroyed) list.push(connection);
  }

  remove(target: string, connection: Connection): void {
    const list = this.#byTarget.get(target);
    const at = list?.indexOf(connection) ?? -1;
    if (list && at >= 0) list.splice(at, 1);
    if (list?.length === 0) this.#byTarget.delete(target);
  }
}

/** An address taken apart without being normalised: the path goes out as it came in (I61). */
const address = /^(https?:)\/\/(\[[^\]]*\]|[^/:?#]+)(?::(\d+))?(.*)$/;

/** Where a request goes. */
interface Target extends Address {
  /** The same for all requests that may share connections. */
  key: string;
  host: string;
  path: string;
}

function targetOf(url: string): Target {
  const [, protocol = "", host = "", given, path = ""] = address.exec(url) ?? [];
  if (host === "") throw new TypeError("only absolute HTTP addresses are asked");
  const usual = protocol === "https:" ? 443 : 80;
  const port = given === undefined ? usual : Number(given);
  return {
    protocol,
    hostname: host.startsWith("[") ? host.slice(1, -1) : host,
    port,
    key: `${protocol}//${host}:${port}`,
    host: port === usual ? host : `${host}:${port}`,
    path: path.startsWith("/") ? path : `/${path}`,
  };
}

/**
 * A `fetch` that passes things on: bytes come as they are, compressed or not, redirects are not followed, silence
 * is not limited, headers go out as given, and the body of the answer is a Node stream, which the server sends
 * without touching it. It takes what the proxy gives: an absolute URL, a plain object of headers, a signal.
 */
export function createRawFetch(): RawFetch {
  const idle = new IdleConnections();
  const connect = (target: Target): Connection => {
    const { key } = target;
    return new Connection(
      target,
      (connection) => idle.add(key, connection),
      (connection) => idle.remove(key, connection),
    );
  };
  return async (input, init = {}) => {
    const target = targetOf(String(input));
    const head = headOf(target, init);
    // Only these may be sent twice, and so only these go on a connection that may just be closing.
    const isRepeatable = init.method === undefined || init.method === "GET" || init.method === "HEAD";
    const kept = isRepeatable ? idle.take(target.key) : undefined;
    try {
      return await exchange(kept ?? connect(target), head, init);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      return exchange(connect(target), head, init);
    }
  };
}

async function exchange(connection: Connection, head: string, init: RawInit): Promise<Response> {
  const { method = "GET", body, signal, firstByteMs } = init;
  const abort = (): void => connection.destroy(new DOMException("The request was aborted", "AbortError"));
  const { answer, sent } = connection.ask(method, head);
  const late = (): void =>
    connection.destroy(new DOMException("There was no answer in time", "TimeoutError"));
  const timer = firstByteMs === undefined ? undefined : setTimeout(late, firstByteMs);
  if (signal?.aborted) abort();
  else signal?.addEventListener("abort", abort, { once: true });
  if (body === null || body === undefined) sent();
  else upload(toReadable(body), connection, lengthOf(init), sent);
  try {
    return toResponse(await answer, init, abort);
  } catch (error) {
    signal?.removeEventListener("abort", abort);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function toResponse({ head, body }: Answer, { signal, endStreams }: RawInit, abort: () => void): Response {
  const { status } = head;
  // The class takes lists of values, which its type in the standard does not.
  const headers = head.headers as Record<string, string>;
  // The class takes Node's buffers and streams; its type speaks of the web's only.
  if (Buffer.isBuffer(body)) {
    signal?.removeEventListener("abort", abort);
    return new FastResponse(body.length === 0 ? null : (body as unknown as BodyInit), { status, headers });
  }
  let unwatch: (() => void) | undefined;
  body.onOver(() => {
    signal?.removeEventListener("abort", abort);
    unwatch?.();
  });
  if (endStreams && isEventStream(headers["content-type"] ?? "")) {
    unwatch = endStreams(() => body.cutShort());
    if (body.isOver) unwatch();
  }
  return new FastResponse(new AnswerStream(body) as unknown as BodyInit, { status, headers });
}

/** What ends one line or begins another may stand in none. */
const headerName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/;
const targetPath = /^[\x21-\x7e\x80-\xff]*$/;

/**
 * The head of a request, with the framing of its body: a body without framing is the beginning of another request
 * (CVE-2025-59139).
 */
function headOf({ host, path }: Target, { method = "GET", headers = {}, body }: RawInit): string {
  if (!headerName.test(method) || !targetPath.test(path))
    throw new TypeError("the request line is malformed");
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  // What the proxy gives is a plain object.
  const given = headers as Record<string, string>;
  for (const name in given) {
    const value = given[name] ?? "";
    if (!headerName.test(name) || !headerValue.test(value))
      throw new TypeError(`the header ${name} is malformed`);
    head += `${name}: ${value}\r\n`;
  }
  if (given["content-length"] === undefined) {
    if (body !== null && body !== undefined) head += "transfer-encoding: chunked\r\n";
    else if (method === "POST" || method === "PUT" || method === "PATCH") head += "content-length: 0\r\n";
  }
  return `${head}\r\n`;
}

/** The announced length of the body; null when it goes in chunks. */
function lengthOf({ headers = {} }: RawInit): number | null {
  const length = (headers as Record<string, string>)["content-length"];
  if (length === undefined) return null;
  if (!/^\d{1,15}$/.test(length)) throw new HttpAnswerError("the length of the body is none");
  return Number(length);
}

/** Bodies of requests to this server are Node streams in web clothes, which keep them here; others are what they seem. */
function toReadable(body: NonNullable<RequestInit["body"]>): Readable {
  const inner: unknown = Reflect.get(Object(body), "readable");
  if (inner instanceof Readable) return inner;
  if (body instanceof Readable) return body;
  if (body instanceof ReadableStream) return Readable.fromWeb(body as NodeReadableStream);
  throw new TypeError("only streams are passed on");
}
