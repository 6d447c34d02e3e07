import { serverLog } from "../lib/audit.ts";
import {
  engineAuthorization,
  engineBase,
  engineTimeout,
  engineUnreachable,
  engineUrl,
} from "../lib/engine.ts";
import {
  engineCall,
  insistOnRights,
  insistOnScope,
  insistOnSessions,
  permitCall,
  recordCall,
  type EngineCall,
  type PermittedCall,
} from "../lib/engine/access.ts";
import { failureForViewers } from "../lib/engine/failure.ts";
import { listsSessions, servedSessions } from "../lib/engine/sessions.ts";
import { ApiError } from "../lib/errors.ts";
import type { EndStreams } from "../lib/host.ts";
import { isJsonObject } from "../lib/json.ts";
import { bodyOf, forward, type ProxyTarget, type Tunnel } from "../lib/proxy.ts";
import { readAll } from "../lib/proxy/body.ts";
import {
  directoryHeader,
  pinBody,
  pinDirectory,
  servedDirectoriesOf,
  type ServedDirectory,
} from "../lib/proxy/directory.ts";
import { addressRewriter, cleanAnswerHeaders, requestHeaders } from "../lib/proxy/headers.ts";
import { routerTarget } from "../lib/proxy/router.ts";
import { answerFor, redact } from "../lib/redaction.ts";
import type { Target } from "../lib/paths.ts";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Place, type Route, type Unlocated } from "../lib/route.ts";
import { scopeReaches } from "../lib/scopes.ts";
import { offeredProtocols } from "../lib/http/websocket.ts";
import type { Workspace } from "../lib/workspaces.ts";

/** Answers with secrets that are cleaned for viewers may be this large, bytes. */
const mostCleaned = 16 * 1024 * 1024;

/** Where a proxied request stands below its prefix. */
export interface Below {
  /** Path of the proxy as the caller sees it; seldom wanted. */
  mountPath(): string;
  /** What follows, as sent. */
  path: string;
  search: string;
}

/** Splits the target of a proxied request behind the segment that names the proxy. */
export function belowPrefix(context: Pick<Context, "target" | "mount" | "publicAddress">): Below {
  const { path, search } = context.target;
  const prefix = prefixOf(context.target, context.mount !== null);
  return { mountPath: () => context.publicAddress.base + prefix, path: path.slice(prefix.length), search };
}

function prefixOf({ segments }: Target, mounted: boolean): string {
  return `/${segments.slice(0, mounted ? 3 : 1).join("/")}`;
}

/** What viewers may not do at all is said before any workspace is looked for (wire contract, 10.14, 1). */
function refuseViewers({ request, target, mounted, upgrade, caller, services }: Unlocated): void {
  if (scopeReaches(caller.scope, "collaborator")) return;
  const path = target.path.slice(prefixOf(target, mounted).length);
  const call = engineCall(request.method, path, upgrade);
  // Attempts to answer permissions are recorded, where that is known.
  if (call.class !== "permission") insistOnScope(call, caller.scope, services.host.config.readOnly);
}

/** The engine proxy (wire contract, 10.14). */
async function proxyEngine(context: Context): Promise<Reply> {
  context.note.service = "opencode";
  const { request } = context;
  const sent = belowPrefix(context);
  const call = engineCall(request.method, sent.path, context.upgrade);
  await insistOnRights(context, call, sent.search);
  const { target, below } = engineTarget(context, sent);
  if (context.upgrade) return { tunnel: await engineTunnel(context, call, target, below) };
  const pinned = await pinBody(call, await bodyOf(request), servedDirectories(context));
  await insistOnSessions(context, call, pinned.sessions);
  const permitted = await permitCall(context, call, pinned.body);
  const isViewer = !scopeReaches(context.caller.scope, "collaborator");
  const headers = {
    ...target.headers,
    ...(isViewer ? { "accept-encoding": "identity" } : {}),
    ...(pinned.length === undefined ? {} : { "content-length": String(pinned.length) }),
  };
  const response = await send(context, permitted, { ...target, headers }, below);
  // Errors of the engine quote the file that it could not read.
  const cleaned = isViewer && (call.secret || listsSessions(call.path) || response.status >= 400);
  return cleaned && response.body ? cleanedReply(context, call, response, target) : { response };
}

/** When what a call holds open has to end: when its caller's token is revoked, or the workspace deleted. */
function endOf({ services, caller }: Context, workspace: Workspace | null): EndStreams | null {
  const onRevoked = services.authenticator.revocationOf(caller);
  if (workspace === null) return onRevoked;
  return (end) => {
    const unwatchToken = onRevoked?.(end);
    const unwatchWorkspace = workspace.onDeleted(end);
    return () => {
      unwatchToken?.();
      unwatchWorkspace();
    };
  };
}

