import { EventEmitter } from "node:events";
import { type IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import { Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Response as FastResponse } from "@whatwg-node/server";
import type { ApiError } from "../../lib/errors.ts";
import type { Log } from "../../lib/host.ts";
import { isTunnel, type Tunnel } from "../../lib/proxy.ts";
import { asksForWebSocket } from "../../lib/http/websocket.ts";
import { requestProblem, send } from "./listener.ts";
import { clientFrame, FrameFollower, serverCloseFrame } from "../../lib/http/websocket-frames.ts";
import type { EmbeddedHandler } from "../embedded.ts";
import { tunnelRefusal } from "../http-server.ts";
import { dismissal, engineLost, serverStops, type Farewell } from "../local/relay.ts";
import { askForUpgrade, type Declined, type Upgraded } from "../local/upgrade.ts";

/** What the HTTP server lends. */
export interface UpgradeOptions {
  answer(request: Request): Promise<Response | Tunnel | null>;
  /** False: it is somebody else's. */
  serves(request: { url: string }): boolean;
  /** Sends an answer the way every other one is sent. */
  send(response: Response, res: ServerResponse): Promise<void>;
  log: Log;
}

/** Most bytes that a caller may send before its upgrade is answered. */
const mostEarlyBytes = 64 * 1024;
/** How long a connection lives on after one of its sides has ended, milliseconds. */
const farewellMs = 10_000;

/**
 * Answers an `upgrade` of `node:http`. What is somebody else's is left to the server's other listeners of upgrades, or, where
 * `next` is given, to that; where there is neither it is a 404. Of several handlers let each be the `next` of another: among
 * nothing but listeners that leave it alone an upgrade is never answered.
 */
export interface UpgradeListener {
  (req: IncomingMessage, socket: Duplex, head: Buffer, next?: () => void): void;
  /** Closes every WebSocket, and those to come. */
  close(): void;
}

/**
 * Makes a listener for upgrades: WebSockets go through a tunnel, any other protocol is declined by answering as if it
 * were not asked for.
 */
export function createUpgradeListener(options: UpgradeOptions): UpgradeListener {
  const tunnels = new Tunnels();
  const hosts = { good: "" };
  function listen(this: unknown, req: IncomingMessage, _: Duplex, head: Buffer, next?: () => void): void {
    // The same connection, with its whole type.
    const { socket } = req;
    const problem = requestProblem(req, hosts);
    const isOurs = options.serves({ url: `http://localhost${req.url ?? "/"}` });
    // Each listener is told of every upgrade: the connection must not be touched when it is another's.
    if (!isOurs && !next && isOneOfMany(this)) return;
    const isPlain = !asksForWebSocket(new Headers(singleHeaders(req))) || req.method !== "GET";
    // What is wrong with a request is told where plain ones are answered.
    if (isPlain || problem !== null) {
      replayAsPlain(req, socket, head, this);
      return;
    }
    if (!isOurs && next) {
      next();
      return;
    }
    socket.on("error", () => socket.destroy());
    serveWebSocket(req, socket, head, options, tunnels).catch((error: unknown) => {
      options.log("ERROR", `${req.method ?? ""} ${(req.url ?? "").split("?", 1)[0] ?? ""} failed`, {
        "exception.stacktrace": error instanceof Error ? error.stack : String(error),
      });
      socket.destroy();
    });
  }
  return Object.assign(listen, { close: () => tunnels.stop() });
}

/** Whether a listener was called by a server that calls others too. */
function isOneOfMany(server: unknown): boolean {
  return server instanceof EventEmitter && server.listenerCount("upgrade") > 1;
}

/**
 * A handler's WebSockets, such as the engine's terminals, in a server of `node:http` or `node:https` beside
 * `toNodeListener`: `server.on("upgrade", toUpgradeListener(handler))`. With a base path, other upgrades are left to the
 * server's other listeners.
 */
export function toUpgradeListener(
  handler: Pick<EmbeddedHandler<null>, "serves" | "upgrade">,
  options: { log?: Log } = {},
): UpgradeListener {
  const log = options.log ?? ((_level, body, attributes) => console.error(body, attributes));
  return createUpgradeListener({
    answer: (request) => handler.upgrade(request),
    serves: (request) => handler.serves(request),
    send,
    log,
  });
}

function singleHeaders({ headers }: IncomingMessage): [string, string][] {
  return Object.entries(headers).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.join(", ") : (value ?? ""),
  ]);
}

