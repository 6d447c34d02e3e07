import { anonymous, type Caller } from "../lib/caller.ts";
import { ApiError, toApiError } from "../lib/errors.ts";
import type { LogLevel } from "../lib/host.ts";
import { refusedHost } from "../lib/http/allowed-hosts.ts";
import { publicAddressOf, type Mounting } from "../lib/public-address.ts";
import { checkQueryEscapes, decodeSegment, type Target } from "../lib/paths.ts";
import type { Tunnel } from "../lib/proxy.ts";
import type { HttpReply, Reply } from "../lib/reply.ts";
import type { Context, LogNote, Route, Schema } from "../lib/route.ts";
import { cleanPath } from "../lib/secrets.ts";
import { scopeReaches } from "../lib/scopes.ts";
import type { Services } from "../lib/services.ts";
import { insistOnAllowedOrigin, withProtocolToken } from "../lib/http/websocket.ts";
import type { Workspace } from "../lib/workspaces.ts";
import { readJsonBody, validate, type HeldBody } from "./body.ts";
import { corsFor, preflightHeaders, type CorsHeaders } from "./cors.ts";
import { prefersAsync, runAsync } from "./async-requests.ts";
import { RequestContext } from "./request-context.ts";
import { Responder } from "./respond.ts";
import { RouteTable, type Match } from "./router.ts";

/** A read, or the arrival of a body, that took longer than this was held, milliseconds: its caller's token may have been revoked meanwhile. */
const heldMs = 100;

/** What the log says of a request whose caller went away before the answer, as web servers have it; nobody is sent it. */
const callerGoneStatus = 499;

/** What one request is known to be, for its log line; filled in as it is found out. */
interface Trace {
  /** By `performance.now()`. */
  readonly started: number;
  /** The class of the endpoint. */
  auth: "none" | "client" | "host";
  error?: string;
  note: LogNote;
  /** The request asks for a WebSocket, and the host can give one. */
  upgrade: boolean;
}

/** A request on its way: where it goes and under which mount. */
interface Located {
  match: Match;
  target: Target;
  mountId: string | null;
}

/** Serves requests from a table of routes: finds, authenticates, checks, validates, runs, answers and logs. */
export class Dispatcher {
  readonly #services: Services;
  readonly #table: RouteTable;
  readonly #mounted: RouteTable;
  readonly #cors: CorsHeaders;
  readonly #mounting: Mounting;
  readonly #responder: Responder;
  readonly #refusedHost: (request: Request) => ApiError | null;

