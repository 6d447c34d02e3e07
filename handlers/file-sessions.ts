import * as v from "valibot";
import { notFound, viewOf, type FileSession } from "../lib/files/sessions.ts";
import { meant } from "../lib/json.ts";
import { route, type Context, type Place, type Route } from "../lib/route.ts";
import { ApiError } from "../lib/errors.ts";
import { scopeReaches } from "../lib/scopes.ts";
import type { Workspace } from "../lib/workspaces.ts";

/** Where everything about one file session is. */
export const sessionPath = "/files/sessions/:sid";

const openBody = v.object(
  { ttlSeconds: meant({ type: "number" }), write: meant({ type: "boolean" }) },
  "an object {ttlSeconds?, write?} is expected",
);

const answer = v.object({
  session: v.object({
    id: v.string(),
    workspaceId: v.string(),
    createdAt: v.number(),
    expiresAt: v.number(),
    ttlMs: v.number(),
    canWrite: v.boolean(),
  }),
});

/** The caller's session that the path names: 404, 403, and 404 when it is not one of the mounted workspace (I70). */
function sessionOf({ services, params, caller, mount }: Place): FileSession {
  const session = services.fileSessions.find(params["sid"] ?? "", caller);
  if (mount && mount.id !== session.workspaceId) throw notFound();
  return session;
}

/** The workspace of the session that the path names. */
export function sessionWorkspace(place: Place): Workspace {
  return place.services.workspaces.get(sessionOf(place).workspaceId);
}

/** The same, insisting on a session that may write. */
export function writableSessionWorkspace(place: Place): Workspace {
  const session = sessionOf(place);
  const workspace = place.services.workspaces.get(session.workspaceId);
  if (!session.canWrite) {
    throw new ApiError("forbidden", "This file session is read-only; open one that may write.");
  }
  return workspace;
}

async function isTokenAlive({ services }: Context, tokenHash: string): Promise<boolean> {
  const { authenticator } = services;
  const actor = { type: "remote", tokenHash, scope: "viewer" } as const;
  return authenticator.stillValid({ actor, scope: "viewer", host: false, label: undefined });
}

/** Opening, renewing and closing file sessions (wire contract, 10.13). */
export const routes: readonly Route[] = [
  route({
    method: "POST",
    path: "/workspace/:id/files/sessions",
    access: "client",
    workspaceFirst: true,
    body: openBody,
    answer,
    errors: ["too_many_requests"],
    summary:
      "Opens a file session for this token: 15 minutes unless ttlSeconds says otherwise; write: false for one that only reads.",
    async handle(context) {
      const { workspace, services, caller, body } = context;
      const canWrite =
        body.write !== false && !services.host.config.readOnly && scopeReaches(caller.scope, "collaborator");
      const session = await services.fileSessions.open(
        workspace.id,
        caller,
        { ttlSeconds: body.ttlSeconds, canWrite },
        (tokenHash) => isTokenAlive(context, tokenHash),
      );
      // Whoever opens a session will ask for the catalog next, and be told of what changes from now on.
      await workspace.catalog.expectReader();
      return { json: { session: viewOf(session) } };
    },
  }),
  route({
    method: "POST",
    path: `${sessionPath}/renew`,
    access: "client",
    mounted: true,
    body: openBody,
    answer,
    errors: ["file_session_not_found", "forbidden"],
    summary: "Lets a file session live on, counted from now.",
    handle(context) {
      const session = sessionOf(context);
      context.services.workspaces.get(session.workspaceId);
      context.services.fileSessions.renew(session, context.body.ttlSeconds);
      return { json: { session: viewOf(session) } };
    },
  }),
  route({
    method: "DELETE",
    path: sessionPath,
    access: "client",
    mounted: true,
    locate: sessionWorkspace,
    answer: v.object({ ok: v.literal(true) }),
    errors: ["file_session_not_found", "forbidden"],
    summary: "Ends a file session.",
    handle(context) {
      context.services.fileSessions.close(sessionOf(context));
      return { json: { ok: true } };
    },
  }),
];
