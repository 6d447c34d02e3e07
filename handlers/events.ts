import * as v from "valibot";
import type { FeedPage } from "../lib/feed.ts";
import { route, type Route } from "../lib/route.ts";
import { wantsEventStream } from "../lib/http/sse.ts";
import type { WorkspaceEvent } from "../lib/workspace-events.ts";
import type { Workspace } from "../lib/workspaces.ts";
import { cursorOf, follow, type Followed } from "./event-streams.ts";
import { holding, waitMsOf, waitQuery } from "./wait.ts";

const eventSchema = v.object({
  id: v.string(),
  seq: v.number(),
  workspaceId: v.string(),
  reason: v.picklist(["plugins", "skills", "mcp", "config", "agents", "commands"]),
  paths: v.array(v.string()),
  timestamp: v.number(),
});

/** Workspace events: what of the agent's state changed, whoever changed it (I98). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/workspace/:id/events",
    access: "client",
    produces: ["application/json", "text/event-stream"],
    requestHeaders: ["Last-Event-ID"],
    query: v.object({ ...waitQuery, since: v.optional(v.string()) }),
    answer: v.object({
      items: v.array(eventSchema),
      cursor: v.number(),
      reset: v.optional(v.literal(true)),
      workspaceId: v.string(),
      disabled: v.literal(false),
      reloadRequired: v.boolean(),
      reloadRequiredSince: v.nullable(v.number()),
    }),
    errors: ["too_many_requests"],
    summary:
      "Changes of plugins, skills, MCP servers, configuration, agents and commands since a cursor; with Accept: text/event-stream as server-sent events.",
    handle: async (context) => {
      const { request, workspace, query, signal } = context;
      if (wantsEventStream(request)) return follow(context, query.since, followed(workspace));
      const waitMs = waitMsOf(query);
      const wait = (): Promise<FeedPage<WorkspaceEvent>> =>
        workspace.events.wait(cursorOf(query.since), waitMs, signal);
      const page = await holding(context, waitMs, wait);
      const { reloadRequiredSince } = workspace.events;
      const reload = { reloadRequired: reloadRequiredSince !== null, reloadRequiredSince };
      return { json: { ...page, workspaceId: workspace.id, disabled: false, ...reload } };
    },
  }),
];

function followed({ events }: Workspace): Followed<WorkspaceEvent> {
  return {
    async cursor() {
      await events.begin();
      return events.cursor;
    },
    after: (since, waitMs, signal) => events.wait(since, waitMs, signal),
    present: (event) => event,
    isClosed: () => events.closed,
  };
}