  constructor(services: Services, routes: readonly Route[], mounting: Mounting) {
    this.#services = services;
    this.#mounting = mounting;
    this.#responder = new Responder(services.host);
    this.#table = new RouteTable(routes);
    this.#mounted = new RouteTable(
      routes.filter((route) => route.mounted || route.path.startsWith("/workspace/:id/")),
    );
    const { corsOrigins } = services.host.config;
    this.#cors = corsFor(corsOrigins);
    const { allowedHosts: names, trustProxy } = mounting;
    this.#refusedHost = refusedHost({ names, corsOrigins, trustProxy });
  }

  /** The answer to a request for a target below the base path, or to one that lies `elsewhere`; never throws. */
  async handle(request: Request, target: Target, elsewhere = false): Promise<Response> {
    const trace: Trace = { started: performance.now(), auth: "none", note: {}, upgrade: false };
    let common = this.#cors(request);
    // Each look at a part of a request is a call into the runtime.
    const { method } = request;
    let reply: Reply;
    if (method === "OPTIONS") {
      reply = { status: 204, headers: preflightHeaders(common, request), text: "" };
      common = {};
    } else {
      try {
        if (elsewhere) throw notBelow(this.#mounting.basePath);
        reply = await this.#run(request, this.#locate(target), trace);
      } catch (error) {
        reply = this.#errorReply(error, trace);
      }
    }
    if ("tunnel" in reply) reply = this.#errorReply(new Error("a tunnel for a plain request"), trace);
    const response = this.#responder.respond(reply, common, method === "HEAD");
    this.#log(request, target, response.status, trace);
    return response;
  }

  /** The same for a request that asks for a WebSocket: an answer, or whom to connect its socket to. Never throws. */
  async upgrade(request: Request, target: Target, elsewhere = false): Promise<Response | Tunnel> {
    const { host } = this.#services;
    const trace: Trace = { started: performance.now(), auth: "none", note: {}, upgrade: true };
    const origin = request.headers.get("origin");
    let reply: Reply;
    try {
      if (elsewhere) throw notBelow(this.#mounting.basePath);
      insistOnAllowedOrigin(origin, host.config.corsOrigins, publicAddressOf(request, this.#mounting).host);
      reply = await this.#run(request, this.#locate(target), trace);
    } catch (error) {
      reply = this.#errorReply(error, trace);
    }
    if ("tunnel" in reply) {
      this.#log(request, target, 101, trace);
      return reply.tunnel;
    }
    const response = this.#responder.respond(reply, this.#cors(request), false);
    this.#log(request, target, response.status, trace);
    return response;
  }

  #errorReply(error: unknown, trace: { error?: string }): HttpReply {
    const known = toApiError(error);
    trace.error = known.message;
    if (known.status >= 500 && known.cause !== undefined) {
      const { cause } = known;
      const stack = (cause instanceof Error && cause.stack) || String(cause);
      const attributes = { "exception.stacktrace": stack };
      this.#services.host.log("ERROR", `A request failed with ${known.code}`, attributes);
    }
    return {
      status: known.status,
      json: known.body(),
      ...(known.headers ? { headers: { ...known.headers } } : {}),
    };
  }

  #locate(target: Target): Located {
    if (target.path.startsWith("/w/")) {
      const { segments } = target;
      const mountId = decodeSegment(segments[1] ?? "");
      const inner = segments.slice(2);
      const match = mountId !== "" && this.#mounted.find({ path: `/${inner.join("/")}`, segments: inner });
      // Both ids must name the mounted workspace, whoever asks (contract, section 4).
      if (match && (inner[0] !== "workspace" || decodeSegment(inner[1] ?? "") === mountId)) {
        return { match, target, mountId };
      }
      throw notFound();
    }
    const match = this.#table.find(target);
    if (!match) throw notFound();
    return { match, target, mountId: null };
  }

  async #run(request: Request, located: Located, trace: Trace): Promise<Reply> {
    const route = pickMethod(located.match, request.method);
    if (route.access !== "public") trace.auth = route.access;
    let caller = anonymous;
    if (route.access !== "public") {
      const headers = credentialsOf(request, trace);
      caller = await this.#services.authenticator.authenticate(headers, route.access, route.basic);
    } else if (!route.anyHost) await this.#insistOnHostOrToken(request, trace);
    if (route.writes && this.#services.host.config.readOnly) {
      throw new ApiError(
        "read_only",
        "This server is read-only; start it without --read-only to change anything.",
      );
    }
    const params = decodeParams(located.match.params);
    let workspaces: Places | null = null;
    if (route.workspaceFirst) workspaces = this.#workspaces(located, params);
    insistOnScope(route, caller);
    const query = route.query || route.guard ? queryOf(located.target) : {};
    if (route.guard) {
      const { target, mountId } = located;
      const mounted = mountId !== null;
      route.guard({
        request,
        target,
        mounted,
        upgrade: trace.upgrade,
        caller,
        query,
        services: this.#services,
      });
    }
    workspaces ??= this.#workspaces(located, params);
    if (route.locate) {
      const place = { services: this.#services, params, caller, mount: workspaces.mount };
      workspaces = { ...workspaces, workspace: route.locate(place) };
    }
    const checkedQuery = route.query ? validate(route.query, query, "query", "invalid_query") : undefined;
    const body = route.body ? await this.#readBody(request, route, route.body, caller) : undefined;
    const known = {
      request,
      target: located.target,
      services: this.#services,
      params,
      query: checkedQuery,
      body: body?.value,
      caller,
      mount: workspaces.mount,
      upgrade: trace.upgrade,
      note: trace.note,
    };
    const context = new RequestContext(known, workspaces.workspace, this.#mounting);
    // The route's own schemas made query and body: here the types of the table and of the handler meet.
    const handle = (ready: Context): Reply | Promise<Reply> => route.handle(ready as Context<never, never>);
    const run = body ? releasing(body, handle) : handle;
    if (route.writes && prefersAsync(request)) {
      return runAsync(context, run, (error) => this.#errorReply(error, {}));
    }
    const running = run(context);
    const reply = running instanceof Promise ? await running : running;
    const isRead = !route.writes && route.access !== "public" && ("json" in reply || "jsonText" in reply);
    // What was held back is for those alone who may still ask.
    if (isRead && performance.now() - trace.started > heldMs) {
      await this.#services.authenticator.insistStillValid(caller);
    }
    return reply;
  }

  /** A public route is for anybody who asks for it under a name of this server, and for those who have a token. */
  async #insistOnHostOrToken(request: Request, trace: Trace): Promise<void> {
    const refusal = this.#refusedHost(request);
    if (!refusal) return;
    const { authenticator } = this.#services;
    const headers = credentialsOf(request, trace);
    await authenticator
      .authenticate(headers, "client")
      .catch(() => authenticator.authenticate(headers, "host"))
      .catch(() => Promise.reject(refusal));
  }

  async #readBody(request: Request, { bodyLimit }: Route, schema: Schema, caller: Caller): Promise<HeldBody> {
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

  #workspaces(located: Located, params: Readonly<Record<string, string>>): Places {
    const registry = this.#services.workspaces;
    const mount = located.mountId === null ? null : registry.get(located.mountId);
    const id = params["id"];
    const workspace = id === undefined ? mount : registry.get(id);
    if (mount && workspace && mount !== workspace) throw notFound();
    return { mount, workspace };
  }

  #log(request: Request, target: Target, answered: number, trace: Trace): void {
    const { host } = this.#services;
    if (!host.config.log.requests) return;
    const durationMs = Math.round(performance.now() - trace.started);
    // Some runtimes make a signal only when it is asked for: not for every small answer.
    const isGone = (answered >= 400 || durationMs > heldMs) && request.signal.aborted;
    const status = isGone ? callerGoneStatus : answered;
    const level: LogLevel = status >= 500 ? "ERROR" : status >= 400 ? "WARN" : "INFO";
    const { service, baseUrl } = trace.note;
    const path = cleanPath(target.path);
    const suffix = service === undefined ? "" : ` (${service})`;
    host.log(level, `${request.method} ${path} ${status} ${durationMs}ms${suffix}`, {
      method: request.method,
      path,
      status,
      durationMs,
      auth: trace.auth,
      ...(isGone ? { aborted: true } : {}),
      ...(trace.error === undefined ? {} : { error: trace.error }),
      ...(service === undefined ? {} : { "proxy.service": service }),
      ...(baseUrl === undefined ? {} : { "proxy.base_url": baseUrl }),
    });
  }
}

