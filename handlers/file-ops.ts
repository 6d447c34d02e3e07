import * as v from "valibot";
import type { ChangeItem } from "../lib/changes/items.ts";
import { fingerprint } from "../lib/changes/plan.ts";
import { resolveClientPath } from "../lib/client-paths.ts";
import { changedMessage, failedItem, ItemError, type FailedItem } from "../lib/files/batches.ts";
import { meant, plainObject } from "../lib/json.ts";
import { absolutePath } from "../lib/paths.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import type { Change } from "../lib/storage.ts";
import { batchOf, failedSchema } from "./file-batches.ts";
import { sessionPath, writableSessionWorkspace } from "./file-sessions.ts";

const text = (
  name: string,
): v.OptionalSchema<v.NullableSchema<v.StringSchema<string>, undefined>, undefined> =>
  v.optional(v.nullable(v.string(`${name} must be a string`)));

const operationSchema = plainObject(
  {
    type: text("type"),
    path: text("path"),
    from: text("from"),
    to: text("to"),
    recursive: meant({ type: "boolean" }),
  },
  "an operation must be an object {type, …}",
);

const doneSchema = v.object({
  ok: v.literal(true),
  type: v.string(),
  path: v.optional(v.string()),
  from: v.optional(v.string()),
  to: v.optional(v.string()),
  revision: v.optional(v.string()),
});

/** One operation, its paths resolved; a path that was not sent is undefined. */
interface Operation {
  type: string;
  path: string | undefined;
  from: string | undefined;
  to: string | undefined;
  recursive: boolean;
}

type Result =
  | { ok: true; type: string; path?: string; from?: string; to?: string; revision?: string }
  | FailedItem;

async function parse(context: Context, operation: v.InferOutput<typeof operationSchema>): Promise<Operation> {
  const resolve = async (path: string | null | undefined): Promise<string | undefined> =>
    path === null || path === undefined || path.trim() === ""
      ? undefined
      : resolveClientPath(context.workspace.storage, path);
  const { type, path, from, to, recursive } = operation;
  return {
    type: type ?? "",
    path: await resolve(path),
    from: await resolve(from),
    to: await resolve(to),
    recursive: recursive === true,
  };
}

function pathsOf({ path, from, to }: Operation): string[] {
  return [path, from, to].filter((one) => one !== undefined);
}