/**
 * Some clients ask for HTTP/2 along with an ordinary request and go on in HTTP/1.1 when that is not granted.
 * The parser has let go of the connection by now: it is given the request once more, without the question.
 */
function replayAsPlain(req: IncomingMessage, socket: Socket, head: Buffer, caller: unknown): void {
  const lines = [`${req.method ?? "GET"} ${req.url ?? "/"} HTTP/${req.httpVersion}`];
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] ?? "";
    if (!/^(?:upgrade|connection|http2-settings)$/i.test(name))
      lines.push(`${name}: ${req.rawHeaders[i + 1] ?? ""}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]));
  // Node puts the server that parsed the request there, which its types do not say.
  const servers = [Reflect.get(socket, "server"), caller];
  if (!servers.some((server) => takesConnection(server, socket))) socket.destroy();
}

/** Gives a server a connection as if it were a new one; false when it is none that would take it. */
function takesConnection(server: unknown, socket: Socket): boolean {
  // A server of HTTPS is none of `node:http`; its own class would load TLS.
  const isSecure = server instanceof Server && !(server instanceof HttpServer);
  const event = isSecure ? "secureConnection" : "connection";
  return server instanceof EventEmitter && server.emit(event, socket);
}

async function serveWebSocket(
  req: IncomingMessage,
  socket: Socket,
  head: Buffer,
  options: UpgradeOptions,
  tunnels: Tunnels,
): Promise<void> {
  const caller = holdCaller(socket, head);
  // Node's own way to tell them apart without the class, which would load TLS.
  const scheme = Reflect.get(socket, "encrypted") === true ? "https" : "http";
  const url = `${scheme}://${req.headers.host ?? "localhost"}${req.url ?? "/"}`;
  const request = new Request(url, { headers: singleHeaders(req), signal: caller.gone });
  const answer = (await options.answer(rawUrl(request, url))) ?? nothingHere();
  if (caller.gone.aborted) return;
  if (isTunnel(answer)) await openTunnel(req, socket, answer, caller, options, tunnels);
  else await sendAnswer(req, socket, answer, options);
}

function nothingHere(): Response {
  return Response.json({ code: "not_found", message: "There is nothing at this path." }, { status: 404 });
}

/** Rules are decided on the path as sent, which the class would normalise. */
function rawUrl(request: Request, url: string): Request {
  return Object.defineProperty(request, "url", { value: url });
}

interface HeldCaller {
  /** Aborted when the caller goes away. */
  gone: AbortSignal;
  /** Stops holding, and returns what the caller sent meanwhile. */
  release(): Buffer;
}

/** Reads on while the answer is decided: only that way is it noticed that the caller went away. */
function holdCaller(socket: Socket, head: Buffer): HeldCaller {
  const controller = new AbortController();
  const early = [head];
  let size = head.length;
  const keep = (chunk: Buffer): void => {
    early.push(chunk);
    size += chunk.length;
    if (size > mostEarlyBytes) socket.destroy();
  };
  const leave = (): void => controller.abort();
  socket.setTimeout(0);
  socket.setNoDelay(true);
  socket.on("data", keep).once("end", leave).once("close", leave);
  return {
    gone: controller.signal,
    release() {
      socket.off("data", keep).off("end", leave);
      socket.pause();
      return Buffer.concat(early);
    },
  };
}

async function sendAnswer(
  req: IncomingMessage,
  socket: Socket,
  answer: Response,
  options: UpgradeOptions,
): Promise<void> {
  const res = new ServerResponse(req);
  res.shouldKeepAlive = false;
  res.assignSocket(socket);
  res.once("finish", () => socket.destroySoon());
  await options.send(answer, res);
}