/** The headers that a token may be in. */
function credentialsOf({ headers }: Request, { upgrade }: Trace): Headers {
  return upgrade ? withProtocolToken(headers) : headers;
}

/** The workspace of the mount and that of the path, where there are such. */
interface Places {
  mount: Workspace | null;
  workspace: Workspace | null;
}

/** Runs a handler, and lets go of its request's body when it has answered. */
function releasing(
  { release }: HeldBody,
  handle: (context: Context) => Reply | Promise<Reply>,
): (context: Context) => Promise<Reply> {
  return async (context) => {
    try {
      return await handle(context);
    } finally {
      release();
    }
  };
}

function pickMethod(match: Match, method: string): Route {
  const { methods } = match;
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

function decodeParams(raw: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const params: Record<string, string> = {};
  for (const name in raw) params[name] = decodeSegment(raw[name] ?? "");
  return params;
}

/** The query as an object; the first value of a name counts. Throws `invalid_path` for a malformed escape. */
function queryOf(target: Target): Record<string, string> {
  if (target.search.length < 2) return {};
  checkQueryEscapes(target.search);
  const query: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of new URLSearchParams(target.search)) query[name] ??= value;
  return { ...query };
}

function notFound(): ApiError {
  return new ApiError(
    "not_found",
    "There is no such endpoint; GET /capabilities tells what this server offers.",
  );
}

function notBelow(basePath: string): ApiError {
  return new ApiError("not_found", `There is nothing at this path; this server answers below ${basePath}.`);
}
