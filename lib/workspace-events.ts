import { parse } from "jsonc-parser";
import type { EventNumbers } from "./event-numbers.ts";
import { Feed, type FeedPage, type Numbered } from "./feed.ts";
import { readText, type Entry, type ReadableStorage } from "./storage.ts";

/** What of the agent's state changed. */
export type EventReason = "plugins" | "skills" | "mcp" | "config" | "agents" | "commands";

/** A change of the agent's state in a workspace, whoever made it (I98). */
export interface WorkspaceEvent extends Numbered {
  id: string;
  workspaceId: string;
  reason: EventReason;
  /** The files that changed, relative to the workspace. */
  paths: string[];
  /** When it was noticed, milliseconds since the epoch. */
  timestamp: number;
}

/** How many events are kept for readers that fall behind. */
const keptEvents = 500;
/** Without a watch a reader that waits has the files looked at this often, milliseconds. */
const rescanMs = 500;

const places: readonly (readonly [RegExp, EventReason])[] = [
  [/^\.opencode\/skills?(\/|$)/, "skills"],
  [/^\.claude\/skills(\/|$)/, "skills"],
  [/^\.opencode\/commands?(\/|$)/, "commands"],
  [/^\.opencode\/agents?(\/|$)/, "agents"],
  [/^\.opencode\/plugins?(\/|$)/, "plugins"],
  [/^\.opencode\/openwork\.json$/, "config"],
];
const configFiles = ["opencode.jsonc", "opencode.json"] as const;
/** Everything that may hold state of the agent. */
const allPlaces: readonly string[] = [...configFiles, ".opencode", ".claude/skills"];

/**
 * Turns changed paths into events about the agent's state. Both our own commits and the watch report
 * here, so a change may be reported twice: an event is raised only when the revision is news.
 */
export class WorkspaceEvents {
  readonly #workspaceId: string;
  readonly #storage: ReadableStorage;
  readonly #numbers: EventNumbers;
  readonly #feed = new Feed<WorkspaceEvent>(keptEvents);
  /** Revisions of the files that were there. */
  readonly #known = new Map<string, string>();
  #config: Record<string, string> = {};
  /** When the first and the last change was noticed that the engine has not seen. */
  #unseen: { since: number; last: number } | null = null;
  #queue: Promise<void> = Promise.resolve();
  #begun = false;
  #live = false;
  /** A look at everything is due that has not begun: another one would see nothing else. */
  #lookIsDue = false;

  constructor(workspaceId: string, storage: ReadableStorage, numbers: EventNumbers) {
    this.#workspaceId = workspaceId;
    this.#storage = storage;
    this.#numbers = numbers;
  }

  /** The number of the newest event. */
  get cursor(): number {
    return this.#feed.cursor;
  }

  /** Whether the server has stopped: streams end. */
  get closed(): boolean {
    return this.#feed.closed;
  }

  /** How many readers wait. */
  get waiting(): number {
    return this.#feed.waiting;
  }

