import type { ReadableStorage } from "./storage.ts";

type Files = Pick<ReadableStorage, "stat" | "list" | "readFile">;

/** The reads a loader may do; each becomes something the cached value depends on. */
export interface CacheView {
  /** The workspace's own files. */
  readonly files: Files;
  /** Another storage (parent folders, the user's files): checked by revision. */
  other(storage: ReadableStorage): Files;
}

/** Values parsed from files, kept until one of the files changes. */
export interface ParsedCache {
  /** The value for a key, loaded again only when something it was read from changed. The value is shared: never mutate it. */
  get<T>(key: string, load: (view: CacheView) => Promise<T>): Promise<T>;
}

interface Dependency {
  storage: ReadableStorage;
  path: string;
  revision: string | null;
}

interface CacheEntry {
  value: Promise<unknown>;
  own: Dependency[];
  others: Dependency[];
  /** When the dependencies were last known to be right, by the host's monotonic clock. */
  checkedAt: number;
  stale: boolean;
  loading: boolean;
}

/** How long a file outside the workspace, which no watch covers, is trusted. Below the 300 ms that users are promised. */
const trustOthersMs = 200;

/**
 * The cache of one workspace. While a watch is live its reports (and our own commits) say what is stale;
 * without one every request checks the revisions of all that a value was read from.
 */
export class FileCache implements ParsedCache {
  readonly #storage: ReadableStorage;
  readonly #entries = new Map<string, CacheEntry>();
  #live = false;

  constructor(storage: ReadableStorage) {
    this.#storage = storage;
  }

  /** Says whether every change below the root will be reported through {@link invalidate}. */
  setLive(live: boolean): void {
    this.#live = live;
    this.invalidateAll();
  }

  /** Marks what depends on one of the paths, or lies in or around it, as stale. */
  invalidate(paths: readonly string[]): void {
    for (const entry of this.#entries.values()) {
      if (entry.stale) continue;
      // While a load runs its dependencies are not all known yet.
      if (
        entry.loading ||
        entry.own.some((dependency) => paths.some((path) => touches(path, dependency.path)))
      ) {
        entry.stale = true;
      }
    }
  }

  /** Marks everything as stale. */
  invalidateAll(): void {
    for (const entry of this.#entries.values()) entry.stale = true;
  }

  async get<T>(key: string, load: (view: CacheView) => Promise<T>): Promise<T> {
    const entry = this.#entries.get(key);
    // One key always has one loader, hence one type.
    if (entry && !entry.stale && (await this.#fresh(entry))) return entry.value as Promise<T>;
    return this.#load(key, load);
  }

  #load<T>(key: string, load: (view: CacheView) => Promise<T>): Promise<T> {
    const own: Dependency[] = [];
    const others: Dependency[] = [];
    const view: CacheView = {
      files: recording(this.#storage, own),
      other: (storage) => recording(storage, others),
    };
    const value = load(view);
    const entry: CacheEntry = {
      value,
      own,
      others,
      checkedAt: performance.now(),
      stale: false,
      loading: true,
    };
    this.#entries.set(key, entry);
    value.then(
      () => {
        entry.loading = false;
      },
      () => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
      },
    );
    return value;
  }

  async #fresh(entry: CacheEntry): Promise<boolean> {
    if (entry.loading) return true;
    const now = performance.now();
    const checkOthers = entry.others.length > 0 && now - entry.checkedAt > trustOthersMs;
    if (this.#live && !checkOthers) return true;
    const checks = this.#live ? entry.others : [...entry.own, ...entry.others];
    for (const { storage, path, revision } of checks) {
      const current = await storage.stat(path).catch(() => null);
      if ((current?.revision ?? null) !== revision) {
        entry.stale = true;
        return false;
      }
    }
    entry.checkedAt = now;
    return !entry.stale;
  }
}

function touches(changed: string, dependency: string): boolean {
  if (changed === dependency || changed === "" || dependency === "") return true;
  // A directory that came, went or moved takes what is below with it; a child that did changes its directory's list.
  return dependency.startsWith(`${changed}/`) || changed.startsWith(`${dependency}/`);
}

function recording(storage: ReadableStorage, dependencies: Dependency[]): Files {
  const note = (path: string, revision: string | null): void => {
    dependencies.push({ storage, path, revision });
  };
  return {
    async stat(path) {
      const entry = await storage.stat(path);
      note(path, entry?.revision ?? null);
      return entry;
    },
    async list(path) {
      // The revision is taken first: a name that comes in between makes the value stale, never wrong.
      const entry = await storage.stat(path);
      note(path, entry?.revision ?? null);
      return entry ? storage.list(path) : null;
    },
    async readFile(path, options) {
      const file = await storage.readFile(path, options);
      note(path, file?.entry.revision ?? null);
      return file;
    },
  };
}
