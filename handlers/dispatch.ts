import type { Awaitable } from "../lib/awaitable.ts";
import { anonymous, type Access, type Caller } from "../lib/caller.ts";
import { ApiError, faultBehind, toApiError } from "../lib/errors.ts";
import type { LogLevel } from "../lib/host.ts";
import { refusedHost } from "../lib/http/allowed-hosts.ts";
import { publicAddressOf, type Mounting } from "../lib/public-address.ts";
import type { Tunnel } from "../lib/proxy.ts";
import type { HttpReply, Reply } from "../lib/reply.ts";
import type { Context, Route, Schema, Unlocated } from "../lib/route.ts";
import { cleanPath } from "../lib/secrets.ts";
import { scopeReaches } from "../lib/scopes.ts";
import type { Services } from "../lib/services.ts";
import { insistOnAllowedOrigin, withProtocolToken } from "../lib/http/websocket.ts";
import { readJsonBody, type HeldBody } from "./body.ts";
import { corsFor, preflightHeaders, type CorsHeaders } from "./cors.ts";
import { prefersAsync, runAsync } from "./async-requests.ts";
import { noEndpoint, type Destination } from "./locator.ts";
import { RequestContext } from "./request-context.ts";
import { Responder } from "./respond.ts";

/** A read, or the arrival of a body, that took longer than this was held, milliseconds: its caller's token may have been revoked meanwhile. */
const heldMs = 100;

/** What the log says of a request whose caller went away before the answer, as web servers have it; nobody is sent it. */
const callerGoneStatus = 499;

/** Serves requests for the routes of a table: authenticates, checks, validates, runs, answers and logs. */
export class Dispatcher {
  readonly #services: Services;
  readonly #cors: CorsHeaders;
  readonly #mounting: Mounting;
  readonly #responder: Responder;
  readonly #refusedHost: (request: Request) => ApiError | null;

  constructor(services: Services, mounting: Mounting) {
    this.#services = services;
    this.#mounting = mounting;
    this.#responder = new Responder(services.host);
    const { corsOrigins } = services.host.config;
    this.#cors = corsFor(corsOrigins);
    const { allowedHosts: names, trustProxy } = mounting;
    this.#refusedHost = refusedHost({ names, corsOrigins, trustProxy });
  }