  /**
   * Events after `since`, oldest first. Holds until there is something to tell, `waitMs` pass, the signal aborts or
   * the feed is closed. Without a watch the files are looked at for it.
   */
  async wait(since: number, waitMs: number, signal: AbortSignal): Promise<FeedPage<WorkspaceEvent>> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      if (!this.#live) this.noticeAll();
      await this.settled();
      // Timers take whole milliseconds: rounded down, each reader would come back for one more look.
      const left = Math.max(0, Math.ceil(deadline - performance.now()));
      const page = await this.#feed.wait(since, this.#live ? left : Math.min(left, rescanMs), signal);
      const isOver = performance.now() >= deadline || signal.aborted || this.#feed.closed;
      if (page.items.length > 0 || page.reset || isOver) return page;
    }
  }

  /** Says whether every change will be reported from now on. What came before has to be looked for. */
  setLive(live: boolean): void {
    this.#live = live;
    if (live) this.noticeAll();
  }

  /** Since when the engine works with an older state than the files have, milliseconds since the epoch; null: it does not. */
  get reloadRequiredSince(): number | null {
    return this.#unseen?.since ?? null;
  }

  /** Resolves when everything noticed so far has been looked at. */
  settled(): Promise<void> {
    return this.#queue;
  }

  /** The engine read everything anew, beginning at that moment: what changed before is no news to it. */
  reloaded(startedAt: number): void {
    if (!this.#unseen) return;
    this.#unseen = this.#unseen.last > startedAt ? { since: startedAt, last: this.#unseen.last } : null;
  }

  /** Takes note of what is there, so that only later changes are news. Once: a second call changes nothing. */
  begin(): Promise<void> {
    if (this.#begun) return this.settled();
    this.#begun = true;
    return this.#enqueue(async () => {
      this.#feed.startFrom(await this.#numbers.open());
      for (const [path, revision] of await this.#revisions(allPlaces)) {
        if (revision !== null) this.#known.set(path, revision);
      }
      this.#config = await this.#readConfig();
    });
  }

  /** Looks at paths that may have changed and raises events for those that did. */
  notice(paths: readonly string[]): void {
    const relevant = paths.filter(
      (path) => isConfigFile(path) || reasonOf(path) !== null || isAbovePlaces(path),
    );
    if (relevant.length > 0) void this.#enqueue(() => this.#look(relevant));
  }

  /** Looks at everything: the watch missed something. */
  noticeAll(): void {
    if (this.#lookIsDue) return;
    this.#lookIsDue = true;
    void this.#enqueue(() => {
      this.#lookIsDue = false;
      return this.#look(allPlaces);
    });
  }

  /** Lets waiting readers go. */
  close(): void {
    this.#feed.close();
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    // A storage that fails here is met again, and reported, by the request that reads it.
    this.#queue = this.#queue.then(work).catch(() => undefined);
    return this.#queue;
  }

  async #look(paths: readonly string[]): Promise<void> {
    const changed = new Map<EventReason, Set<string>>();
    const add = (reason: EventReason, path: string): void => {
      const set = changed.get(reason) ?? new Set();
      changed.set(reason, set.add(path));
    };
    let configPath: string | null = null;
    for (const [path, revision] of await this.#revisions(paths)) {
      if (revision === (this.#known.get(path) ?? null)) continue;
      if (revision === null) this.#known.delete(path);
      else this.#known.set(path, revision);
      const reason = reasonOf(path);
      if (isConfigFile(path)) configPath = path;
      else if (reason !== null) add(reason, path);
    }
    if (configPath !== null) for (const reason of await this.#configReasons()) add(reason, configPath);
    for (const [reason, files] of changed) this.#publish(reason, [...files].toSorted());
  }

  /** Revisions of the files at and below these paths; null for what is not there, or not any more. */
  async #revisions(paths: readonly string[]): Promise<Map<string, string | null>> {
    const found = new Map<string, string | null>();
    for (const path of paths) {
      const entry = await this.#storage.stat(path).catch(() => null);
      if (entry?.kind !== "dir") found.set(path, entry?.kind === "file" ? entry.revision : null);
      else for (const file of await this.#filesBelow(path)) found.set(file.path, file.revision);
    }
    const looked = new Set(paths);
    for (const path of this.#known.keys()) {
      if (!found.has(path) && parents(path).some((above) => looked.has(above))) found.set(path, null);
    }
    return found;
  }

  async #filesBelow(path: string): Promise<Entry[]> {
    const files: Entry[] = [];
    for await (const batch of this.#storage.walk(path, { skip: isPackages })) {
      for (const entry of batch)
        if (entry.kind === "file" && reasonOf(entry.path) !== null) files.push(entry);
    }
    return files;
  }

  async #configReasons(): Promise<Set<EventReason>> {
    const before = this.#config;
    this.#config = await this.#readConfig();
    const reasons = new Set<EventReason>();
    for (const key of new Set([...Object.keys(before), ...Object.keys(this.#config)])) {
      // It changes nothing, and the engine adds it by itself where it is missing.
      if (key !== "$schema" && before[key] !== this.#config[key]) reasons.add(keyReason(key));
    }
    return reasons;
  }

  async #readConfig(): Promise<Record<string, string>> {
    for (const path of configFiles) {
      const file = await readText(this.#storage, path).catch(() => null);
      if (!file) continue;
      const value: unknown = parse(file.text, [], { allowTrailingComma: true });
      if (value === null || typeof value !== "object") return { "": file.entry.revision };
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, JSON.stringify(part)]));
    }
    return {};
  }

  #publish(reason: EventReason, paths: string[]): void {
    const timestamp = Date.now();
    this.#unseen = { since: this.#unseen?.since ?? timestamp, last: timestamp };
    const { seq } = this.#feed.publish((seq) => ({
      id: crypto.randomUUID(),
      seq,
      workspaceId: this.#workspaceId,
      reason,
      paths,
      timestamp,
    }));
    this.#numbers.given(seq);
  }
}

function keyReason(key: string): EventReason {
  if (key === "plugin") return "plugins";
  if (key === "mcp") return "mcp";
  if (key === "agent") return "agents";
  return key === "command" ? "commands" : "config";
}

function reasonOf(path: string): EventReason | null {
  return places.find(([place]) => place.test(path))?.[1] ?? null;
}

/** The engine installs packages below .opencode; they are no state of the agent. */
function isPackages(dir: string): boolean {
  return dir.endsWith("/node_modules");
}

function isConfigFile(path: string): boolean {
  return path === configFiles[0] || path === configFiles[1];
}

/** The directories above a path, nearest first, without the root. */
function parents(path: string): string[] {
  const above: string[] = [];
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1))
    above.push(path.slice(0, at));
  return above;
}

function isAbovePlaces(path: string): boolean {
  return path === ".opencode" || path === ".claude";
}
