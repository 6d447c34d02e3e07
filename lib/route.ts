import type { GenericSchema, InferOutput } from "valibot";
import type { Access, Caller } from "./caller.ts";
import type { ErrorCode } from "./errors.ts";
import type { AnswerHeader, RequestHeader } from "./openapi/headers.ts";
import type { PublicAddress } from "./public-address.ts";
import type { Target } from "./paths.ts";
import type { Reply } from "./reply.ts";
import type { Scope } from "./scopes.ts";
import type { Services } from "./services.ts";
import type { Workspace } from "./workspaces.ts";

/** What a handler adds to the log line of its request (wire contract, section 12). */
export interface LogNote {
  /** Whom the request was passed on to. */
  service?: string;
  baseUrl?: string;
}

/** What a handler is given: the request already authenticated, located and validated. */
export interface Context<Query = unknown, Body = unknown> {
  readonly request: Request;
  /** When it came, by `performance.now()`. */
  readonly started: number;
  /** Where the request goes, below the base path and with a mount still in front. */
  readonly target: Target;
  /** How the caller sees this server; links and locations start with `publicAddress.base`. */
  readonly publicAddress: PublicAddress;
  readonly services: Services;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  /** The validated JSON body; undefined when the route declares none. */
  readonly body: Body;
  /** Who asks; on public routes a caller without rights. */
  readonly caller: Caller;
  /** The workspace that `:id` (or the mount) names; only on routes of a workspace. */
  readonly workspace: Workspace;
  /** The workspace of the `/w/:id` mount that the request came through, or null. */
  readonly mount: Workspace | null;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
  /** Set when the caller sent `Prefer: respond-async`: told the id of the approval that is being waited for. */
  readonly onApprovalAsked: ((approvalId: string) => void) | null;
  /** Whether the caller asks for a WebSocket and may be given a tunnel. */
  readonly upgrade: boolean;
  /** The handler's part of the log line. */
  readonly note: LogNote;
}

/** What is known of a request when its workspace is looked for. */
export type Place = Pick<Context, "services" | "params" | "caller" | "mount">;

/** What is known of a request before that; its query is not yet checked. */
export type Unlocated = Pick<Context, "services" | "caller" | "request" | "target" | "upgrade"> & {
  query: Readonly<Record<string, string>>;
  /** Came through a `/w/:id` mount. */
  mounted: boolean;
};

/** A query or body schema. */
export type Schema = GenericSchema<unknown, unknown>;
type Output<S> = S extends Schema ? InferOutput<S> : undefined;

/** A route as data. Routing, checking, error mapping, the API description and the access tests derive from it. */
export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "ALL";
  /** Segments of `:name` match one segment; a last segment `*` matches the rest, also none. */
  readonly path: string;
  readonly access: Access;
  /** Programs may send their token as the password of Basic authentication; browsers may not. */
  readonly basic: boolean;
  /** Least scope of a client caller; hosts have owner. */
  readonly scope: Scope;
  /** Refused on a read-only server. */
  readonly writes: boolean;
  /** Waits for the host, where the server has its writes approved; `Prefer: respond-async` may come with it. */
  readonly asksHost: boolean;
  /** Offered below `/w/:id` as well. Routes below `/workspace/:id` always are. */
  readonly mounted: boolean;
  /** Public under any name of this server, without a token; see {@link refusedHost}. */
  readonly anyHost: boolean;
  /** Checks the workspace before the scope, as the contract orders it for a few routes. */
  readonly workspaceFirst: boolean;
  /** What a call needs beyond its scope, checked before the workspace is looked up; throws. */
  readonly guard: ((call: Unlocated) => void) | undefined;
  /** Finds the workspace of a path that does not name one, before the body is read; throws. */
  readonly locate: ((place: Place) => Workspace) | undefined;
  readonly query: Schema | undefined;
  readonly body: Schema | undefined;
  /** Most bytes of a JSON body. */
  readonly bodyLimit: number;
  /** Media types of a body that is not JSON; none for JSON, and where there is no body. */
  readonly accepts: readonly string[];
  /** Media types of the answers that are a success; those of files are anything. */
  readonly produces: readonly string[];
  /** Headers of the request that it goes by, beside those of every request. */
  readonly requestHeaders: readonly RequestHeader[];
  /** Headers that its answers of success may carry for callers to go by. */
  readonly answerHeaders: readonly AnswerHeader[];
  /** The schema of a JSON answer that is a success; undefined for bytes and pages. */
  readonly answer: Schema | undefined;
  /** The statuses of success, beside the 202 of a write that waits. */
  readonly success: readonly number[];
  /** Error codes beyond those that its access, scope and body imply. */
  readonly errors: readonly ErrorCode[];
  /** One line for people. */
  readonly summary: string;
  readonly handle: (context: Context<never, never>) => Reply | Promise<Reply>;
}

/** Most bytes of an ordinary JSON body (I81). */
const defaultBodyLimit: number = 1024 * 1024;

/** What a route declares; the rest has the defaults of {@link route}. */
export interface RouteDefinition<Q extends Schema | undefined, B extends Schema | undefined> {
  method: Route["method"];
  path: string;
  access: Access;
  basic?: boolean;
  scope?: Scope;
  writes?: boolean;
  asksHost?: boolean;
  mounted?: boolean;
  anyHost?: boolean;
  workspaceFirst?: boolean;
  guard?: Route["guard"];
  locate?: Route["locate"];
  query?: Q;
  body?: B;
  bodyLimit?: number;
  accepts?: readonly string[];
  produces?: readonly string[];
  requestHeaders?: readonly RequestHeader[];
  answerHeaders?: readonly AnswerHeader[];
  answer?: Schema;
  success?: readonly number[];
  errors?: readonly ErrorCode[];
  summary: string;
  handle: (context: Context<Output<Q>, Output<B>>) => Reply | Promise<Reply>;
}

/** Makes a route: viewer scope, read-only (a client's writes ask the host), not mounted, 1 MiB of JSON unless it says otherwise. */
export function route<
  const Q extends Schema | undefined = undefined,
  const B extends Schema | undefined = undefined,
>(definition: RouteDefinition<Q, B>): Route {
  return {
    method: definition.method,
    path: definition.path,
    access: definition.access,
    basic: definition.basic ?? false,
    scope: definition.scope ?? "viewer",
    writes: definition.writes ?? false,
    asksHost: definition.asksHost ?? (definition.writes === true && definition.access === "client"),
    mounted: definition.mounted ?? false,
    anyHost: definition.anyHost ?? false,
    workspaceFirst: definition.workspaceFirst ?? false,
    guard: definition.guard,
    locate: definition.locate,
    query: definition.query,
    body: definition.body,
    bodyLimit: definition.bodyLimit ?? defaultBodyLimit,
    accepts: definition.accepts ?? [],
    produces: definition.produces ?? [definition.answer ? "application/json" : "*/*"],
    requestHeaders: definition.requestHeaders ?? [],
    answerHeaders: definition.answerHeaders ?? [],
    answer: definition.answer,
    success: definition.success ?? [200],
    errors: definition.errors ?? [],
    summary: definition.summary,
    // The dispatcher validates query and body with these very schemas before it calls.
    handle: definition.handle as Route["handle"],
  };
}
