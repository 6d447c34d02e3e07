import * as v from "valibot";
import { route, type Route } from "../lib/route.ts";
import { eventsSince, ignoreQuery, presentEvent } from "./catalog.ts";
import { follow } from "./event-streams.ts";

/** Most events of one piece of the stream. */
const mostAtOnce = 1000;

/** Changes of a workspace's files as server-sent events. */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/workspace/:id/files/events",
    access: "client",
    produces: ["text/event-stream"],
    requestHeaders: ["Last-Event-ID"],
    query: v.object({ since: v.optional(v.string()), ignore: ignoreQuery }),
    errors: ["too_many_requests"],
    summary:
      "Changes of files and directories as server-sent events (text/event-stream); their ids are cursors. Begins after Last-Event-ID, else ?since, else now. An event named reset says that some are gone: take a new snapshot.",
    handle(context) {
      const { workspace, query } = context;
      const { catalog } = workspace;
      const ignored = query.ignore !== "default";
      return follow(context, query.since, {
        async cursor() {
          await catalog.current();
          return catalog.cursor;
        },
        after: (since, waitMs, signal) =>
          eventsSince(catalog, { since, waitMs, limit: mostAtOnce, ignored }, signal),
        present: (event) => presentEvent(workspace, event),
        isClosed: () => catalog.closed,
      });
    },
  }),
];
