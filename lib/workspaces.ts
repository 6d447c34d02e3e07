import { Catalog } from "./catalog.ts";
import { FileCache, type ParsedCache } from "./cache.ts";
import { ApiError } from "./errors.ts";
import type { Ancestor, Host, Log, WorkspaceConfig } from "./host.ts";
import { isInside } from "./paths.ts";
import type { Change, Entry, Storage, Watch, WatchBatch } from "./storage.ts";
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
  #closed = false;

  constructor(config: WorkspaceConfig, host: Host) {
    this.config = config;
    this.id = config.id;
    this.path = config.path;
    this.storage = host.storage(config);
    this.ancestors = host.ancestors(config);
    this.#files = new FileCache(this.storage);
    this.cache = this.#files;
    this.#log = host.log;
    this.events = new WorkspaceEvents(config.id, this.storage);
    this.catalog = new Catalog({ workspaceId: config.id, storage: this.storage, data: host.data });
  }

  /** Starts watching the files, if that has not happened; requests need not wait for it. */
  watch(): void {
    if (this.#watch || this.#closed) return;
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

  /** Stops watching and lets waiting readers go. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#rewatch);
    this.events.close();
    this.catalog.close();
    const watch = await this.#watch;
    await watch?.close();
  }

  async #startWatch(): Promise<Watch | null> {
    await this.events.begin();
    const watch = await this.storage.watch((batch) => this.#changed(batch));
    if (this.#closed || !watch) {
      if (!this.#closed) this.#watchLost();
      await watch?.close();
      return null;
    }
    this.#files.setLive(true);
    this.catalog.setLive(true);
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
    this.#log(
      "WARN",
      `Cannot watch ${this.path}: changes made by other programs are found by looking at each request.`,
    );
    this.#watch = null;
    this.#rewatch = setTimeout(() => this.watch(), rewatchMs);
    // A waiting timer must not keep a process alive; runtimes without processes have no unref.
    (this.#rewatch as { unref?: () => void }).unref?.();
  }
}

/** What the server remembers of its workspaces over a restart (I96). */
interface Remembered {
  /** The ids that were configured when this was written: another set of workspaces starts afresh. */
  configured: string[];
  active: string | null;
  deleted: string[];
}

const rememberedPath = "workspaces.json";

/** The list of workspaces: which there are, which is active, which may be used. */
export class WorkspaceRegistry {
  readonly #host: Host;
  readonly #configured: string[];
  #list: Workspace[];
  #roots: string[];
  #deleted: string[] = [];

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
    if (!workspace)
      throw new ApiError("workspace_not_found", `There is no workspace ${JSON.stringify(id.slice(0, 80))}.`);
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
  async activate(workspace: Workspace): Promise<void> {
    this.#list = [workspace, ...this.#list.filter((other) => other !== workspace)];
    await this.#remember();
  }

  /** Takes a workspace (never its files) and its exact path from the list, remembered over restarts. */
  async delete(workspace: Workspace): Promise<void> {
    this.#list = this.#list.filter((other) => other !== workspace);
    this.#roots = this.#roots.filter((root) => root !== workspace.path);
    this.#deleted.push(workspace.id);
    await this.#remember();
    await workspace.close();
  }

  /** Stops all watches. */
  async close(): Promise<void> {
    await Promise.all(this.#list.map((workspace) => workspace.close()));
  }

  #authorized(workspace: Workspace): boolean {
    return this.#roots.some((root) => isInside(root, workspace.path));
  }

  async #remember(): Promise<void> {
    const remembered: Remembered = {
      configured: this.#configured,
      active: this.active?.id ?? null,
      deleted: this.#deleted,
    };
    const body = new TextEncoder().encode(`${JSON.stringify(remembered, null, 2)}\n`);
    await this.#host.data.commit([{ op: "write", path: rememberedPath, body }]);
  }

  async #recall(): Promise<void> {
    const remembered = await this.#readRemembered();
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

  async #readRemembered(): Promise<Remembered | null> {
    const file = await this.#host.data.readFile(rememberedPath, { maxBytes: 1024 * 1024 });
    if (!file) return null;
    try {
      // A checked boundary: each part is checked below before it is used.
      const value = JSON.parse(new TextDecoder().decode(file.bytes)) as Partial<Remembered> | null;
      const { configured, active, deleted } = value ?? {};
      if (!Array.isArray(configured) || !Array.isArray(deleted)) return null;
      const same =
        configured.length === this.#configured.length &&
        this.#configured.every((id) => configured.includes(id));
      return same ? { configured, deleted, active: typeof active === "string" ? active : null } : null;
    } catch {
      this.#host.log(
        "WARN",
        `${this.#host.data.location}/${rememberedPath} is not JSON; the configured order of workspaces is used.`,
      );
      return null;
    }
  }
}
