import * as v from "valibot";
import type { ApprovalPage } from "../lib/approvals.ts";
import { actorSchema } from "./schemas.ts";
import { meant } from "../lib/json.ts";
import { route, type Route } from "../lib/route.ts";
import { holding, sinceQuery, waitMsOf, waitQuery } from "./wait.ts";

const approvalSchema = v.object({
  id: v.string(),
  workspaceId: v.string(),
  action: v.string(),
  summary: v.string(),
  paths: v.array(v.string()),
  createdAt: v.number(),
  expiresAt: v.number(),
  actor: actorSchema,
  tokenLabel: v.optional(v.string()),
  diff: v.string(),
});

/** The approval store: what waits for the host, and the host's word (wire contract, section 7). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/approvals",
    access: "host",
    mounted: true,
    query: v.object({ ...waitQuery, ...sinceQuery }),
    answer: v.object({ items: v.array(approvalSchema), cursor: v.optional(v.number()) }),
    errors: ["too_many_requests"],
    summary: "Writes that wait for the host, oldest first; with wait and since it holds until there is news.",
    handle: async (context) => {
      const { services, query, mount, signal } = context;
      const polls = query.wait !== undefined || query.since !== undefined;
      if (!polls) return { json: { items: services.approvals.list(mount?.id).items } };
      const waitMs = waitMsOf(query);
      const wait = (): Promise<ApprovalPage> =>
        services.approvals.wait(query.since ?? null, waitMs, signal, mount?.id);
      return { json: await holding(context, waitMs, wait) };
    },
  }),
  route({
    method: "POST",
    path: "/approvals/:approvalId",
    access: "host",
    mounted: true,
    body: v.object(
      { reply: meant({ type: "string", enum: ["allow", "deny"] }) },
      "an object {reply} is expected",
    ),
    answer: v.object({ ok: v.literal(true), allowed: v.boolean() }),
    errors: ["approval_not_found", "approval_answered"],
    summary:
      'Answers a waiting write: reply "allow" allows it, anything else denies it. The first reply counts.',
    handle: ({ services, params, body, caller, mount }) => {
      const id = params["approvalId"] ?? "";
      const allowed = services.approvals.answer(id, body.reply === "allow", caller.actor, mount?.id);
      return { json: { ok: true, allowed } };
    },
  }),
];
