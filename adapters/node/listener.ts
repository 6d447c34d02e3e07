import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createServerAdapter, sendNodeResponse } from "@whatwg-node/server";
import type { Awaitable } from "../../lib/awaitable.ts";
import type { Log } from "../../lib/host.ts";
import { byteReader } from "../../lib/http/piece-reader.ts";
import { isEventStream } from "../../lib/proxy/headers.ts";
import { crashReply, hostProblem, refusal, type Answer } from "../http-server.ts";
import { AnswerStream } from "./answer-stream.ts";
import { breakOff } from "./break-off.ts";
import { sendBlocks } from "./block-sender.ts";
import { relay } from "./relay.ts";
import { withByteBody } from "./request-body.ts";

const absoluteTarget = /^https?:\/\/[^/?#]*/i;

/**
 * Whether a request names its host or its credentials twice. Node keeps the first and drops the other without a
 * word; whoever stands in front of this server may have looked at the last (RFC 9112, 3.2; RFC 9110, 5.3).
 */
function isAmbiguous(rawHeaders: readonly string[]): boolean {
  let hosts = 0;
  let credentials = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    if (name.length === 4 && name.toLowerCase() === "host") hosts += 1;
    else if (name.length === 13 && name.toLowerCase() === "authorization") credentials += 1;
  }
  return hosts > 1 || credentials > 1;
}

/** What is wrong with a request, or null. A target in absolute form, which HTTP/1.1 servers must accept, loses its origin. */
export function requestProblem(req: IncomingMessage, hosts: { good: string }): string | null {
  const target = (req.url ?? "/").replace(absoluteTarget, "");
  if (target.startsWith("/")) req.url = target;
  else if (target === "" || target === "*" || target.startsWith("?")) req.url = `/${target.replace("*", "")}`;
  else return "The request target must be a path.";
  if (isAmbiguous(req.rawHeaders)) return "Host and Authorization may each be sent once.";
  const host = req.headers.host ?? "";
  if (host === "") return req.httpVersion === "1.0" ? null : "The Host header is missing.";
  return hostProblem(host, hosts);
}

function sendJson(res: ServerResponse, status: number, body: unknown): void {
  if (res.headersSent) {
    breakOff(res);
    return;
  }
  const text = JSON.stringify(body);
  res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  res.end(text);
}

/** Whether the body is there as a whole. Anything unknown counts as a stream, which is never wrong. */
function isWhole(response: Response): boolean {
  const kind: unknown = Reflect.get(response, "bodyType");
  // A stream of the web must not be looked at through the adapter's clothes, which lock it.
  if (webStream(response)) return false;
  return kind === "String" || kind === "Buffer" || response.body === null;
}

/** Answers that never end by themselves. */
const endless = new WeakSet<ServerResponse>();

/** Whether an answer is an event stream, which only the end of the server ends. */
export function isEndless(res: ServerResponse): boolean {
  return endless.has(res);
}

/** The headers of an answer as `writeHead` takes them. */
function headersOf({ headers }: Response): Record<string, string | string[]> {
  const plain: Record<string, string | string[]> = {};
  for (const [name, value] of headers) plain[name] = value;
  const cookies = headers.getSetCookie();
  if (cookies.length > 0) plain["set-cookie"] = cookies;
  return plain;
}

/** Sends a stream: headers at once, and whichever side breaks, the other one is let go. */
async function sendStream(response: Response, res: ServerResponse): Promise<void> {
  const stream = nodeStream(response);
  if (isEventStream(response.headers.get("content-type") ?? "")) endless.add(res);
  res.writeHead(response.status, response.statusText, headersOf(response));
  if (res.req.method === "HEAD") {
    res.end();
    await (webStream(response) ?? response.body)?.cancel();
    return;
  }
  if (stream instanceof AnswerStream && stream.body.isFree) {
    relay(stream.body, res);
    // Nothing of it is kept here while it goes on, often for hours.
    if (!res.req.complete) await new Promise((resolve) => res.once("close", resolve));
    return;
  }
  // What is there already goes out together with the headers; a stream that is silent at first is announced at once.
  setImmediate(() => res.flushHeaders());
  if (stream) await pump(stream, res);
  else await pumpWeb(response, res);
}

/** The stream of the web that the body was made of. */
function webStream(response: Response): ReadableStream<Uint8Array> | null {
  const stream: unknown = Reflect.get(response, "bodyInit");
  return stream instanceof ReadableStream ? stream : null;
}

/** Sends a stream of the web: one of bytes by way of memory that is used again. */
async function pumpWeb(response: Response, res: ServerResponse): Promise<void> {
  const stream = webStream(response);
  const reader = stream && byteReader(stream);
  if (reader) await sendBlocks(reader, res);
  else if (response.body) await pipeline(response.body, res);
}

/** What `pipeline` does for two streams of Node, without the machinery for all others: small answers notice it. */
function pump(from: Readable, to: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    from.once("error", reject);
    to.once("close", () => {
      from.destroy();
      resolve();
    });
    from.pipe(to);
  });
}

/** The stream of Node that the body is: piped through its web clothes each chunk would cost several times as much. */
function nodeStream(response: Response): Readable | null {
  if (Reflect.get(response, "bodyType") !== "Readable") return null;
  const stream: unknown = Reflect.get(response, "bodyInit");
  return stream instanceof Readable ? stream : null;
}

