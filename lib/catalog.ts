import { IgnoreRules } from "./catalog/ignore.ts";
import { CatalogKeeper, type FileChange } from "./catalog/keeper.ts";
import type { Selection, Verdict } from "./catalog/chunks.ts";
import type { CatalogIndex } from "./catalog/index.ts";
import { EventNumbers } from "./event-numbers.ts";
import { Feed, type FeedPage, type Numbered } from "./feed.ts";
import { Slices } from "./slices.ts";
import type { Change, Entry, Storage } from "./storage.ts";

/** A numbered change of a file or directory, whoever made it. */
export interface FileEvent extends Numbered, FileChange {
  /** When it was noticed, milliseconds since the epoch. */
  timestamp: number;
}

/** Which part of the catalog is wanted. */
export interface CatalogQuery {
  /** This entry and everything below it; absent: everything. */
  prefix?: string;
  /** Only entries whose path comes later in code-point order. */
  after?: string;
  /** Directories too. */
  dirs: boolean;
  /** Also what the ignore rules leave out. */
  ignored: boolean;
  /** Most entries of the page. */
  limit: number;
}

/** A page of the catalog. */
export interface CatalogPage {
  /** Event number of this moment: what changes later has a higher one. */
  cursor: number;
  /** How many entries match, this page and later ones. */
  total: number;
  truncated: boolean;
  items: Entry[];
}

/** What a catalog needs of its workspace. */
export interface CatalogOptions {
  workspaceId: string;
  storage: Storage;
  /** The data directory, where event numbers are remembered. */
  data: Storage;
}

/** How many events are kept for readers that fall behind. */
const keptEvents = 50_000;
/** Without a watch a reader's request looks again at most this often, milliseconds, and while it waits as often. */
const rescanMs = 500;
/** How long building waits for a watch that is being started, milliseconds. */
const watchPatienceMs = 1000;
/** How long somebody who will follow the changes is kept waiting for the index, milliseconds. */
const followPatienceMs = 2000;
/** Ignore rules are applied for this long at a time, milliseconds. */
const judgeMs = 8;

/**
 * The index of a workspace's files and the feed of their changes. Built when first asked for, then kept
 * current by the watch and by our own commits; without a watch every request looks again (I44, I45).
 */
export class Catalog {
  readonly #options: CatalogOptions;
  readonly #numbers: EventNumbers;
  #keeper: CatalogKeeper | null = null;
  #feed: Feed<FileEvent> | null = null;
  #ready: Promise<CatalogIndex> | null = null;
  #built = false;
  /** Somebody who will ask for changes was let go before there was an index to tell them from. */
  #owesReset = false;
  #live = false;
  #watchStarted: Promise<unknown> = Promise.resolve();
  /** A walk is under way that began before there was a watch. */
  #unwatchedWalk = false;
  /** How many verdicts of the ignore rules had turned when it was looked last, and the newest event at that time. */
  #turned = 0;
  #turnedAt = 0;
  #rescan: Promise<void> | null = null;
  #rescanned = Number.NEGATIVE_INFINITY;
  #rescanTook = 0;
  #closed = false;

  constructor(options: CatalogOptions) {
    this.#options = options;
    this.#numbers = new EventNumbers(options.data, options.workspaceId);
  }

