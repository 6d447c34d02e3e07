import * as v from "valibot";
import { route, type Context, type Route } from "../lib/route.ts";
import { eventStream, lastEventId, type ServerSentEvent } from "../lib/sse.ts";
import { cursorOf, eventsSince, ignoreQuery, presentEvent } from "./catalog.ts";

/** Most events of one piece of the stream. */
const mostAtOnce = 1000;

/** Events of a workspace's files from a number on; without one, from now. Ends with the server, the workspace or the token. */
function fileEvents(context: Context, from: number | null, ignored: boolean): Parameters<typeof eventStream>[0]["next"] {
  const { workspace, services, caller } = context;
  const { catalog } = workspace;
  let since = from;
  let greeted = false;
  return async (waitMs, signal): Promise<readonly ServerSentEvent[] | null> => {
    await catalog.current();
    if (since === null || !greeted) {
      greeted = true;
      since ??= catalog.cursor;
      return [{ id: since, event: "ready", data: { cursor: since, workspaceId: workspace.id } }];
    }
    const page = await eventsSince(catalog, { since, waitMs, limit: mostAtOnce, ignored }, signal);
    const served = !catalog.closed && services.workspaces.has(workspace);
    if (!served || !(await services.authenticator.stillValid(caller))) return null;
    since = page.cursor;
    if (page.reset) return [{ id: since, event: "reset", data: { cursor: since } }];
    return page.items.map((event) => ({ id: event.seq, data: presentEvent(workspace, event) }));
  };
}

/** Changes of a workspace's files as server-sent events. */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/workspace/:id/files/events",
    access: "client",
    query: v.object({ since: v.optional(v.string()), ignore: ignoreQuery }),
    errors: ["too_many_requests"],
    summary:
      "Changes of files and directories as server-sent events (text/event-stream); their ids are cursors. Begins after Last-Event-ID, else ?since, else now. An event named reset says that some are gone: take a new snapshot.",
    handle(context) {
      const { request, services, caller, query, signal } = context;
      const from = lastEventId(request) ?? (query.since === undefined ? null : cursorOf(query.since));
      const release = services.streams.take(caller.actor.tokenHash);
      return eventStream({ signal, next: fileEvents(context, from, query.ignore !== "default"), onEnd: release });
    },
  }),
];
