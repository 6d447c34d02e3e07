import { mkdtempSync, readdirSync, lstatSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStorage, type DiskOptions } from "../../adapters/storage/disk.ts";
import type { ServerConfig } from "../../lib/host.ts";
import { compareCodePoints } from "../../lib/storage.ts";
import {
  configOf,
  startMemoryServer,
  workspaceAt,
  type Client,
  type Exchange,
  type MemoryHost,
  type RequestOptions,
} from "../support/memory-host.ts";
import type { Handler } from "../../handlers/index.ts";

/** A catalog event as clients see it. */
export interface Event {
  id: string;
  seq: number;
  type: "write" | "delete" | "rename" | "mkdir";
  path: string;
  toPath?: string;
  revision?: string;
}

/** A catalog item as clients see it. */
export interface Item {
  path: string;
  kind: "file" | "dir";
  size: number;
  mtimeMs: number;
  revision: string;
}

/** A client with an open file session. */
export class SessionClient {
  readonly client: Client;
  readonly workspace: string;
  readonly path: string;
  readonly options: RequestOptions;

  private constructor(client: Client, workspace: string, path: string, options: RequestOptions) {
    this.client = client;
    this.workspace = workspace;
    this.path = path;
    this.options = options;
  }

  static async open(
    client: Client,
    workspace: string,
    options: RequestOptions = {},
    body: unknown = {},
  ): Promise<SessionClient> {
    const opened = await client.post(`/workspace/${workspace}/files/sessions`, body, options);
    if (opened.status !== 200) throw new Error(opened.text);
    return new SessionClient(client, workspace, `/files/sessions/${opened.json.session.id}`, options);
  }

  snapshot(query = ""): Promise<Exchange> {
    return this.client.get(`${this.path}/catalog/snapshot?${query}`, this.options);
  }

  events(query = ""): Promise<Exchange> {
    return this.client.get(`${this.path}/catalog/events?${query}`, this.options);
  }

  read(...paths: string[]): Promise<Exchange> {
    return this.client.post(`${this.path}/read-batch`, { paths }, this.options);
  }

  write(...writes: unknown[]): Promise<Exchange> {
    return this.client.post(`${this.path}/write-batch`, { writes }, this.options);
  }

  ops(...operations: unknown[]): Promise<Exchange> {
    return this.client.post(`${this.path}/ops`, { operations }, this.options);
  }

  /** Everything, page by page. */
  async all(query = "", limit = 2000): Promise<Item[]> {
    const items: Item[] = [];
    for (let after = ""; ;) {
      const { json } = await this.snapshot(`limit=${limit}&${after}&${query}`);
      items.push(...json.items);
      if (!json.truncated) return items;
      after = `after=${encodeURIComponent(json.nextAfter)}`;
    }
  }

  /** All events after a cursor. */
  async allEvents(since: number): Promise<Event[]> {
    const events: Event[] = [];
    for (let cursor = since; ;) {
      const { json } = await this.events(`since=${cursor}`);
      if (json.reset) throw new Error("events were dropped");
      events.push(...json.items);
      if (json.items.length === 0) return events;
      cursor = json.cursor;
    }
  }
}

/** Base64 of a text. */
export function b64(text: string): string {
  return Buffer.from(text).toString("base64");
}

/** A running handler over a fresh directory on the real disk, removed by `stop`. */
export interface DiskServer {
  client: Client;
  handler: Handler;
  host: MemoryHost;
  workspace: string;
  dir: string;
  stop(): Promise<void>;
}

export async function startDiskServer(
  options: DiskOptions = {},
  config: Partial<ServerConfig> = {},
): Promise<DiskServer> {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "openwork-files-")));
  const settings = configOf({ ...config, workspaces: [workspaceAt(dir)] });
  const { client, handler, host, workspace } = await startMemoryServer(settings, {
    storage: () => createDiskStorage(dir, options),
  });
  return {
    client,
    handler,
    host,
    workspace,
    dir,
    async stop() {
      await handler.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** What `find` would list: files and directories by path, `true` for directories; links and special files left out. */
export function find(dir: string, below = ""): Map<string, boolean> {
  const found = new Map<string, boolean>();
  for (const name of readdirSync(join(dir, below))) {
    const path = below === "" ? name : `${below}/${name}`;
    const stats = lstatSync(join(dir, path), { throwIfNoEntry: false });
    // A name that is not UTF-8 cannot be told in a path.
    if (!stats) continue;
    if (stats.isFile()) found.set(path, false);
    if (!stats.isDirectory()) continue;
    found.set(path, true);
    for (const [inner, isDir] of find(dir, path)) found.set(inner, isDir);
  }
  return new Map([...found].toSorted(([a], [b]) => compareCodePoints(a, b)));
}

/** A catalog as {@link find} shows a tree. */
export function shape(items: readonly Item[]): Map<string, boolean> {
  return new Map(items.map((item) => [item.path, item.kind === "dir"]));
}

/** Applies events as a client does: a write or mkdir implies the directories above, a delete or rename what is below. */
export function replay(tree: Map<string, boolean>, events: readonly Event[]): void {
  const below = (path: string): string[] =>
    [...tree.keys()].filter((key) => key === path || key.startsWith(`${path}/`));
  const parents = (path: string): void => {
    for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1))
      tree.set(path.slice(0, at), true);
  };
  for (const { type, path, toPath = "" } of events) {
    if (type === "write" || type === "mkdir") {
      parents(path);
      tree.set(path, type === "mkdir");
    } else if (type === "delete") for (const key of below(path)) tree.delete(key);
    else {
      parents(toPath);
      const moved = below(path).map(
        (key) => [toPath + key.slice(path.length), tree.get(key) === true] as const,
      );
      for (const key of [...below(path), ...below(toPath)]) tree.delete(key);
      for (const [key, isDir] of moved) tree.set(key, isDir);
    }
  }
}

/** A tree in order, to be compared. */
export function sorted(tree: ReadonlyMap<string, boolean>): [string, boolean][] {
  return [...tree].toSorted(([a], [b]) => compareCodePoints(a, b));
}

/** Waits until a check passes; its last failure when it does not in time. */
export async function eventually(check: () => Promise<void> | void, ms = 8000): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
