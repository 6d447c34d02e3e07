import pLimit from "p-limit";
import { Catalog } from "./catalog.ts";
import { EventNumbers } from "./event-numbers.ts";
import { FileCache, type ParsedCache } from "./cache.ts";
import { ApiError } from "./errors.ts";
import type { Ancestor, Host, Log, WorkspaceConfig } from "./host.ts";
import { isJsonObject } from "./json.ts";
import { isInside } from "./paths.ts";
import { problemOf, type Problem } from "./problems.ts";
import {
  StorageError,
  type Change,
  type Entry,
  type Storage,
  type Watch,
  type WatchBatch,
} from "./storage.ts";
import { WorkspaceEvents } from "./workspace-events.ts";

/** How long until a lost watch is tried again, milliseconds. */
const rewatchMs = 30_000;

/** A workspace being served: its storage, what was parsed from it, and the news of it. */
export class Workspace {
  readonly config: WorkspaceConfig;
  readonly id: string;
  /** Absolute path of the root, for answers. */
  readonly path: string;
  readonly storage: Storage;
  readonly ancestors: readonly Ancestor[];
  readonly cache: ParsedCache;
  readonly events: WorkspaceEvents;
  /** The index of all files and the feed of their changes; costs nothing until it is asked for. */
  readonly catalog: Catalog;
  readonly #files: FileCache;
  readonly #log: Log;
  #watch: Promise<Watch | null> | null = null;
  #rewatch: ReturnType<typeof setTimeout> | undefined;
  /** The host knows that there is no watch. */
  #warned = false;
  #closed = false;
  /** Whom to tell that it is deleted; null when it is. */
  #holders: Set<() => void> | null = new Set();

  constructor(config: WorkspaceConfig, host: Host) {
    this.config = config;
    this.id = config.id;
    this.path = config.path;
    this.storage = host.storage(config);
    this.ancestors = host.ancestors(config);
    this.#files = new FileCache(this.storage);
    this.cache = this.#files;
    this.#log = host.log;
    const numbers = new EventNumbers(host.data, config.id, "workspace-events");
    this.events = new WorkspaceEvents(config.id, this.storage, numbers);
    this.catalog = new Catalog({ workspaceId: config.id, storage: this.storage, data: host.data });
  }

  /** What keeps its files from being served at all; null when nothing does. */
  async problem(): Promise<Problem | null> {
    try {
      await this.storage.list("", { names: new Set() });
      return null;
    } catch (error) {
      return problemOf(this.path, error);
    }
  }

  /** Starts watching the files, unless that has happened or is due later; requests need not wait for it. */
  watch(): void {
    if (this.#watch || this.#rewatch || this.#closed) return;
    this.#watch = this.#startWatch();
    this.catalog.expectWatch(this.#watch);
  }

  /** Commits changes to the files; when this returns cache, catalog and readers know of them. */
  async commit(changes: readonly Change[]): Promise<(Entry | null)[]> {
    if (changes.length === 0) return [];
    const release = this.catalog.hold(changes);
    try {
      const entries = await this.storage.commit(changes);
      const paths = changes.flatMap((change) =>
        change.op === "move" ? [change.from, change.to] : [change.path],
      );
      this.#files.invalidate(paths);
      this.events.notice(paths);
      await this.catalog.own(changes);
      return entries;
    } finally {
      release();
    }
  }

  /**
   * Calls `tell` when the workspace is deleted; at once when it is. What is returned ends that, and has to be called
   * when nothing of it is held open any more.
   */
  onDeleted(tell: () => void): () => void {
    const holders = this.#holders;
    if (holders === null) tell();
    holders?.add(tell);
    return () => void holders?.delete(tell);
  }

  /** It is not in the list any more: what is held open of it ends, and it closes. */
  async deleted(): Promise<void> {
    const holders = this.#holders ?? [];
    this.#holders = null;
    for (const tell of holders) tell();
    await this.close();
  }

  /** Stops watching, lets waiting readers go, and waits for what commits left to be done. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#rewatch);
    this.events.close();
    this.catalog.close();
    const watch = await this.#watch;
    await watch?.close();
    await this.storage.settled?.();
  }

  async #startWatch(): Promise<Watch | null> {
    await this.events.begin();
    let isLost = false;
    const listener = (batch: WatchBatch): void => {
      isLost ||= batch.lost === true;
      this.#changed(batch);
    };
    // A storage that fails cannot watch now: that is no reason to fail anywhere else.
    const watch = await this.storage.watch(listener).catch(() => null);
    if (this.#closed || isLost || !watch) {
      if (!this.#closed && !isLost) this.#watchLost();
      await watch?.close();
      return null;
    }
    this.#warned = false;
    this.#files.setLive(true);
    this.catalog.setLive(true);
    this.events.setLive(true);
    return watch;
  }

  #changed(batch: WatchBatch): void {
    if (batch.missed) {
      this.#files.invalidateAll();
      this.events.noticeAll();
      this.catalog.noticeAll();
    } else {
      this.#files.invalidate(batch.paths);
      this.events.notice(batch.paths);
      this.catalog.notice(batch.paths);
    }
    if (batch.lost) this.#watchLost();
  }

  /** Without a watch every request looks for itself; the host is told once per loss. */
  #watchLost(): void {
    this.#files.setLive(false);
    this.catalog.setLive(false);
    this.events.setLive(false);
    if (!this.#warned) {
      this.#log(
        "WARN",
        `Cannot watch ${this.path}: changes made by other programs are found by looking at each request.`,
      );
    }
    this.#warned = true;
    this.#watch = null;
    this.#rewatch = setTimeout(() => {
      this.#rewatch = undefined;
      this.watch();
    }, rewatchMs);
    // A waiting timer must not keep a process alive; runtimes without processes have no unref.
    (this.#rewatch as { unref?: () => void }).unref?.();
  }
}