/** Sends a permitted call on and records how it ended. */
async function send(
  context: Context,
  permitted: PermittedCall,
  target: ProxyTarget,
  below: Below,
): Promise<Response> {
  const { request, services, signal } = context;
  const { call, approval, body } = permitted;
  const sent = {
    method: request.method,
    path: below.path,
    search: below.search,
    headers: request.headers,
    body,
    signal,
    endStreams: endOf(context, context.workspace),
  };
  const startedAt = Date.now();
  const sending = forward(services.host, target, sent, services.host.config.engine.timeoutMs);
  const response = await sending.catch(async (error: unknown) => {
    const gone = error instanceof ApiError && error.code === "request_withdrawn";
    await recordCall(context, call, { outcome: gone ? "withdrawn" : "failed", approval });
    throw error;
  });
  const { status } = response;
  await recordCall(context, call, { status, approval, ...(status >= 400 ? { outcome: "failed" } : {}) });
  if (status < 400 && isReload(call)) context.workspace.events.reloaded(startedAt);
  return response;
}

/** The workspace that a call is for: the mounted one, else the active one. */
function engineWorkspace({ mount, services: { workspaces } }: Place): Workspace {
  if (mount) return mount;
  if (workspaces.active) return workspaces.get(workspaces.active.id);
  throw new ApiError("opencode_unconfigured", "No workspace is configured, and so no engine.");
}

/** Where a call goes, and its path and query there. */
function engineTarget(context: Context, below: Below): { target: ProxyTarget; below: Below } {
  const { workspace, request } = context;
  const config = workspace.config.opencode;
  const base = engineBase(config);
  context.note.baseUrl = base.origin + base.pathname.replace(/\/$/, "");
  const choice = {
    header: request.headers.get("x-opencode-directory"),
    workspaceHeader: request.headers.get("x-opencode-workspace"),
    search: below.search,
  };
  const own = config.directory?.trim() || null;
  const { directory, search } = pinDirectory(choice, own, servedDirectories(context));
  const authorization = engineAuthorization(config);
  const target: ProxyTarget = {
    service: "opencode",
    base,
    mountPath: () => below.mountPath(),
    headers: {
      ...(directory === null ? {} : { "x-opencode-directory": directoryHeader(directory) }),
      ...(authorization === null ? {} : { authorization }),
    },
    unreachable: (cause) => engineUnreachable(base, cause),
    timedOut: () => engineTimeout(base),
  };
  return { target, below: { ...below, search } };
}

/** The directories that a call may name: those of the workspaces that the caller may use. */
function servedDirectories({ services }: Context): ServedDirectory[] {
  return servedDirectoriesOf(
    services.workspaces.list.filter((workspace) => services.workspaces.has(workspace)),
  );
}

async function engineTunnel(
  context: Context,
  call: EngineCall,
  target: ProxyTarget,
  below: Below,
): Promise<Tunnel> {
  const { approval } = await permitCall(context, call, null);
  await recordCall(context, call, { approval });
  const { headers } = context.request;
  const { forwarded, own } = offeredProtocols(headers.get("sec-websocket-protocol"));
  const { "sec-websocket-protocol": _, ...passed } = requestHeaders(headers);
  const rewrite = addressRewriter(target.base, () => target.mountPath());
  return {
    url: engineUrl(target.base, (below.path || "/") + below.search),
    headers: {
      ...passed,
      ...(forwarded.length === 0 ? {} : { "sec-websocket-protocol": forwarded.join(", ") }),
      ...target.headers,
      connection: "Upgrade",
      upgrade: "websocket",
    },
    protocol: own,
    cleanAnswerHeaders: (given) => cleanAnswerHeaders(given, rewrite),
    unreachable: (cause) => target.unreachable(cause),
    timedOut: () => target.timedOut(),
    timeoutMs: context.services.host.config.engine.timeoutMs,
    endStreams: endOf(context, context.workspace),
  };
}

/** What viewers get of an answer that may hold keys (I04) or sessions of elsewhere (I06). Anything but JSON has none. */
async function cleanedReply(
  context: Context,
  call: EngineCall,
  response: Response,
  target: ProxyTarget,
): Promise<Reply> {
  const { status, body } = response;
  if (
    body === null ||
    !/^application\/(?:[\w.-]+\+)?json\b/i.test(response.headers.get("content-type") ?? "")
  )
    return { response };
  const bytes = await readAll(body, mostCleaned).catch((cause: unknown) => {
    throw target.unreachable(cause);
  });
  if (bytes === null) {
    throw new ApiError("forbidden", "This answer is too large to be cleaned of secrets for a viewer.", {
      required: "collaborator",
      scope: "viewer",
    });
  }
  const value = failureForViewers(parsedAnswer(bytes, status));
  if (status < 400 && !call.secret) return { status, json: await servedSessions(context, value) };
  // A list stays one: it has no place for the mark that something is left out.
  const json = isJsonObject(value) ? answerFor("viewer", value) : redact(value).value;
  return { status, json };
}