  /** The answer to a request for a destination; no promise where it is there at once. Never throws. */
  handle(request: Request, destination: Destination): Awaitable<Response> {
    const call = new RequestContext(this.#services, this.#mounting, request, destination, false);
    const common = this.#cors(request);
    if (call.method === "OPTIONS") {
      return this.#respond({ status: 204, headers: preflightHeaders(common, request), text: "" }, call, {});
    }
    const reply = this.#reply(call);
    return reply instanceof Promise
      ? reply.then((late) => this.#respond(late, call, common))
      : this.#respond(reply, call, common);
  }

  /** The same for a request that asks for a WebSocket: an answer, or whom to connect its socket to. Never throws. */
  async upgrade(request: Request, destination: Destination): Promise<Response | Tunnel> {
    const call = new RequestContext(this.#services, this.#mounting, request, destination, true);
    const reply = await this.#reply(call);
    if (!("tunnel" in reply)) return this.#respond(reply, call, this.#cors(request));
    this.#log(call, 101);
    return reply.tunnel;
  }

  /** What a call comes to, be it an error. */
  #reply(call: RequestContext): Awaitable<Reply> {
    try {
      if (call.upgrade) this.#insistOnOwnOrigin(call.request);
      const reply = this.#run(call);
      return reply instanceof Promise ? reply.catch((error) => this.#errorReply(error, call)) : reply;
    } catch (error) {
      return this.#errorReply(error, call);
    }
  }

  #insistOnOwnOrigin(request: Request): void {
    const { corsOrigins } = this.#services.host.config;
    const { host } = publicAddressOf(request, this.#mounting);
    insistOnAllowedOrigin(request.headers.get("origin"), corsOrigins, host);
  }

  #respond(reply: Reply, call: RequestContext, common: Readonly<Record<string, string>>): Response {
    const sent =
      "tunnel" in reply ? this.#errorReply(new Error("a tunnel for a plain request"), call) : reply;
    const response = this.#responder.respond(sent, common, call.method === "HEAD");
    if (this.#services.host.config.log.requests) this.#log(call, response.status);
    return response;
  }

  #errorReply(error: unknown, call: { error?: string | undefined }): HttpReply {
    const known = toApiError(error);
    call.error = known.message;
    const { cause } = known;
    if (known.status >= 500 && cause !== undefined) {
      const { log } = this.#services.host;
      const what = `A request failed with ${known.code}`;
      const fault = faultBehind(cause);
      const stack = (fault instanceof Error && fault.stack) || String(fault);
      // A full disk fails every write alike: a sentence says it all, and says it again with each.
      if (fault === null) log("ERROR", `${what}: ${cause instanceof Error ? cause.message : String(cause)}`);
      else log("ERROR", what, { "exception.stacktrace": stack });
    }
    return {
      status: known.status,
      json: known.body(),
      ...(known.headers ? { headers: { ...known.headers } } : {}),
    };
  }

  #run(call: RequestContext): Awaitable<Reply> {
    const route = pickMethod(call);
    if (route.access !== "public") call.auth = route.access;
    const caller = this.#admit(call, route);
    return caller instanceof Promise
      ? caller.then((found) => this.#runAs(found, route, call))
      : this.#runAs(caller, route, call);
  }

  /** Who calls; throws when it is somebody for whom the route is not. */
  #admit(call: RequestContext, route: Route): Awaitable<Caller> {
    if (route.access !== "public") {
      const { authenticator } = this.#services;
      return authenticator.authenticate(credentialsOf(call), route.access, route.basic);
    }
    const refusal = route.anyHost ? null : this.#refusedHost(call.request);
    return refusal ? this.#insistOnToken(call, refusal) : anonymous;
  }

  /** A public route is for anybody who asks for it under a name of this server, and for those who have a token. */
  async #insistOnToken(call: RequestContext, refusal: ApiError): Promise<Caller> {
    const { authenticator } = this.#services;
    const headers = credentialsOf(call);
    const has = async (access: Access): Promise<Caller> => authenticator.authenticate(headers, access);
    await has("client")
      .catch(() => has("host"))
      .catch(() => Promise.reject(refusal));
    return anonymous;
  }