/** What the adapter's Response keeps of a text and plain headers until somebody changes one of the headers. */
interface TextParts {
  bodyType?: string;
  bodyInit?: unknown;
  headers: { headersInit?: Record<string, string>; _map?: unknown };
}

/** Sends a text with its headers as they are, by far the most frequent answer, in one go; false when it is no such. */
function sendText(response: Response & TextParts, res: ServerResponse): boolean {
  const { bodyType, bodyInit: text, headers } = response;
  if (bodyType !== "String" || typeof text !== "string" || !headers.headersInit || headers._map) return false;
  // The Response has put the length among them, in bytes: where those are as many as the characters, they are ASCII.
  const { headersInit } = headers;
  res.writeHead(response.status, headersInit);
  res.end(text, headersInit["content-length"] === String(text.length) ? "latin1" : "utf8");
  return true;
}

/** Sends bytes that are all there in one piece; false when it is another body. */
function sendBytes(response: Response, res: ServerResponse): boolean {
  const bytes: unknown = Reflect.get(response, "bodyInit");
  if (!Buffer.isBuffer(bytes)) return false;
  res.writeHead(response.status, response.statusText, headersOf(response));
  res.end(bytes);
  return true;
}

/** Sends an answer: what is whole in one piece, a stream as it comes. */
export async function send(response: Response, res: ServerResponse): Promise<void> {
  if (res.destroyed || res.writableEnded) nodeStream(response)?.destroy();
  else if (sendText(response, res) || sendBytes(response, res)) return;
  else if (isWhole(response)) await sendNodeResponse(response, res, res.req, true);
  else await sendStream(response, res);
}

/** How long a client may go on sending what nobody wants any more, milliseconds. */
const drainMs = 30_000;

/**
 * Takes in the rest of a body that was answered before its end: a client that first sends everything and then
 * reads would otherwise wait forever, or lose its answer to a reset.
 */
function drain(req: IncomingMessage): void {
  if (req.complete || req.destroyed) return;
  const timer = setTimeout(() => req.socket.destroy(), drainMs);
  timer.unref();
  req.once("close", () => clearTimeout(timer));
  req.on("error", () => {});
  // Whoever read the body before would otherwise keep it from flowing.
  req.removeAllListeners("readable");
  req.removeAllListeners("data");
  req.resume();
}

/**
 * Has a connection that ends with this answer closed on our side alone while its client still sends (RFC 9112, section
 * 9.6): closed as a whole it would be reset, and the answer lost with it.
 */
function closeInTwoSteps(req: IncomingMessage): void {
  const { socket } = req;
  let isOver = false;
  socket.destroySoon = () => {
    isOver = true;
    socket.end();
  };
  req.once("close", () => {
    Reflect.deleteProperty(socket, "destroySoon");
    if (isOver) socket.destroySoon();
  });
}

/** The peer went away, or the source of a stream broke: what is left is to end the connection. */
function isPeerGone(error: unknown): boolean {
  const code = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return typeof code === "string" && /^(?:ECONNRESET|EPIPE|ERR_STREAM_|ABORT_ERR|ERR_HTTP_)/.test(code);
}

/** Answers a request of `node:http`. `next` is called for one that is somebody else's; without it that is a 404. */
export type NodeListener = (
  req: IncomingMessage,
  res: ServerResponse,
  next?: (error?: unknown) => void,
) => void;

/** Makes a listener of a handler; once `isStopping` every answer ends its connection. */
export function createListener(
  answer: (request: Request) => Awaitable<Response | null>,
  log: Log,
  isStopping: () => boolean,
): NodeListener {
  // The adapter passes a null through, which its types do not say.
  // Said outright, because finding it out loads the built-in HTTP client: five megabytes that few servers need.
  const adapter = createServerAdapter(
    (request: Request) => answer(withByteBody(request)) as ReturnType<Answer>,
    { __useCustomAbortCtrl: true },
  );
  const hosts = { good: "" };
  async function respond(req: IncomingMessage, res: ServerResponse, next?: () => void): Promise<void> {
    const problem = requestProblem(req, hosts);
    if (problem !== null) {
      res.shouldKeepAlive = false;
      sendJson(res, 400, refusal(problem));
      return;
    }
    const response: Response | null = await adapter.handleNodeRequestAndResponse(req, res);
    if (isStopping()) res.shouldKeepAlive = false;
    if (response) {
      if (!req.complete) closeInTwoSteps(req);
      await send(response, res);
      drain(req);
    } else if (next) next();
    else sendJson(res, 404, { code: "not_found", message: "There is nothing at this path." });
  }
  return (req, res, next) => {
    respond(req, res, next).catch((error: unknown) => {
      if (isPeerGone(error)) {
        breakOff(res);
        return;
      }
      const what = `${req.method ?? ""} ${(req.url ?? "").split("?", 1)[0] ?? ""}`;
      const { status, body } = crashReply(error, log, what);
      sendJson(res, status, body);
    });
  };
}

/**
 * A handler as a listener for `node:http`, Express, Fastify and their like: `createServer(toNodeListener(handler))`,
 * `app.use(toNodeListener(handler))`. With a base path, other requests go to `next`. It must come before anything that reads bodies.
 */
export function toNodeListener(
  handler: (request: Request) => Promise<Response | null>,
  options: { log?: Log } = {},
): NodeListener {
  const log = options.log ?? ((_level, body, attributes) => console.error(body, attributes));
  return createListener(handler, log, () => false);
}
