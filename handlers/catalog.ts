import * as v from "valibot";
import type { Catalog, FileEvent } from "../lib/catalog.ts";
import { resolveClientPath } from "../lib/client-paths.ts";
import type { FeedPage } from "../lib/feed.ts";
import { route, type Route } from "../lib/route.ts";
import { storagePathParts } from "../lib/storage.ts";
import type { Workspace } from "../lib/workspaces.ts";
import { cursorOf } from "./event-streams.ts";
import { sessionPath, sessionWorkspace } from "./file-sessions.ts";
import { holding, waitMsOf, waitQuery } from "./wait.ts";

const defaultPage = 2000;
const largestPage = 10_000;

/** `ignore=default` leaves out `.git`, `node_modules`, `.venv` and what `.gitignore` files say. */
export const ignoreQuery: v.OptionalSchema<
  v.PicklistSchema<["default", "none"], string>,
  undefined
> = v.optional(v.picklist(["default", "none"], "ignore must be default or none"));

const itemSchema = v.object({
  path: v.string(),
  kind: v.picklist(["file", "dir"]),
  size: v.number(),
  mtimeMs: v.number(),
  revision: v.string(),
});

/** A file event with what is the same for all of its workspace. */
export interface PresentedEvent extends FileEvent {
  id: string;
  workspaceId: string;
}

/** A file event as clients see it (wire contract, 10.13). */
const fileEventSchema: v.GenericSchema<unknown, PresentedEvent> = v.object({
  id: v.string(),
  seq: v.number(),
  workspaceId: v.string(),
  type: v.picklist(["write", "delete", "rename", "mkdir"]),
  path: v.string(),
  toPath: v.exactOptional(v.string()),
  revision: v.exactOptional(v.string()),
  timestamp: v.number(),
});

/** An event as clients see it. The id tells events apart also over restarts. */
export function presentEvent(workspace: Workspace, event: FileEvent): PresentedEvent {
  const id = `${workspace.id.slice(-8).padStart(8, "0")}-0000-4000-8000-${event.seq.toString(16).padStart(12, "0")}`;
  return { id, workspaceId: workspace.id, ...event };
}

/** A page of events, without those that the ignore rules leave out when that is wanted. */
export async function eventsSince(
  catalog: Catalog,
  options: { since: number; waitMs: number; limit: number; ignored: boolean },
  signal: AbortSignal,
): Promise<FeedPage<FileEvent>> {
  const end = performance.now() + options.waitMs;
  let { since } = options;
  for (;;) {
    const page = await catalog.events(since, Math.max(0, end - performance.now()), signal, options.limit);
    if (options.ignored || page.items.length === 0) return page;
    const seen = await catalog.withoutIgnored(since, page);
    const isNews = seen.items.length > 0 || seen.reset;
    if (isNews || performance.now() >= end || signal.aborted || catalog.closed) return seen;
    since = page.cursor;
  }
}

function limitOf(text: string | undefined, otherwise: number): number {
  const limit = Math.floor(Number(text));
  return limit > 0 ? Math.min(limit, largestPage) : otherwise;
}

async function prefixOf(workspace: Workspace, text: string | undefined): Promise<string | undefined> {
  if (text === undefined) return undefined;
  if (text.trim() === "" && !(await hasEntry(workspace, text))) return undefined;
  return resolveClientPath(workspace.storage, text);
}

/** Where a page begins: the last path of the page before, exactly as it was told there, whether it still exists or not. */
async function afterOf(workspace: Workspace, text: string | undefined): Promise<string | undefined> {
  if (text === undefined) return undefined;
  if (text.trim() === "" && !(await hasEntry(workspace, text))) return undefined;
  return isPath(text) && !text.startsWith("workspace/") ? text : resolveClientPath(workspace.storage, text);
}

async function hasEntry(workspace: Workspace, path: string): Promise<boolean> {
  return isPath(path) && (await workspace.catalog.current()).get(path) !== undefined;
}

function isPath(text: string): boolean {
  try {
    return storagePathParts(text).length > 0;
  } catch {
    return false;
  }
}

/** The catalog of a workspace: what is there, and what has changed since (wire contract, 10.13). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: `${sessionPath}/catalog/snapshot`,
    access: "client",
    mounted: true,
    locate: sessionWorkspace,
    query: v.object({
      prefix: v.optional(v.string()),
      after: v.optional(v.string()),
      includeDirs: v.optional(v.string()),
      limit: v.optional(v.string()),
      ignore: ignoreQuery,
    }),
    answer: v.object({
      sessionId: v.string(),
      workspaceId: v.string(),
      generatedAt: v.number(),
      cursor: v.number(),
      total: v.number(),
      truncated: v.boolean(),
      nextAfter: v.optional(v.string()),
      items: v.array(itemSchema),
    }),
    errors: ["file_session_not_found", "forbidden", "invalid_path"],
    summary:
      "A page of the workspace's files and directories by code point of their paths. Keep the cursor of the first page: events after it bring the listing up to date.",
    async handle({ workspace, query, params }) {
      const prefix = await prefixOf(workspace, query.prefix);
      const after = await afterOf(workspace, query.after);
      const { cursor, total, truncated, items } = await workspace.catalog.page({
        ...(prefix === undefined ? {} : { prefix }),
        ...(after === undefined ? {} : { after }),
        dirs: query.includeDirs !== "false",
        ignored: query.ignore !== "default",
        limit: limitOf(query.limit, defaultPage),
      });
      const last = items.at(-1)?.path;
      return {
        json: {
          sessionId: params["sid"],
          workspaceId: workspace.id,
          generatedAt: Date.now(),
          cursor,
          total,
          truncated,
          ...(truncated && last !== undefined ? { nextAfter: last } : {}),
          items,
        },
      };
    },
  }),
  route({
    method: "GET",
    path: `${sessionPath}/catalog/events`,
    access: "client",
    mounted: true,
    locate: sessionWorkspace,
    query: v.object({
      ...waitQuery,
      since: v.optional(v.string()),
      limit: v.optional(v.string()),
      ignore: ignoreQuery,
    }),
    answer: v.object({
      items: v.array(fileEventSchema),
      cursor: v.number(),
      reset: v.optional(v.literal(true)),
    }),
    errors: ["file_session_not_found", "forbidden", "too_many_requests"],
    summary:
      "Changes of files and directories since a cursor, by anyone, at most `limit` of them: ask again from the answered cursor. A write or mkdir implies the directories above; a delete or rename of a directory what is below. With reset, take a new snapshot.",
    async handle(context) {
      const { workspace, query, signal } = context;
      const options = {
        since: cursorOf(query.since),
        waitMs: waitMsOf(query),
        limit: limitOf(query.limit, largestPage),
        ignored: query.ignore !== "default",
      };
      const page = await holding(context, options.waitMs, () =>
        eventsSince(workspace.catalog, options, signal),
      );
      const items = page.items.map((event) => presentEvent(workspace, event));
      return { json: { items, cursor: page.cursor, ...(page.reset ? { reset: true } : {}) } };
    },
  }),
];