  /** The index, once it is built and, without a watch, looked over again. */
  async current(): Promise<CatalogIndex> {
    const index = await (this.#ready ??= this.#build());
    if (!this.#live) await this.#lookAgain();
    return index;
  }

  /**
   * Says that a watch is being started. Building waits for it a moment: what is walked while it is watched need
   * not be looked at again.
   */
  expectWatch(started: Promise<unknown>): void {
    this.#watchStarted = started;
  }

  /** Resolves when there is an index: changes from now on raise events. */
  async ready(): Promise<void> {
    await (this.#ready ??= this.#build());
  }

  /**
   * Says that somebody will ask for the changes from now on. Resolves when there is an index to tell them from; on a
   * large tree it resolves before, and whoever asks from before the index was there is then told to start over.
   */
  async expectReader(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, followPatienceMs);
    });
    await Promise.race([this.ready(), patience]).finally(() => clearTimeout(timer));
    // What changes until the walk is through may be in the index as if it had always been so.
    if (!this.#built) this.#owesReset = true;
  }

  /** A page of entries in code-point order (I40). */
  async page(query: CatalogQuery): Promise<CatalogPage> {
    const index = await this.current();
    if (!query.ignored) await this.#applyIgnoreRules(index);
    const selection: Selection = { dirs: query.dirs, ignored: query.ignored };
    const ranges = rangesOf(index, query);
    const items: Entry[] = [];
    let total = 0;
    for (const [from, to] of ranges) {
      total += index.countBefore(to, selection) - index.countBefore(from, selection);
      for (const entry of index.slice(from, to, selection)) {
        if (items.length >= query.limit) break;
        items.push(entry);
      }
    }
    return { cursor: this.cursor, total, truncated: total > items.length, items };
  }

  /** All entries the ignore rules leave over, or simply all; the caller looks through them without a pause. */
  async entries(options: { ignored: boolean; below?: string }): Promise<Iterable<Entry>> {
    const index = await this.current();
    if (!options.ignored) await this.#applyIgnoreRules(index);
    const { below = "" } = options;
    const [from, to] = below === "" ? [0, index.size] : [index.rank(`${below}/`), index.rank(`${below}0`)];
    return index.slice(from, to, { dirs: true, ignored: options.ignored });
  }

  /** The number of the newest event; 0 before there is an index. */
  get cursor(): number {
    return this.#feed?.cursor ?? 0;
  }

  /** Whether the server has stopped: streams end. */
  get closed(): boolean {
    return this.#closed;
  }

  /** How many readers wait for events. */
  get waiting(): number {
    return this.#feed?.waiting ?? 0;
  }

  /** Events after a number; holds up to `waitMs` while there are none. */
  async events(
    since: number,
    waitMs: number,
    signal: AbortSignal,
    limit: number,
  ): Promise<FeedPage<FileEvent>> {
    await this.current();
    const end = performance.now() + waitMs;
    for (;;) {
      const feed = this.#feed;
      if (!feed) return { items: [], cursor: 0 };
      const left = end - performance.now();
      const page = await feed.wait(since, this.#live ? left : Math.min(left, rescanMs), signal, limit);
      const over = performance.now() >= end || signal.aborted || feed.closed;
      if (page.items.length > 0 || page.reset || over) return page;
      if (!this.#live) await this.#lookAgain();
    }
  }

  /**
   * A page of the events after a number, as it looks to somebody who sees only what the ignore rules leave over. What
   * was renamed to an ignored name is gone for him, and what had one is new. When rules let things in or leave things
   * out that were there already, no event tells of them: he is told to start over.
   */
  async withoutIgnored(since: number, page: FeedPage<FileEvent>): Promise<FeedPage<FileEvent>> {
    const index = await this.current();
    await this.#applyIgnoreRules(index);
    const isRename = page.items.some(({ type }) => type === "rename");
    const rules = isRename ? await IgnoreRules.load(this.#options.storage, index.ignoreFiles) : null;
    const items: FileEvent[] = [];
    let reset = since < this.#turnedAt;
    for (const event of page.items) {
      const { type, path, toPath } = event;
      if (rules && type === "rename" && toPath !== undefined) {
        const seen = renameSeen(
          event,
          toPath,
          (at, isDir) => index.verdictOf(at) ?? rules.verdict(at, isDir),
        );
        if (seen === "unknown") reset = true;
        else items.push(...seen);
      } else if (index.verdictOf(path) !== "ignored") items.push(event);
    }
    return reset ? { items: [], cursor: this.cursor, reset } : { ...page, items };
  }

  /** Says that the watch reported changes at these paths. */
  notice(paths: readonly string[]): void {
    this.#keeper?.report(paths);
  }

  /** Says that anything may have changed. */
  noticeAll(): void {
    this.#keeper?.reportAll();
  }

  /** Says whether every change will be reported from now on. What came before has to be looked for. */
  setLive(live: boolean): void {
    if (live && !this.#live && !this.#unwatchedWalk) this.noticeAll();
    this.#live = live;
  }

  /** Announces a commit of ours before it is made; what is returned says that it ended, whichever way. */
  hold(changes: readonly Change[]): () => void {
    return this.#keeper?.hold(changes) ?? (() => undefined);
  }

  /** Takes in what a commit of ours changed; its events are there when this returns. */
  async own(changes: readonly Change[]): Promise<void> {
    await this.#keeper?.own(changes);
  }

  /** Resolves when all that was reported so far has been looked at. */
  async settled(): Promise<void> {
    await this.#ready;
    await this.#keeper?.settled();
  }

  /** Lets waiting readers go and stops looking. */
  close(): void {
    this.#closed = true;
    this.#feed?.close();
    this.#keeper?.close();
  }

  async #build(): Promise<CatalogIndex> {
    try {
      const base = await this.#numbers.open();
      this.#feed = new Feed<FileEvent>(keptEvents, base);
      if (this.#closed) this.#feed.close();
      await sleepUntil(this.#watchStarted, watchPatienceMs);
      const keeper = new CatalogKeeper(this.#options.storage, (change) => this.#publish(change));
      // From here on reports are taken down, to be looked at when the walk is through.
      this.#keeper = keeper;
      if (this.#closed) keeper.close();
      const started = performance.now();
      this.#unwatchedWalk = !this.#live;
      await keeper.build();
      this.#built = true;
      if (this.#owesReset) this.#feed.reset();
      this.#rescanned = performance.now();
      this.#rescanTook = this.#rescanned - started;
      // Not awaited: the first page is what people wait for.
      if (this.#unwatchedWalk && this.#live) keeper.reportAll();
      return keeper.index;
    } catch (error) {
      this.#ready = null;
      this.#built = false;
      this.#keeper = null;
      throw error;
    } finally {
      this.#unwatchedWalk = false;
    }
  }

  #publish(change: FileChange): void {
    const event = this.#feed?.publish((seq) => ({ seq, ...change, timestamp: Date.now() }));
    if (event) this.#numbers.given(event.seq);
  }

  /** Looks at everything, together with others who want that; a look that is recent enough will do. */
  #lookAgain(): Promise<void> {
    this.#rescan ??= this.#lookAtAll().finally(() => {
      this.#rescan = null;
    });
    return this.#rescan;
  }

  async #lookAtAll(): Promise<void> {
    const keeper = this.#keeper;
    // A large tree must not be walked all the time: it is looked at as often as costs half a processor.
    const pause = Math.max(rescanMs / 2, this.#rescanTook);
    if (!keeper || this.#closed || performance.now() - this.#rescanned < pause) return;
    const started = performance.now();
    keeper.reportAll();
    await keeper.settled();
    this.#rescanned = performance.now();
    this.#rescanTook = this.#rescanned - started;
  }

  async #applyIgnoreRules(index: CatalogIndex): Promise<void> {
    const slices = new Slices();
    while (!index.judged) {
      // Rules that were read before an ignore file changed must not judge after it.
      const { rulesAge } = index;
      const rules = await IgnoreRules.load(this.#options.storage, index.ignoreFiles);
      const verdict = (path: string, isDir: boolean): Verdict => rules.verdict(path, isDir);
      while (index.rulesAge === rulesAge && !index.judge(verdict, judgeMs)) await slices.breathe();
      if (index.turned === this.#turned) continue;
      this.#turned = index.turned;
      this.#turnedAt = this.cursor;
    }
  }
}

/** Waits for a promise, whichever way it goes, but not for long. */
function sleepUntil(promise: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    promise
      .catch(() => undefined)
      .finally(() => {
        clearTimeout(timer);
        resolve();
      });
  });
}

/**
 * A rename as it looks to somebody who does not see what is ignored; `unknown` when it brings in a directory, of whose
 * contents no event tells. Events of files that were renamed have a revision.
 */
function renameSeen(
  event: FileEvent,
  toPath: string,
  verdictOf: (path: string, isDir: boolean) => Verdict,
): FileEvent[] | "unknown" {
  const { seq, path, timestamp, revision } = event;
  const isDir = revision === undefined;
  const wasSeen = verdictOf(path, isDir) === "kept";
  if (verdictOf(toPath, isDir) === "ignored")
    return wasSeen ? [{ type: "delete", seq, path, timestamp }] : [];
  if (wasSeen) return [event];
  return isDir ? "unknown" : [{ type: "write", seq, path: toPath, revision, timestamp }];
}

/** The ranks that a query asks for. What lies below a path does not always follow it: `a-b` comes before `a/b`. */
function rangesOf(index: CatalogIndex, query: CatalogQuery): [number, number][] {
  const { prefix, after } = query;
  const self = prefix === undefined ? 0 : index.rank(prefix);
  const ranges: [number, number][] =
    prefix === undefined
      ? [[0, index.size]]
      : [
          [self, index.get(prefix) ? self + 1 : self],
          [index.rank(`${prefix}/`), index.rank(`${prefix}0`)],
        ];
  if (after === undefined) return ranges;
  // The first path that can follow is the path itself and one more character, the lowest there is.
  const first = index.rank(`${after}\0`);
  return ranges.map(([from, to]) => [Math.max(from, Math.min(first, to)), to]);
}
