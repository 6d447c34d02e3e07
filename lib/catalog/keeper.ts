import { DirectoryQueue } from "./directory-queue.ts";
import { CatalogIndex } from "./index.ts";
import { Slices } from "../slices.ts";
import {
  compareCodePoints,
  StorageError,
  type Change,
  type Entry,
  type ReadableStorage,
} from "../storage.ts";

/** What happened to a file or directory. A `delete` or `rename` of a directory covers everything below it. */
export interface FileChange {
  type: "write" | "delete" | "rename" | "mkdir";
  path: string;
  /** The new path, of renames. */
  toPath?: string;
  /** The new revision, of writes and of files that were renamed through us: a name of its own gives a file another one. */
  revision?: string;
}

type Source = Pick<ReadableStorage, "stat" | "list" | "walk">;

/** Part of a directory: what was known of it, and what is found there now. */
interface Piece {
  known: readonly Entry[];
  found: readonly Entry[];
}

/** Beyond this many reports at once it is quicker, and takes less memory, to look at everything. */
const mostReports = 200_000;
/** A directory that could not be looked into is tried again after this long, milliseconds. */
const retryMs = 1000;
/** So many entries of a directory are compared in one go. */
const pieceSize = 1000;

/**
 * Keeps a {@link CatalogIndex} true to a storage. Reports say only *where* to look; what is there is read from
 * the storage, compared with the index, and each difference is raised once. Directories are looked into one
 * after another, so nothing that was read earlier ever overwrites what was read later.
 */
export class CatalogKeeper {
  readonly index: CatalogIndex = new CatalogIndex();
  readonly #source: Source;
  readonly #raise: (change: FileChange) => void;
  readonly #queue = new DirectoryQueue();
  /** Directories that the storage failed at; they are due again when the timer ends. */
  readonly #failed = new DirectoryQueue();
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Our own commits come before reports: their callers wait. */
  readonly #urgent: (() => Promise<void>)[] = [];
  readonly #held = new Set<readonly string[]>();
  #waiting: string[] = [];
  readonly #idle: (() => void)[] = [];
  #built = false;
  #running = false;
  #closed = false;

  constructor(source: Source, raise: (change: FileChange) => void) {
    this.#source = source;
    this.#raise = raise;
  }

