import * as v from "valibot";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { holding, waitMsOf, waitQuery } from "./wait.ts";

/** Whether the caller asks not to be kept waiting for the host (RFC 7240). */
export function prefersAsync(request: Request): boolean {
  return /(^|,)\s*respond-async\s*(,|;|$)/i.test(request.headers.get("prefer") ?? "");
}

/**
 * Runs a write whose caller will not hold the connection: as soon as the host is asked the answer is
 * 202 with a Location to poll; a write that is refused or done before that is answered as usual.
 */
export async function runAsync(
  context: Context,
  run: (context: Context) => Reply | Promise<Reply>,
  onError: (error: unknown) => Reply,
): Promise<Reply> {
  const detached = new AbortController();
  return new Promise<Reply>((resolve) => {
    const onApprovalAsked = (id: string): void => {
      const { tokenHash } = context.caller.actor;
      context.services.asyncRequests.add(id, { tokenHash, workspaceId: context.workspace.id }, answer);
      const mount = context.mount ? `/w/${encodeURIComponent(context.mount.id)}` : "";
      const location = `${context.publicAddress.base}${mount}/requests/${id}`;
      resolve({
        status: 202,
        headers: { location, "preference-applied": "respond-async" },
        json: { status: "pending", requestId: id, location },
      });
    };
    const started = Object.create(context, {
      signal: { value: detached.signal },
      note: { value: context.note },
      onApprovalAsked: { value: onApprovalAsked },
    }) as Context;
    const answer: Promise<Reply> = Promise.resolve()
      .then(() => run(started))
      .catch(onError);
    void answer.then(resolve);
  });
}

/** Polling for the answer of such a write. */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/requests/:requestId",
    access: "client",
    mounted: true,
    query: v.object(waitQuery),
    success: [200, 202],
    produces: ["application/json"],
    errors: ["not_found", "too_many_requests"],
    summary: "The answer of a write sent with Prefer: respond-async, or 202 while the host has not decided.",
    handle: async (context) => {
      const { services, params, query, caller, mount, signal } = context;
      const id = params["requestId"] ?? "";
      const owner = { tokenHash: caller.actor.tokenHash, workspaceId: mount?.id };
      const waitMs = waitMsOf(query);
      const reply = await holding(context, waitMs, () =>
        services.asyncRequests.get(id, owner, waitMs, signal),
      );
      return reply ?? { status: 202, json: { status: "pending", requestId: id } };
    },
  }),
];