  #runAs(caller: Caller, route: Route, call: RequestContext): Awaitable<Reply> {
    const { destination } = call;
    if (route.writes && this.#services.host.config.readOnly) {
      throw new ApiError(
        "read_only",
        "This server is read-only; start it without --read-only to change anything.",
      );
    }
    call.caller = caller;
    // A malformed escape is told before anything else about the path.
    const { params } = destination;
    if (route.workspaceFirst) findWorkspaces(call, params["id"]);
    insistOnScope(route, caller);
    if (route.guard) route.guard(unlocated(call));
    if (!route.workspaceFirst) findWorkspaces(call, params["id"]);
    if (route.locate) call.located = route.locate(call);
    if (route.query) call.query = destination.checkedQuery(route.query);
    if (!route.body) return this.#handle(route, call, null);
    return this.#readBody(route, route.body, call).then((held) => this.#handle(route, call, held));
  }

  #handle(route: Route, call: RequestContext, held: HeldBody | null): Awaitable<Reply> {
    if (held) call.body = held.value;
    if (route.asksHost && prefersAsync(call.request)) {
      return runAsync(
        call,
        (derived) => runHandler(route, derived, held),
        (error) => this.#errorReply(error, {}),
      );
    }
    const reply = runHandler(route, call, held);
    const isRead = !route.writes && route.access !== "public";
    return isRead && reply instanceof Promise ? this.#afterWait(reply, call) : reply;
  }

  /** What was held back is for those alone who may still ask. */
  async #afterWait(waiting: Promise<Reply>, { caller, started }: RequestContext): Promise<Reply> {
    const reply = await waiting;
    const isHeld = performance.now() - started > heldMs;
    if (isHeld && ("json" in reply || "jsonText" in reply)) {
      await this.#services.authenticator.insistStillValid(caller);
    }
    return reply;
  }

  async #readBody(
    { bodyLimit }: Route,
    schema: Schema,
    { request, caller }: RequestContext,
  ): Promise<HeldBody> {
    const { authenticator, bodies } = this.#services;
    const started = performance.now();
    const body = await readJsonBody(request, schema, bodyLimit, bodies.take(caller.actor.tokenHash, 0));
    if (performance.now() - started <= heldMs) return body;
    try {
      await authenticator.insistStillValid(caller);
      return body;
    } catch (error) {
      body.release();
      throw error;
    }
  }

  #log(call: RequestContext, answered: number): void {
    const { host } = this.#services;
    const { request, method, destination, error } = call;
    const durationMs = Math.round(performance.now() - call.started);
    // Some runtimes make a signal only when it is asked for: not for every small answer.
    const isGone = (answered >= 400 || durationMs > heldMs) && request.signal.aborted;
    const status = isGone ? callerGoneStatus : answered;
    const level: LogLevel = status >= 500 ? "ERROR" : status >= 400 ? "WARN" : "INFO";
    const { service, baseUrl } = call.note;
    const path = cleanPath(destination.target.path);
    const suffix = service === undefined ? "" : ` (${service})`;
    host.log(level, `${method} ${path} ${status} ${durationMs}ms${suffix}`, {
      method,
      path,
      status,
      durationMs,
      auth: call.auth,
      ...(isGone ? { aborted: true } : {}),
      ...(error === undefined ? {} : { error }),
      ...(service === undefined ? {} : { "proxy.service": service }),
      ...(baseUrl === undefined ? {} : { "proxy.base_url": baseUrl }),
    });
  }
}

/** The headers that a token may be in. */
function credentialsOf({ request, upgrade }: RequestContext): Headers {
  const { headers } = request;
  return upgrade ? withProtocolToken(headers) : headers;
}

/** Finds the workspace of the mount and that of the path, where there are such. Throws for one that does not exist. */
function findWorkspaces(call: RequestContext, id: string | undefined): void {
  const registry = call.services.workspaces;
  const { mountId } = call.destination;
  const mount = mountId === null ? null : registry.get(mountId);
  const workspace = id === undefined ? mount : registry.get(id);
  if (mount && workspace && mount !== workspace) throw noEndpoint();
  call.mount = mount;
  call.located = workspace;
}

function unlocated({ request, target, upgrade, caller, services, destination }: RequestContext): Unlocated {
  const { query, mountId } = destination;
  return { request, target, mounted: mountId !== null, upgrade, caller, query, services };
}

/** Runs a handler, and lets go of its request's body when it has answered. */
function runHandler(route: Route, context: Context, held: HeldBody | null): Awaitable<Reply> {
  // The route's own schemas made query and body: here the types of the table and of the handler meet.
  const typed = context as Context<never, never>;
  return held ? releasing(held, () => route.handle(typed)) : route.handle(typed);
}

async function releasing({ release }: HeldBody, run: () => Awaitable<Reply>): Promise<Reply> {
  try {
    return await run();
  } finally {
    release();
  }
}

function pickMethod({ method, destination }: RequestContext): Route {
  const { methods } = destination;
  const route =
    methods.get(method) ?? methods.get("ALL") ?? (method === "HEAD" ? methods.get("GET") : undefined);
  if (route) return route;
  const allowed = [...methods.keys(), ...(methods.has("GET") ? ["HEAD"] : []), "OPTIONS"];
  throw new ApiError("method_not_allowed", `This path takes ${allowed.join(", ")}.`, undefined, {
    headers: { allow: allowed.join(", ") },
  });
}

function insistOnScope(route: Route, caller: Caller): void {
  if (route.access === "public" || scopeReaches(caller.scope, route.scope)) return;
  throw new ApiError("forbidden", `This needs the scope ${route.scope}; this token is ${caller.scope}.`, {
    required: route.scope,
    scope: caller.scope,
  });
}
