import * as v from "valibot";
import { fromAnyBase64 } from "../lib/base64.ts";
import type { ChangeItem } from "../lib/changes/items.ts";
import { resolveClientPath } from "../lib/client-paths.ts";
import { ApiError } from "../lib/errors.ts";
import {
  changedMessage,
  failedItem,
  fileItem,
  ItemError,
  itemStream,
  largestFile,
  mostItems,
  type FailedItem,
} from "../lib/files/batches.ts";
import { meant, plainObject } from "../lib/json.ts";
import { absolutePath } from "../lib/paths.ts";
import { isClosedTo } from "../lib/protected-paths.ts";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { StorageError, type Entry, type Storage } from "../lib/storage.ts";
import { sessionPath, sessionWorkspace, writableSessionWorkspace } from "./file-sessions.ts";

/** How many files of a batch are read at a time. */
const readsAhead = 8;
const noFile: ReadonlySet<string> = new Set(["is_directory", "not_a_file", "not_a_directory"]);
/** 64 files of 5 MB in base64 and what is around them. */
const writeBatchLimit = mostItems * 6_700_000;

/** A path as clients send it: text, or a number, which counts as its digits. */
export const pathSchema: v.GenericSchema<unknown, string> = v.pipe(
  v.nullish(v.union([v.string(), v.number()], "a path must be a string"), ""),
  v.transform(String),
);

/** What became of an item that failed; conflicts and sizes have details of their own. */
export const failedSchema: v.GenericSchema = v.object({
  ok: v.literal(false),
  type: v.optional(v.string()),
  path: v.optional(v.string()),
  from: v.optional(v.string()),
  to: v.optional(v.string()),
  code: v.string(),
  message: v.string(),
  expectedRevision: v.optional(v.nullable(v.string())),
  currentRevision: v.optional(v.nullable(v.string())),
  maxBytes: v.optional(v.number()),
  size: v.optional(v.number()),
});

const readSchema = v.object({
  ok: v.literal(true),
  path: v.string(),
  kind: v.literal("file"),
  bytes: v.number(),
  updatedAt: v.number(),
  revision: v.string(),
  contentBase64: v.string(),
});

const writtenSchema = v.object({
  ok: v.literal(true),
  path: v.string(),
  bytes: v.number(),
  updatedAt: v.number(),
  revision: v.string(),
  previousRevision: v.nullable(v.string()),
});

/** A list of 1 to 64 of something. */
export function batchOf<S extends v.GenericSchema<unknown, unknown>>(
  item: S,
  what: string,
): v.GenericSchema<unknown, v.InferOutput<S>[]> {
  const message = `1 to ${mostItems} ${what} are expected`;
  return v.pipe(v.array(item, message), v.minLength(1, message), v.maxLength(mostItems, message));
}

/** A file of at most the size that a batch takes; null when there is none, or something else. */
async function readFile(storage: Storage, path: string): ReturnType<Storage["readFile"]> {
  try {
    return await storage.readFile(path, { maxBytes: largestFile });
  } catch (error) {
    if (error instanceof StorageError && noFile.has(error.code)) return null;
    throw error;
  }
}

/** The item of a path, with what leads up to it. */
async function readItem(context: Context, path: string, lead: string): Promise<Uint8Array> {
  const { workspace, services, caller } = context;
  const { protectedPaths } = services.host.config;
  const insistOnOpen = (name: string | undefined): void => {
    if (name === undefined || !isClosedTo(caller.scope, protectedPaths, name)) return;
    throw new ItemError("protected", "This file is protected: its name is one that viewers may not read.");
  };
  try {
    insistOnOpen(path);
    const file = await readFile(workspace.storage, path);
    if (!file) throw new ItemError("file_not_found", "There is no file at this path.");
    // A link must not lend a protected file another name.
    insistOnOpen(file.entry.real);
    return fileItem(lead, path, file, services.host.base64);
  } catch (error) {
    return new TextEncoder().encode(lead + JSON.stringify(failedItem(error, "read_failed", { path })));
  }
}

const readBatch = route({
  method: "POST",
  path: `${sessionPath}/read-batch`,
  access: "client",
  mounted: true,
  locate: sessionWorkspace,
  body: v.object({ paths: batchOf(pathSchema, "paths") }),
  answer: v.object({ items: v.array(v.union([readSchema, failedSchema])) }),
  errors: ["file_session_not_found", "forbidden", "invalid_path", "too_many_requests"],
  summary:
    "Reads up to 64 files of at most 5 000 000 bytes each, as base64; one that cannot be read hinders no other.",
  async handle(context): Promise<Reply> {
    const { workspace, services, caller, signal } = context;
    const { storage } = workspace;
    const paths = await Promise.all(context.body.paths.map((path) => resolveClientPath(storage, path)));
    const makers = await Promise.all(
      paths.map(async (path) => {
        // What cannot be looked at is told by its item.
        const entry = await storage.stat(path).catch(() => null);
        return { size: entry?.size ?? 0, make: (lead: string) => readItem(context, path, lead) };
      }),
    );
    // What was read ahead stays in memory until the client takes it, which may be never.
    const share = services.batches.take(caller.actor.tokenHash);
    const stream = itemStream(makers, { ahead: readsAhead, signal, onEnd: share.release });
    return { stream, headers: { "content-type": "application/json" } };
  },
});

