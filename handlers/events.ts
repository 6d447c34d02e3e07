import * as v from "valibot";
import { route, type Route } from "../lib/route.ts";
import { waitMsOf, waitQuery } from "./wait.ts";

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
    summary: "Changes of plugins, skills, MCP servers, configuration, agents and commands since a cursor.",
    handle: async ({ workspace, query, signal }) => {
      const page = await workspace.events.wait(sinceOf(query.since), waitMsOf(query), signal);
      const { reloadRequiredSince } = workspace.events;
      const reload = { reloadRequired: reloadRequiredSince !== null, reloadRequiredSince };
      return { json: { ...page, workspaceId: workspace.id, disabled: false, ...reload } };
    },
  }),
];

/** A whole number; anything else means from the start, as for catalog events. */
function sinceOf(text: string | undefined): number {
  const number = Math.floor(Number(text));
  return number > 0 ? number : 0;
}