/** What cannot be cleaned is not shown. */
function parsedAnswer(bytes: Uint8Array, status: number): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // The parser's own words quote what it read: they must not come into the log.
    const message = `The engine answered ${status} with what is not the JSON that it is said to be.`;
    throw new ApiError("opencode_request_failed", message, { status });
  }
}

/** A reload by way of the proxy is a reload. */
function isReload({ method, path }: EngineCall): boolean {
  return method === "POST" && /^\/(?:instance|global)\/dispose$/i.test(path);
}

/** The router proxy (wire contract, 10.16). */
async function proxyRouter(context: Context): Promise<Reply> {
  const { request, services } = context;
  context.note.service = "opencode-router";
  const below = belowPrefix(context);
  const target = routerTarget(services.host.config.routerPort, below);
  context.note.baseUrl = target.base.origin;
  const { method, headers } = request;
  const acts = method !== "GET" && method !== "HEAD";
  if (acts && services.host.config.readOnly) {
    throw new ApiError("read_only", "This server is read-only; through it the router can only be looked at.");
  }
  const sent = {
    method,
    headers,
    path: below.path,
    search: below.search,
    body: await bodyOf(request),
    signal: context.signal,
    endStreams: endOf(context, context.mount),
  };
  const sending = forward(services.host, target, sent, services.host.config.engine.timeoutMs);
  const status = await sending.then((response) => response.status).catch(() => 0);
  if (acts) await recordRouterCall(context, `${method} ${below.path || "/"}`, status);
  return { response: await sending };
}

/** Recorded for the mounted workspace, else for the server. */
async function recordRouterCall(context: Context, target: string, status: number): Promise<void> {
  const record = {
    actor: context.caller.actor,
    action: "opencode-router.proxy",
    target,
    summary:
      status === 0 ? `Call the router (${target})` : `Call the router (${target}): it answered ${status}`,
    ...(status === 0 || status >= 400 ? { outcome: "failed" as const } : {}),
  };
  await context.services.audit.record(context.mount?.id ?? serverLog, [record]);
}

/** Paths of the router that clients may read, and the least scope for it. */
const routerReads = [
  ["", "viewer"],
  ["/health", "viewer"],
  ["/bindings", "collaborator"],
  ["/identities/telegram", "collaborator"],
  ["/identities/slack", "collaborator"],
] as const;

const engineErrors = [
  "opencode_unconfigured",
  "opencode_url_invalid",
  "opencode_unreachable",
  "opencode_timeout",
  "opencode_request_failed",
  "forbidden",
  "read_only",
  "invalid_json",
  "body_too_large",
  // What the host's approval can end with.
  "write_denied",
  "request_withdrawn",
  "too_many_requests",
  "shutting_down",
] as const;
const routerErrors = ["opencodeRouter_unconfigured", "opencodeRouter_unreachable"] as const;

/** Both proxies. What a call of the engine needs is decided by the table of its routes, not here. */
export const routes: readonly Route[] = [
  ...["/opencode", "/opencode/*"].map((path) =>
    route({
      method: "ALL",
      path,
      access: "client",
      basic: true,
      mounted: true,
      guard: refuseViewers,
      locate: engineWorkspace,
      errors: engineErrors,
      summary: "The engine, with its own API, at the caller's rights.",
      handle: proxyEngine,
    }),
  ),
  ...routerReads.flatMap(([path, scope]) =>
    // One slash at the end is ignored.
    [path, `${path}/`].map((spelling) =>
      route({
        method: "GET",
        path: `/opencode-router${spelling}`,
        access: "client",
        scope,
        mounted: true,
        errors: routerErrors,
        summary: "What clients may see of the OpenCode Router.",
        handle: proxyRouter,
      }),
    ),
  ),
  ...[...routerReads.flatMap(([path]) => [path, `${path}/`]), "/*"].map((path) =>
    route({
      method: "ALL",
      path: `/opencode-router${path}`,
      access: "host",
      mounted: true,
      errors: [...routerErrors, "read_only"],
      summary: "The OpenCode Router, for the host.",
      handle: proxyRouter,
    }),
  ),
];