  /** Fills the index, then looks at what was reported meanwhile. */
  async build(): Promise<void> {
    for await (const batch of this.#source.walk("")) {
      if (this.#closed) return;
      this.index.put(batch);
    }
    this.#built = true;
    this.#kick();
    await this.settled();
  }

  /** Looks at paths that may have changed, soon. */
  report(paths: readonly string[]): void {
    if (paths.length > mostReports) return this.reportAll();
    const now = this.#held.size === 0 ? paths : this.#sortOut(paths);
    // Directories first: what lies below a new one is found with it.
    const sorted = now.length > 1 ? now.toSorted((a, b) => a.length - b.length) : now;
    for (const path of sorted) {
      const { dir, name } = split(path);
      this.#queue.add(dir, [name]);
    }
    this.#kick();
  }

  /** Looks at everything, soon. */
  reportAll(): void {
    this.#queue.clear();
    this.#queue.add("", null);
    this.#kick();
  }

  /** Resolves when nothing is left to look at. */
  settled(): Promise<void> {
    if (!this.#busy()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }

  /**
   * Puts off reports about paths that a commit of ours is changing, so that it is told once and as what it is:
   * a rename, not a deletion and a new file. Returns what ends it.
   */
  hold(changes: readonly Change[]): () => void {
    const paths = changes.flatMap(pathsOf);
    this.#held.add(paths);
    return () => {
      this.#held.delete(paths);
      const waiting = this.#waiting;
      this.#waiting = [];
      if (waiting.length > 0) this.report(waiting);
    };
  }

  /** Takes in what a commit of ours changed. Done when the events are raised; while the index is being built it only takes note. */
  async own(changes: readonly Change[]): Promise<void> {
    if (!this.#built) return this.report(changes.flatMap(pathsOf));
    await new Promise<void>((resolve) => {
      // What cannot be taken in now is looked at again like anybody's change.
      const take = (): Promise<void> =>
        this.#takeIn(changes).catch(() => this.#failAt(changes.flatMap(pathsOf)));
      this.#urgent.push(() => take().finally(resolve));
      this.#kick();
    });
  }

  /** Stops looking. */
  close(): void {
    this.#closed = true;
    this.#queue.clear();
    clearTimeout(this.#retry);
    this.#kick();
  }

  #busy(): boolean {
    const isDue = !this.#closed && !this.#queue.isEmpty;
    return this.#running || isDue || this.#urgent.length > 0;
  }

  #sortOut(paths: readonly string[]): string[] {
    const now: string[] = [];
    for (const path of paths) {
      const held = [...this.#held].some((list) => list.some((one) => touches(one, path)));
      (held ? this.#waiting : now).push(path);
    }
    return now;
  }

  #failAt(paths: readonly string[]): void {
    for (const path of paths) {
      const { dir, name } = split(path);
      this.#fail(dir, [name]);
    }
  }

  /** Puts off a look that the storage failed at: what could not be seen must not be missing for good. */
  #fail(dir: string, names: Iterable<string> | null): void {
    this.#failed.add(dir, names);
    if (this.#closed) return;
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      for (let look = this.#failed.next(); look; look = this.#failed.next()) this.#queue.add(...look);
      this.#kick();
    }, retryMs);
    // A waiting timer must not keep a process alive; runtimes without processes have no unref.
    (this.#retry as { unref?: () => void }).unref?.();
  }

  #kick(): void {
    if (this.#running || !this.#built) return;
    this.#running = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    const slices = new Slices();
    for (;;) {
      // A storage that fails leaves the index as it was for now; whoever asks for the file itself is told why.
      const urgent = this.#urgent.shift();
      if (urgent) await urgent().catch(() => undefined);
      else {
        // A directory that is being looked at asks for those below it, also when nobody wants to know any more.
        const next = this.#closed ? null : this.#queue.next();
        if (!next) break;
        const [dir, names] = next;
        await this.#look(dir, names).catch(() => this.#fail(dir, names));
      }
      await slices.breathe();
    }
    this.#running = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #takeIn(changes: readonly Change[]): Promise<void> {
    // What is written in one directory, one after another, is looked at in one go: its events keep the order.
    let dir = "";
    let names = new Set<string>();
    const lookAtThem = async (): Promise<void> => {
      const these = names;
      names = new Set();
      if (these.size > 0) await this.#look(dir, these);
    };
    for (const change of changes) {
      const place = split(change.op === "move" ? change.to : change.path);
      const isNext = change.op === "write" && !names.has(place.name);
      if (!isNext || place.dir !== dir) await lookAtThem();
      await this.#knowParents(change.op === "move" ? change.to : change.path);
      if (isNext) {
        ({ dir } = place);
        names.add(place.name);
      } else await this.#takeInOne(change);
    }
    await lookAtThem();
  }

  async #takeInOne(change: Change): Promise<void> {
    const target = change.op === "move" ? change.to : change.path;
    if (change.op === "move" && this.index.get(change.from) && this.index.isDir(split(target).dir)) {
      const now = await this.#entry(target);
      // In one go with the event, so that nobody sees the one without the other.
      this.index.move(change.from, target);
      if (now) this.index.put([now]);
      const revision = now?.kind === "file" ? { revision: now.revision } : {};
      this.#raise({ type: "rename", path: change.from, toPath: target, ...revision });
      await this.#refresh(split(change.from).dir);
      await this.#refresh(split(target).dir);
    } else if (change.op === "mkdir" && this.index.isDir(target)) {
      // Each operation has its event (wire contract, 10.13), also one that found things as they were to be.
      this.#raise({ type: "mkdir", path: target });
    } else {
      for (const path of pathsOf(change)) {
        const { dir, name } = split(path);
        await this.#look(dir, new Set([name]));
      }
    }
  }

  /** A commit makes the parents it needs: they are part of its event, so they enter the index without one. */
  async #knowParents(path: string): Promise<void> {
    for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) {
      const dir = path.slice(0, slash);
      if (!this.index.isDir(dir) && !(await this.#refresh(dir))) return;
    }
  }

  /** What is at a path now, when it is a file or directory. */
  async #entry(path: string): Promise<Entry | undefined> {
    const { dir, name } = split(path);
    return (await this.#list(dir, new Set([name])))?.[0];
  }

  /** Reads one entry anew without raising anything; false when it is no file or directory. */
  async #refresh(path: string): Promise<boolean> {
    if (path === "") return true;
    const entry = await this.#entry(path);
    if (entry) this.index.put([entry]);
    return entry !== undefined;
  }

  /** The children of a directory, all or some; null when it is none. One that may not be read has none. */
  async #list(dir: string, names: ReadonlySet<string> | null): Promise<Entry[] | null> {
    try {
      const entries = await this.#source.list(dir, names ? { names } : {});
      if (!entries || !names) return entries;
      return entries.filter((entry) => names.has(split(entry.path).name));
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      // When the root itself may not be read, nothing is known of the files: they are not gone.
      if (error.code === "denied" && dir !== "") return [];
      if (error.code === "outside" || error.code === "not_a_directory") return null;
      throw error;
    }
  }

  async #look(dir: string, names: ReadonlySet<string> | null): Promise<void> {
    const parent = split(dir);
    // An unknown directory is found by looking at it from above, and then as a whole.
    if (!this.index.isDir(dir)) return this.#queue.add(parent.dir, [parent.name]);
    const now = await this.#list(dir, names);
    if (now === null && dir !== "") return this.#queue.add(parent.dir, [parent.name]);
    const self = dir === "" ? null : await this.#source.stat(dir);
    await this.#compare(dir, names, now ?? []);
    if (self?.kind === "dir") this.index.put([{ ...self, path: dir }]);
  }

