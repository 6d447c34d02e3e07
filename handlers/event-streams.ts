import type { FeedPage, Numbered } from "../lib/feed.ts";
import type { Reply } from "../lib/reply.ts";
import type { Context } from "../lib/route.ts";
import { eventStream, lastEventId, type ServerSentEvent } from "../lib/http/sse.ts";

/** A numbered feed that a stream follows. */
export interface Followed<T extends Numbered> {
  /** The number of the newest event, once every later change gets a higher one. */
  cursor(): Promise<number>;
  /** Events after a number; waits for them. */
  after(since: number, waitMs: number, signal: AbortSignal): Promise<FeedPage<T>>;
  /** An event as clients see it. */
  present(event: T): unknown;
  /** Whether the feed has ended. */
  isClosed(): boolean;
}

/**
 * A feed of the workspace as server-sent events: one named `ready` with the cursor, then each event with its number
 * as id; `reset` when some are gone. Begins after `Last-Event-ID`, else `since`, else now. Ends with the feed, the
 * workspace or the caller's token. The answer begins when the feed does: whatever changes after it is told.
 */
export async function follow<T extends Numbered>(
  context: Context,
  since: string | undefined,
  feed: Followed<T>,
): Promise<Reply> {
  const { request, services, caller, workspace, signal } = context;
  const share = services.streams.take(caller.actor.tokenHash);
  let cursor: number;
  try {
    const newest = await feed.cursor();
    cursor = lastEventId(request) ?? (since === undefined ? newest : cursorOf(since));
  } catch (error) {
    share.release();
    throw error;
  }
  let greeted = false;
  async function next(waitMs: number, ended: AbortSignal): Promise<readonly ServerSentEvent[] | null> {
    if (!greeted) {
      greeted = true;
      return [{ id: cursor, event: "ready", data: { cursor, workspaceId: workspace.id } }];
    }
    const page = await feed.after(cursor, waitMs, ended);
    const served = !feed.isClosed() && services.workspaces.has(workspace);
    if (!served || !(await services.authenticator.stillValid(caller))) return null;
    cursor = page.cursor;
    if (page.reset) return [{ id: cursor, event: "reset", data: { cursor } }];
    return page.items.map((event) => ({ id: event.seq, data: feed.present(event) }));
  }
  return eventStream({ signal, next, onEnd: share.release });
}

/** A cursor: a whole number; anything else means from the start. */
export function cursorOf(text: string | undefined): number {
  const number = Math.floor(Number(text));
  return number > 0 ? number : 0;
}