const writeSchema = plainObject(
  {
    path: pathSchema,
    contentBase64: v.string("contentBase64 must be a string"),
    ifMatchRevision: v.optional(
      v.nullable(v.string("ifMatchRevision must be a revision, or null when the file must not exist")),
    ),
    force: meant({ type: "boolean" }),
  },
  "a write must be an object {path, contentBase64, ifMatchRevision?, force?}",
);

/** One write of a batch, its path resolved and its contents decoded. */
interface Write {
  path: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** What the client knows of the file: a revision, null when it must not exist, undefined when it did not say. */
  base: string | null | undefined;
}

interface Written {
  ok: true;
  path: string;
  bytes: number;
  updatedAt: number;
  revision: string;
  /** As it was before the approval; null when there was no file. */
  previousRevision: string | null;
}

async function parseWrite(
  context: Context,
  write: v.InferOutput<typeof writeSchema>,
  index: number,
): Promise<Write> {
  const bytes = fromAnyBase64(write.contentBase64.trim(), context.services.host.base64);
  if (!bytes) {
    throw new ApiError("invalid_payload", `body.writes.${index}.contentBase64: this is not base64.`, {
      path: `writes.${index}.contentBase64`,
      expected: "base64, in the standard or the URL alphabet",
    });
  }
  const path = await resolveClientPath(context.workspace.storage, write.path);
  const said =
    typeof write.ifMatchRevision === "string" && write.ifMatchRevision.trim() === ""
      ? undefined
      : write.ifMatchRevision;
  return { path, bytes, base: write.force === true ? undefined : said };
}

/** Refuses a write that cannot be, before any host is asked; else what is there now. */
function insistOnWritable(write: Write, current: Entry | null): void {
  const { path, bytes, base } = write;
  if (bytes.length > largestFile) {
    throw new ItemError("file_too_large", `A file of a batch may have at most ${largestFile} bytes.`, {
      maxBytes: largestFile,
      size: bytes.length,
    });
  }
  if (current && current.kind !== "file") {
    throw new ItemError("invalid_path", `${JSON.stringify(path)} is no file and cannot be written as one.`);
  }
  const currentRevision = current?.revision ?? null;
  if (base !== undefined && base !== currentRevision) {
    throw new ItemError("conflict", changedMessage, { expectedRevision: base, currentRevision });
  }
}

/** The write as an item of the pipeline. In manual mode it insists on the file that the host was shown (I30). */
function itemOf(
  context: Context,
  write: Write,
  current: Entry | null,
  first: boolean,
): ChangeItem<Written | FailedItem> {
  const { path, bytes, base } = write;
  const previousRevision = current?.revision ?? null;
  const shown =
    context.services.host.config.approval.mode === "manual" && first ? previousRevision : undefined;
  const insists = base ?? shown;
  const ifRevision = base === null ? null : insists;
  const change = {
    op: "write",
    path,
    body: bytes,
    ...(ifRevision === undefined ? {} : { ifRevision }),
  } as const;
  return {
    target: absolutePath(context.workspace.path, path),
    shown: change,
    plan: async () => change,
    done: (entry) => ({
      ok: true,
      path,
      bytes: bytes.length,
      updatedAt: entry?.mtimeMs ?? Date.now(),
      revision: entry?.revision ?? "",
      previousRevision,
    }),
    failed: (error) => failedItem(error, "write_failed", { path }),
  };
}

const writeBatch = route({
  method: "POST",
  path: `${sessionPath}/write-batch`,
  access: "client",
  scope: "collaborator",
  writes: true,
  mounted: true,
  locate: writableSessionWorkspace,
  body: v.object({ writes: batchOf(writeSchema, "writes") }),
  bodyLimit: writeBatchLimit,
  answer: v.object({
    items: v.array(v.union([writtenSchema, failedSchema])),
    cursor: v.number(),
  }),
  errors: ["file_session_not_found", "invalid_path", "write_denied", "request_withdrawn"],
  summary:
    "Writes up to 64 files of at most 5 000 000 bytes each, each for itself; those that are refused come first in the answer.",
  async handle(context): Promise<Reply> {
    const { workspace, services } = context;
    const writes = await Promise.all(
      context.body.writes.map((write, index) => parseWrite(context, write, index)),
    );
    const refused: FailedItem[] = [];
    const items: ChangeItem<Written | FailedItem>[] = [];
    const seen = new Set<string>();
    for (const write of writes) {
      const { path } = write;
      try {
        const current = await workspace.storage.stat(path);
        insistOnWritable(write, current);
        items.push(itemOf(context, write, current, !seen.has(path)));
        seen.add(path);
      } catch (error) {
        refused.push(failedItem(error, "write_failed", { path }));
      }
    }
    await workspace.catalog.ready();
    const { cursor } = workspace.catalog;
    const done =
      items.length === 0
        ? []
        : await services.changes.runEach(context, {
            action: "workspace.files.session.write",
            summary: summaryOf(items.length, items.length === 1 ? [...seen][0] : undefined),
            paths: [...seen].map((path) => absolutePath(workspace.path, path)),
            items,
            independent: true,
          });
    // Whoever goes on from there has seen his own writes; when there are none, nothing may be skipped.
    const isWritten = done.some((item) => item.ok);
    return { json: { items: [...refused, ...done], cursor: isWritten ? workspace.catalog.cursor : cursor } };
  },
});

function summaryOf(count: number, only: string | undefined): string {
  return only === undefined ? `Write ${count} files` : `Write ${JSON.stringify(only)}`;
}

/** Reading and writing many files at once (wire contract, 10.13). */
export const routes: readonly Route[] = [readBatch, writeBatch];