function named({ type, path, from, to }: Operation): {
  type: string;
  path?: string;
  from?: string;
  to?: string;
} {
  if (type === "rename")
    return { type, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
  return { type, ...(path === undefined ? {} : { path }) };
}

/** The change that an operation asks for, whatever is there; throws an ItemError when it asks for none. */
function askedFor({ type, path, from, to, recursive }: Operation): Change {
  if (type === "mkdir") {
    if (path === undefined) throw new ItemError("operation_failed", "mkdir needs a path.");
    return { op: "mkdir", path };
  }
  if (type === "delete") {
    if (path === undefined) throw new ItemError("operation_failed", "delete needs a path.");
    return { op: "remove", path, recursive };
  }
  if (type === "rename") {
    if (from === undefined || to === undefined)
      throw new ItemError("operation_failed", "rename needs from and to.");
    return { op: "move", from, to, replace: true };
  }
  throw new ItemError(
    "invalid_operation",
    `There is no operation ${JSON.stringify(type.slice(0, 80))}; there are mkdir, delete and rename.`,
  );
}

/** The same, seen from what is there now. */
async function changeOf(context: Context, operation: Operation): Promise<Change> {
  const { storage } = context.workspace;
  const change = askedFor(operation);
  const old = change.op === "move" ? change.from : change.op === "remove" ? change.path : null;
  const entry = old === null ? null : await storage.stat(old);
  if (old !== null && !entry) throw missing(operation);
  if (change.op === "remove" && entry?.kind === "dir" && !operation.recursive) {
    throw new ItemError("operation_failed", "A directory is deleted only with recursive: true.");
  }
  return change;
}

/**
 * What the host is shown of an operation. One that cannot be done as things are is shown as well when one before it
 * may make it possible: a deletion must not hide behind a rename.
 */
async function shownOf(context: Context, operation: Operation, dependent: boolean): Promise<Change | null> {
  try {
    const change = dependent ? askedFor(operation) : await changeOf(context, operation);
    return isNothing(change) ? null : change;
  } catch {
    return null;
  }
}

/** A rename to the name that it has already. */
const isNothing = (change: Change): boolean => change.op === "move" && change.from === change.to;

function missing(operation: Operation): ItemError {
  return new ItemError("file_not_found", "There is nothing at this path.", named(operation));
}

/** What the paths of an operation held when the host was shown it; a mkdir overwrites nothing. */
async function stateOf(context: Context, operation: Operation): Promise<string | null> {
  const { storage } = context.workspace;
  if (operation.type === "mkdir") return null;
  const states: (string | null)[] = [];
  for (const path of pathsOf(operation)) {
    const entry = await storage.stat(path);
    states.push(entry?.kind === "dir" ? await fingerprint(storage, path) : (entry?.revision ?? null));
  }
  return JSON.stringify(states);
}

/**
 * An operation as an item of the pipeline. In manual mode it insists on what the host was shown (I30), unless an
 * operation before it in the same request touches the same paths.
 */
async function itemOf(
  context: Context,
  operation: Operation,
  dependent: boolean,
): Promise<ChangeItem<Result>> {
  const asked = context.services.host.config.approval.mode === "manual" && !dependent;
  const before = asked ? await stateOf(context, operation).catch(() => null) : null;
  const shown = await shownOf(context, operation, dependent);
  const at = (path: string): string => absolutePath(context.workspace.path, path);
  return {
    target:
      operation.type === "rename"
        ? `${at(operation.from ?? "")} -> ${at(operation.to ?? "")}`
        : at(operation.path ?? ""),
    shown,
    async plan() {
      const change = await changeOf(context, operation);
      if (asked && (await stateOf(context, operation)) !== before) {
        throw new ItemError("conflict", changedMessage, named(operation));
      }
      // As rename(2) has it: what is called so already stays as it is.
      return isNothing(change) ? null : change;
    },
    done: (entry) => ({
      ok: true,
      ...named(operation),
      // Under its new name a file has another revision: a client that renamed it must not take that for a conflict.
      ...(operation.type === "rename" && entry?.kind === "file" ? { revision: entry.revision } : {}),
    }),
    failed: (error) => failedItem(error, "operation_failed", { type: operation.type }),
  };
}

function isDependent(operation: Operation, earlier: readonly Operation[]): boolean {
  const paths = earlier.flatMap(pathsOf);
  return pathsOf(operation).some((path) =>
    paths.some((other) => path === other || path.startsWith(`${other}/`) || other.startsWith(`${path}/`)),
  );
}

/** Making, deleting and renaming files and directories, in order (wire contract, 10.13). */
export const routes: readonly Route[] = [
  route({
    method: "POST",
    path: `${sessionPath}/ops`,
    access: "client",
    scope: "collaborator",
    writes: true,
    mounted: true,
    locate: writableSessionWorkspace,
    body: v.object({ operations: batchOf(operationSchema, "operations") }),
    answer: v.object({
      items: v.array(v.union([doneSchema, failedSchema])),
      cursor: v.number(),
    }),
    errors: ["file_session_not_found", "invalid_path", "write_denied", "request_withdrawn"],
    summary:
      "Up to 64 operations in order, each for itself: {type: mkdir, path}, {type: delete, path, recursive?}, {type: rename, from, to}.",
    async handle(context) {
      const { workspace, services } = context;
      const operations = await Promise.all(
        context.body.operations.map((operation) => parse(context, operation)),
      );
      const items = await Promise.all(
        operations.map((operation, index) =>
          itemOf(context, operation, isDependent(operation, operations.slice(0, index))),
        ),
      );
      await workspace.catalog.ready();
      const { cursor } = workspace.catalog;
      const paths = [...new Set(operations.flatMap(pathsOf))];
      const results = await services.changes.runEach(context, {
        action: "workspace.files.session.ops",
        summary:
          operations.length === 1
            ? `One file operation: ${operations[0]?.type ?? ""}`
            : `${operations.length} file operations`,
        paths: paths.map((path) => absolutePath(workspace.path, path)),
        items,
        independent: false,
      });
      // As of a batch of writes: when nothing was done, nothing may be skipped.
      const isDone = results.some((item) => item.ok);
      return { json: { items: results, cursor: isDone ? workspace.catalog.cursor : cursor } };
    },
  }),
];