  /** Takes over what a directory holds now, a large one piece by piece; nothing else changes the index in between. */
  async #compare(dir: string, names: ReadonlySet<string> | null, now: readonly Entry[]): Promise<void> {
    const slices = new Slices();
    for (const { known, found } of names ? this.#byName(dir, names, now) : this.#inOrder(dir, now)) {
      this.#takeOver(known, found);
      await slices.breathe();
    }
  }

  *#byName(dir: string, names: ReadonlySet<string>, now: readonly Entry[]): Generator<Piece> {
    const entries = new Map(now.map((entry) => [split(entry.path).name, entry]));
    const all = [...names];
    for (let at = 0; at < all.length; at += pieceSize) {
      const some = all.slice(at, at + pieceSize);
      const found = some.map((name) => entries.get(name)).filter((entry) => entry !== undefined);
      yield { known: this.#known(dir, some), found };
    }
  }

  *#inOrder(dir: string, now: readonly Entry[]): Generator<Piece> {
    const sorted = now.toSorted((a, b) => compareCodePoints(a.path, b.path));
    let after: string | undefined;
    for (let at = 0; at === 0 || at < sorted.length; at += pieceSize) {
      const found = sorted.slice(at, at + pieceSize);
      const last = split(found.at(-1)?.path ?? "").name;
      const upTo = at + pieceSize < sorted.length ? last : undefined;
      yield { known: this.index.children(dir, { after, upTo }), found };
      after = last;
    }
  }

  /** Takes over what is where these entries were known, raising the differences. */
  #takeOver(known: readonly Entry[], now: readonly Entry[]): void {
    const before = new Map(known.map((entry) => [entry.path, entry]));
    const changed: Entry[] = [];
    const raised: FileChange[] = [];
    for (const entry of now) {
      const old = before.get(entry.path);
      before.delete(entry.path);
      const same = old?.kind === entry.kind;
      if (old && !same) {
        this.index.remove(old.path);
        raised.push({ type: "delete", path: old.path });
      }
      if (entry.kind === "dir") {
        if (!same) raised.push({ type: "mkdir", path: entry.path });
        // A directory that is reported may be another one of the same name.
        this.#queue.add(entry.path, null);
      }
      if (same && this.index.holds(entry)) continue;
      changed.push(entry);
      if (entry.kind === "file") raised.push({ type: "write", path: entry.path, revision: entry.revision });
    }
    for (const path of before.keys()) {
      this.index.remove(path);
      this.#raise({ type: "delete", path });
    }
    this.index.put(changed);
    for (const change of raised) this.#raise(change);
  }

  #known(dir: string, names: readonly string[]): Entry[] {
    const known: Entry[] = [];
    for (const name of names) {
      const entry = this.index.get(dir === "" ? name : `${dir}/${name}`);
      if (entry) known.push(entry);
    }
    return known;
  }
}

function split(path: string): { dir: string; name: string } {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? { dir: "", name: path } : { dir: path.slice(0, slash), name: path.slice(slash + 1) };
}

function pathsOf(change: Change): string[] {
  return change.op === "move" ? [change.from, change.to] : [change.path];
}

function touches(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}
