import type { StagedContents } from "./diff.ts";
import type { Caller } from "../caller.ts";
import { sha256Hex } from "../hash.ts";
import { absolutePath } from "../paths.ts";
import {
  readText,
  StorageError,
  type Change,
  type Entry,
  type ReadableStorage,
  type Storage,
} from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

/** For whom a change is made, and where: what the pipeline needs of a request. Every `Context` of a route is one. */
export interface ChangeContext {
  readonly caller: Caller;
  readonly workspace: Workspace;
  /** Aborted when the caller goes away: what waits for the host is withdrawn. */
  readonly signal: AbortSignal;
  /** Told the id of the approval that is being waited for; null for callers that hold the connection. */
  readonly onApprovalAsked: ((approvalId: string) => void) | null;
}

/** The workspace as a plan sees it: every read is remembered with its revision, and the commit insists on it. */
export interface View extends Pick<ReadableStorage, "stat" | "list" | "readFile"> {
  /** Strict UTF-8 text of a file, null when absent. */
  readText(path: string): Promise<string | null>;
}

/** What a handler wants changed and what it will answer. */
export interface Plan<T> {
  /** In workspace paths. Writes to paths that the plan read are guarded by the revision it saw. None: nothing to change, still asked and audited. */
  changes: readonly Change[];
  /** The answer once committed; entries are those of `changes`, in order. */
  answer(entries: readonly (Entry | null)[]): T | Promise<T>;
}

/** A write that wants the host's yes. */
export interface WriteRequest<T> {
  /** The contract's action word, e.g. `plugins.add`. */
  action: string;
  /** One line for the host, naming the thing. */
  summary: string;
  /** Absolute paths that the contract lists for this action; every other path the plan changes is added. */
  paths: readonly string[];
  /** Audit targets, one entry each. */
  targets: readonly string[];
  /** What staged bodies among the changes hold, for the host to see. */
  contents?: StagedContents;
  /** `replan`: a file that moved while the host thought is planned again (merges). `refuse`: that is a 409 (overwrites). */
  onConflict: "replan" | "refuse";
  /** Reads, validates and says what to change; throws an ApiError for what is wrong. Called before the host is asked, and again when a merge meets a conflict. */
  plan(view: View): Promise<Plan<T>>;
}

/** A plan with the revisions its changes insist on. */
export interface Guarded<T> {
  plan: Plan<T>;
  changes: readonly Change[];
  /** Revision of every path that the plan read, null for absent. */
  seen: ReadonlyMap<string, string | null>;
  /** What directories that will be removed whole held when the host was shown them; none when nobody is asked. */
  trees: ReadonlyMap<string, string>;
}

/** Plans a write: its changes, guarded by what the plan saw. */
export async function prepare<T>(workspace: Workspace, request: WriteRequest<T>): Promise<Guarded<T>> {
  const seen = new Map<string, string | null>();
  const plan = await request.plan(recordingView(workspace.storage, seen));
  const changes = plan.changes.map((change): Change => {
    if (change.op !== "write" && change.op !== "remove") return change;
    const revision = seen.get(change.path);
    return change.ifRevision !== undefined || revision === undefined
      ? change
      : { ...change, ifRevision: revision };
  });
  return { plan, changes, seen, trees: new Map() };
}

/** The same for a write that the host is asked about, with what he is shown of directories that go whole. */
export async function prepareToAsk<T>(workspace: Workspace, request: WriteRequest<T>): Promise<Guarded<T>> {
  const guarded = await prepare(workspace, request);
  const trees = new Map<string, string>();
  for (const change of guarded.changes) {
    if (change.op === "remove" && change.recursive)
      trees.set(change.path, await fingerprint(workspace.storage, change.path));
  }
  return { ...guarded, trees };
}

function recordingView(storage: Storage, seen: Map<string, string | null>): View {
  // The first read counts: a plan that reads twice must find both times what the commit will insist on.
  const note = (path: string, entry: Entry | null): void => {
    if (!seen.has(path)) seen.set(path, entry?.revision ?? null);
  };
  return {
    async stat(path) {
      const entry = await storage.stat(path);
      // Directories change with each name in them: no write insists on one.
      if (entry?.kind !== "dir") note(path, entry);
      return entry;
    },
    list: (path) => storage.list(path),
    async readFile(path, options) {
      const file = await storage.readFile(path, options);
      note(path, file?.entry ?? null);
      return file;
    },
    async readText(path) {
      const file = await readText(storage, path);
      note(path, file?.entry ?? null);
      return file?.text ?? null;
    },
  };
}

/** Throws a conflict when anything that a plan read is no more what it was. */
export async function insistOnSeen<T>(storage: Storage, { seen, trees }: Guarded<T>): Promise<void> {
  for (const [path, revision] of seen) {
    const current = (await storage.stat(path))?.revision ?? null;
    if (current !== revision) throw moved(path, revision, current);
  }
  for (const [path, held] of trees)
    if ((await fingerprint(storage, path)) !== held) throw moved(path, null, null);
}

function moved(path: string, expectedRevision: string | null, currentRevision: string | null): StorageError {
  const details = { path, expectedRevision, currentRevision };
  return new StorageError("conflict", `${JSON.stringify(path)} changed meanwhile.`, details);
}

/** A text that differs whenever a file below a directory came, went or changed. */
export async function fingerprint(storage: Storage, path: string): Promise<string> {
  const files: string[] = [];
  for await (const batch of storage.walk(path))
    for (const entry of batch) files.push(`${entry.path}\0${entry.revision}`);
  return sha256Hex(files.toSorted().join("\n"));
}

/** Absolute paths where changes through links land: the host has to see those as well (I32). */
export async function linkedPaths(workspace: Workspace, changes: readonly Change[]): Promise<string[]> {
  const { storage, path: root } = workspace;
  const real = await Promise.all(
    changes.flatMap((change) => {
      if (change.op === "write" || change.op === "mkdir") return [realPath(storage, change.path)];
      // A link that is removed or renamed is so itself: only those on the way to it are followed.
      const paths = change.op === "move" ? [change.from, change.to] : [change.path];
      return paths.map((path) => realPlace(storage, path));
    }),
  );
  return real.filter((path) => path !== null).map((path) => absolutePath(root, path));
}

/** Where links lead on the way to a name, whatever the name itself stands for; null when there are none. */
async function realPlace(storage: Storage, path: string): Promise<string | null> {
  const slash = path.lastIndexOf("/");
  const above = slash < 0 ? null : await realPath(storage, path.slice(0, slash));
  return above === null ? null : above + path.slice(slash);
}

/** Where links lead on the way to a path, also one that does not exist yet; null when there are none. */
async function realPath(storage: Storage, path: string): Promise<string | null> {
  // A change that no storage will make, such as one outside, is refused when its turn comes.
  const entry = await storage.stat(path).catch(() => null);
  return entry ? (entry.real ?? null) : realPlace(storage, path);
}
