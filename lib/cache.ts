import type { Awaitable } from "./awaitable.ts";
import type { Entry, ReadableStorage } from "./storage.ts";

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
  /**
   * The value for a key, loaded again only when something it was read from changed; no promise while it is known to be
   * right. The value is shared: never mutate it.
   */
  get<T>(key: string, load: (view: CacheView) => Promise<T>): Awaitable<T>;
}

interface Dependency {
  storage: ReadableStorage;
  path: string;
  revision: string | null;
}

interface CacheEntry {
  /** A promise while it is being loaded. */
  value: unknown;
  own: Dependency[];
  others: Dependency[];
  /** When the dependencies were last known to be right, by the host's monotonic clock. */
  checkedAt: number;
  /** How long that check took, milliseconds. */
  checkMs: number;
  /** A check that is under way; requests that come meanwhile share it. */
  checking: Promise<boolean> | null;
  /** While a load runs its dependencies are not all known yet. What is stale stays so: a new entry takes its place. */
  state: "loading" | "ready" | "stale";
}

/**
 * While a watch is live a value is trusted for this many times as long as its check takes, and a millisecond at
 * least: a tenth of the time at most goes to checks, and what another program wrote shows all but at once.
 */
const trustFactor = 10;
const leastTrustMs = 1;
/** Stands for the revision of what the storage refuses to look at. */
const refused = "refused";

/**
 * The cache of one workspace. Our own commits and the reports of a live watch say at once what is stale. Besides,
 * the revisions of all that a value was read from are checked: rarely under load while a watch is live, and by
 * every request without one.
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
      const depends = (path: string): boolean => entry.own.some((one) => touches(path, one.path));
      if (entry.state === "loading" || (entry.state === "ready" && paths.some(depends)))
        entry.state = "stale";
    }
  }

  /** Marks everything as stale. */
  invalidateAll(): void {
    for (const entry of this.#entries.values()) entry.state = "stale";
  }

  get<T>(key: string, load: (view: CacheView) => Promise<T>): Awaitable<T> {
    const entry = this.#entries.get(key);
    const fresh = entry ? this.#fresh(entry) : false;
    if (!entry || fresh === false) return this.#load(key, load);
    // One key always has one loader, hence one type.
    return fresh === true ? (entry.value as Awaitable<T>) : this.#checked(key, load, entry, fresh);
  }

  async #checked<T>(
    key: string,
    load: (view: CacheView) => Promise<T>,
    entry: CacheEntry,
    fresh: Promise<boolean>,
  ): Promise<T> {
    if (await fresh) return entry.value as Awaitable<T>;
    const newer = this.#entries.get(key);
    // Who found out first loads again, for all who found out with it.
    return newer && newer !== entry ? this.get(key, load) : this.#load(key, load);
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
      checkMs: 0,
      checking: null,
      state: "loading",
    };
    this.#entries.set(key, entry);
    value.then(
      (loaded) => {
        entry.value = loaded;
        if (entry.state === "loading") entry.state = "ready";
      },
      () => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
      },
    );
    return value;
  }

  #fresh(entry: CacheEntry): boolean | Promise<boolean> {
    if (entry.state === "stale") return false;
    if (entry.state === "loading") return this.#live || checkLoaded(entry);
    const trusted = Math.max(leastTrustMs, entry.checkMs * trustFactor);
    if (this.#live && performance.now() - entry.checkedAt < trusted) return true;
    // Without a watch a request must see what was written before it came: it cannot share an older check.
    if (!this.#live) return check(entry);
    entry.checking ??= check(entry).finally(() => {
      entry.checking = null;
    });
    return entry.checking;
  }
}

/** A load that began before a request came may have read what was there before that. */
async function checkLoaded(entry: CacheEntry): Promise<boolean> {
  await Promise.allSettled([entry.value]);
  return check(entry);
}

/** Compares the revisions of all that a value was read from with those of now. */
async function check(entry: CacheEntry): Promise<boolean> {
  const started = performance.now();
  for (const { storage, path, revision } of [...entry.own, ...entry.others]) {
    const current = await storage.stat(path).then(
      (found) => found?.revision ?? null,
      () => refused,
    );
    if (current !== revision) {
      entry.state = "stale";
      return false;
    }
  }
  entry.checkedAt = performance.now();
  entry.checkMs = entry.checkedAt - started;
  return entry.state !== "stale";
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
  async function look(path: string): Promise<Entry | null> {
    // What is refused (a link that leads out) is depended on as well: a loader may take it for nothing there.
    const entry = await storage.stat(path).catch((error: unknown) => {
      note(path, refused);
      throw error;
    });
    note(path, entry?.revision ?? null);
    return entry;
  }
  return {
    stat: look,
    // The revision is taken first: a name that comes in between makes the value stale, never wrong.
    list: async (path) => ((await look(path)) ? storage.list(path) : null),
    async readFile(path, options) {
      const file = await storage.readFile(path, options);
      note(path, file?.entry.revision ?? null);
      return file;
    },
  };
}