/** Connects both sockets: frames of every kind, close codes and pings pass as bytes, and either side slows the other down. */
async function openTunnel(
  req: IncomingMessage,
  socket: Socket,
  tunnel: Tunnel,
  caller: HeldCaller,
  options: UpgradeOptions,
  tunnels: Tunnels,
): Promise<void> {
  const upstream = await askForUpgrade(tunnel, caller.gone).catch((error: unknown) => error as ApiError);
  if (caller.gone.aborted) {
    letGo(upstream);
    return;
  }
  if (upstream instanceof Error) {
    await sendAnswer(req, socket, tunnelRefusal(upstream), options);
    return;
  }
  if (!upstream.switched) {
    const { status, headers, body } = upstream;
    const answer = new FastResponse(body as unknown as BodyInit, { status, headers });
    await sendAnswer(req, socket, answer, options);
    return;
  }
  socket.write(switchingHead(upstream.headers, tunnel.protocol));
  const open = new OpenTunnel(socket, caller.release(), upstream.socket, upstream.head);
  tunnels.add(open, socket);
  const unwatch = tunnel.endStreams?.(() => open.end(dismissal));
  if (unwatch && socket.destroyed) unwatch();
  else if (unwatch) socket.once("close", unwatch);
}

function letGo(upstream: Upgraded | Declined | ApiError): void {
  if (upstream instanceof Error) return;
  if (upstream.switched) upstream.socket.destroy();
  else upstream.body.destroy();
}

function switchingHead(headers: Headers, protocol: string | null): string {
  // A browser fails a connection for which none of its subprotocols was chosen.
  if (protocol !== null && !headers.has("sec-websocket-protocol"))
    headers.set("sec-websocket-protocol", protocol);
  const lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"];
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** The tunnels that are open. */
class Tunnels {
  readonly #open = new Set<OpenTunnel>();
  #isStopping = false;

  add(tunnel: OpenTunnel, caller: Socket): void {
    this.#open.add(tunnel);
    caller.once("close", () => this.#open.delete(tunnel));
    if (this.#isStopping) tunnel.end(serverStops);
  }

  stop(): void {
    this.#isStopping = true;
    for (const tunnel of this.#open) tunnel.end(serverStops);
  }
}

/** A caller and the engine, whose bytes pass both ways. */
class OpenTunnel {
  readonly #caller: Socket;
  readonly #engine: Socket;
  readonly #fromEngine = new FrameFollower("server");
  readonly #fromCaller = new FrameFollower("client");

  /** Begins with what the sides have sent already. */
  constructor(caller: Socket, callerHead: Uint8Array, engine: Socket, engineHead: Uint8Array) {
    this.#caller = caller;
    this.#engine = engine;
    this.#fromEngine.follow(engineHead);
    this.#fromCaller.follow(callerHead);
    caller.write(engineHead);
    engine.write(callerHead);
    engine.on("data", (chunk: Buffer) => this.#fromEngine.follow(chunk));
    caller.on("data", (chunk: Buffer) => this.#fromCaller.follow(chunk));
    const lost = (): void => this.#tellCaller(engineLost);
    engine.once("end", lost).once("close", lost);
    join(caller, engine);
  }

  /** Ends it from here. */
  end(farewell: Farewell): void {
    this.#engine.unpipe(this.#caller);
    this.#caller.unpipe(this.#engine);
    this.#tellCaller(farewell);
    if (this.#fromCaller.isBetweenFrames && this.#engine.writable)
      this.#engine.write(clientFrame({ kind: "close", ...farewell }));
    for (const socket of [this.#caller, this.#engine]) {
      // Nobody reads it any more, and unread it would not be noticed that it ends.
      socket.resume();
      socket.end();
      socket.setTimeout(farewellMs, () => socket.destroy());
    }
  }

  /** Says why it ends, unless the engine has said so, or broke off where nothing can be said. */
  #tellCaller({ code, reason }: Farewell): void {
    if (!this.#fromEngine.isBetweenFrames || !this.#caller.writable) return;
    const frame = serverCloseFrame(code, reason);
    this.#fromEngine.follow(frame);
    this.#caller.write(frame);
  }
}

/** Pipes both ways. When a side ends the other one is told, and after a while both are gone. */
function join(a: Socket, b: Socket): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on("error", () => from.destroy());
    from.once("end", () => to.setTimeout(farewellMs, () => to.destroy()));
    from.once("close", () => {
      to.setTimeout(farewellMs, () => to.destroy());
      to.destroySoon();
    });
    from.pipe(to);
  }
}