/** What a server remembers of its workspaces over a restart (I96). */
interface Remembered {
  /** The ids that were configured when this was written: another set of workspaces starts afresh. */
  configured: readonly string[];
  active: string | null;
  deleted: readonly string[];
}

const rememberedPath = "workspaces.json";
/** Servers with other workspaces share the data directory: so many of them are remembered beside ours. */
const mostRemembered = 50;

/** The list of workspaces: which there are, which is active, which may be used. */
export class WorkspaceRegistry {
  readonly #host: Host;
  readonly #configured: string[];
  #list: Workspace[];
  #roots: string[];
  #deleted: string[] = [];
  readonly #changing = pLimit(1);

  private constructor(host: Host) {
    this.#host = host;
    this.#configured = host.config.workspaces.map((workspace) => workspace.id);
    this.#list = host.config.workspaces.map((workspace) => new Workspace(workspace, host));
    this.#roots = [...host.config.authorizedRoots];
  }

  /** Opens the configured workspaces in the order that was remembered, and recovers their storages. */
  static async open(host: Host): Promise<WorkspaceRegistry> {
    const registry = new WorkspaceRegistry(host);
    await registry.#recall();
    await Promise.all(
      registry.#list.map((workspace) =>
        workspace.storage.recover().catch((error: unknown) => {
          host.log("WARN", `Could not look for interrupted writes in ${workspace.path}: ${String(error)}`);
        }),
      ),
    );
    return registry;
  }

  /** All workspaces, the active one first. */
  get list(): readonly Workspace[] {
    return this.#list;
  }

  /** The active workspace, or null when there is none. */
  get active(): Workspace | null {
    return this.#list[0] ?? null;
  }

  /** Absolute paths below which workspaces may be used. */
  get authorizedRoots(): readonly string[] {
    return this.#roots;
  }

  /** The workspace with this id; 404 when there is none, 403 when it lies outside the authorised roots. */
  get(id: string): Workspace {
    const workspace = this.#list.find((candidate) => candidate.id === id);
    if (!workspace) throw notFound(id);
    if (!this.#authorized(workspace)) {
      throw new ApiError(
        "workspace_unauthorized",
        "This workspace lies outside the authorised roots of the server.",
      );
    }
    workspace.watch();
    return workspace;
  }

  /** Whether the workspace is still in the list and authorised. */
  has(workspace: Workspace): boolean {
    return this.#list.includes(workspace) && this.#authorized(workspace);
  }

  /** Makes a workspace the active one, remembered over restarts. */
  activate(workspace: Workspace): Promise<void> {
    return this.#changing(async () => {
      if (!this.#list.includes(workspace)) throw notFound(workspace.id);
      await this.#remember(workspace.id, this.#deleted);
      this.#list = [workspace, ...this.#list.filter((other) => other !== workspace)];
    });
  }

  /**
   * Takes a workspace (never its files) and its exact path from the list, remembered over restarts. `persisted`: the
   * settings file does not name it any more, so that the next start may find the others configured alone.
   */
  async delete(workspace: Workspace, persisted: boolean): Promise<void> {
    await this.#changing(async () => {
      if (!this.#list.includes(workspace)) throw notFound(workspace.id);
      const list = this.#list.filter((other) => other !== workspace);
      const deleted = [...this.#deleted, workspace.id];
      const active = this.active === workspace ? this.#list[1] : this.active;
      await this.#remember(active?.id ?? null, deleted, persisted);
      this.#list = list;
      this.#deleted = deleted;
      this.#roots = this.#roots.filter((root) => root !== workspace.path);
    });
    await workspace.deleted();
  }

  /** Stops all watches. */
  async close(): Promise<void> {
    await Promise.all(this.#list.map((workspace) => workspace.close()));
  }

  #authorized(workspace: Workspace): boolean {
    return this.#roots.some((root) => isInside(root, workspace.path));
  }

  /** Remembers the state of this set of workspaces, with `rest` also of what is left of it, and leaves alone what other servers remember. */
  async #remember(active: string | null, deleted: readonly string[], rest = false): Promise<void> {
    const left = this.#configured.filter((id) => !deleted.includes(id));
    const own: Remembered[] = [
      { configured: this.#configured, active, deleted },
      ...(rest ? [{ configured: left, active, deleted: [] }] : []),
    ];
    for (let attempt = 0; ; attempt += 1) {
      const { servers, revision } = await this.#readRemembered();
      const others = servers.filter(
        (other) => !own.some((one) => isSameSet(one.configured, other.configured)),
      );
      const text = `${JSON.stringify({ servers: [...own, ...others].slice(0, mostRemembered) }, null, 2)}\n`;
      const body = new TextEncoder().encode(text);
      try {
        await this.#host.data.commit([{ op: "write", path: rememberedPath, body, ifRevision: revision }]);
        return;
      } catch (error) {
        // Another server was faster: its state has to be kept too.
        if (!(error instanceof StorageError && error.code === "conflict") || attempt >= 20) throw error;
      }
    }
  }

  async #recall(): Promise<void> {
    const { servers } = await this.#readRemembered();
    const remembered = servers.find((one) => isSameSet(one.configured, this.#configured));
    if (!remembered) return;
    const deleted = new Set(remembered.deleted);
    const gone = this.#list.filter((workspace) => deleted.has(workspace.id));
    this.#deleted = gone.map((workspace) => workspace.id);
    this.#list = this.#list.filter((workspace) => !deleted.has(workspace.id));
    this.#roots = this.#roots.filter((root) => !gone.some((workspace) => workspace.path === root));
    for (const workspace of gone) {
      this.#host.log(
        "INFO",
        `Not serving ${workspace.path}: it was deleted from this list (remembered in ${this.#host.data.location}/${rememberedPath}).`,
      );
    }
    const active = this.#list.find((workspace) => workspace.id === remembered.active);
    if (active) this.#list = [active, ...this.#list.filter((workspace) => workspace !== active)];
  }

  async #readRemembered(): Promise<{ servers: Remembered[]; revision: string | null }> {
    const file = await this.#host.data.readFile(rememberedPath, { maxBytes: 1024 * 1024 });
    if (!file) return { servers: [], revision: null };
    const { revision } = file.entry;
    try {
      const value: unknown = JSON.parse(new TextDecoder().decode(file.bytes));
      const list = isJsonObject(value) && Array.isArray(value["servers"]) ? value["servers"] : [];
      return { servers: list.map(toRemembered).filter((one) => one !== null), revision };
    } catch {
      this.#host.log(
        "WARN",
        `${this.#host.data.location}/${rememberedPath} is not JSON; the configured order of workspaces is used.`,
      );
      return { servers: [], revision };
    }
  }
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && b.every((id) => a.includes(id));
}

function toRemembered(value: unknown): Remembered | null {
  if (!isJsonObject(value)) return null;
  const { configured, active, deleted } = value;
  if (!Array.isArray(configured) || !Array.isArray(deleted)) return null;
  return { configured, deleted, active: typeof active === "string" ? active : null };
}

function notFound(id: string): ApiError {
  return new ApiError("workspace_not_found", `There is no workspace ${JSON.stringify(id.slice(0, 80))}.`);
}
