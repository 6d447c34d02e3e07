import { StorageError, storagePathParts } from "../../../lib/storage.ts";
import type { Change, Entry } from "../../../lib/storage.ts";
import {
  aDirectory,
  existsOtherwise,
  notAsExpected,
  notEmpty,
  notFound,
  occupied,
  throughAFile,
} from "../refusals.ts";

/** The part of a Durable Object's storage, or of a transaction on it, that is used. */
export interface KeyValue {
  get<T>(key: string): Promise<T | undefined>;
  get<T>(keys: string[]): Promise<Map<string, T>>;
  put(entries: Record<string, unknown>): Promise<void>;
  delete(keys: string[]): Promise<number>;
  list<T>(options: { prefix: string; limit?: number }): Promise<Map<string, T>>;
}

/** What is kept of a name. The bytes of a file lie in a blob of their own. */
export type Node = { mtimeMs: number; version: number } & (
  | { kind: "file"; blob: string; size: number }
  | { kind: "dir" }
);

/** How many keys the platform takes in one call. */
const mostKeys = 128;

/** Calls with the keys in groups that the platform takes. */
export async function inGroups<T>(
  items: readonly T[],
  call: (group: T[]) => Promise<unknown>,
): Promise<void> {
  for (let at = 0; at < items.length; at += mostKeys) await call(items.slice(at, at + mostKeys));
}

/** The entry that a node is at a path. */
export function entryOf(path: string, node: Node): Entry {
  const size = node.kind === "file" ? node.size : 0;
  const { kind, mtimeMs, version } = node;
  return { path, kind, size, mtimeMs, revision: `${version}:${size}` };
}

/** The longest path, in bytes: with prefix and mark it has to fit into a key. */
const longestPath = 1800;

/** A tree of names in a key-value store: one key per name, grouped by parent, so that a directory is one listing. */
export class Tree {
  readonly #kv: KeyValue;
  readonly #prefix: string;

  constructor(kv: KeyValue, prefix: string) {
    this.#kv = kv;
    this.#prefix = prefix;
  }

  /** What a path names; the root is there from the first. */
  async find(parts: readonly string[]): Promise<Node | undefined> {
    const node = await this.#kv.get<Node>(this.#key(parts));
    return node ?? (parts.length === 0 ? { kind: "dir", mtimeMs: 0, version: 0 } : undefined);
  }

  /** The children of a directory, in no stated order. */
  async children(path: string): Promise<[name: string, node: Node][]> {
    const prefix = this.#childPrefix(path);
    const found = await this.#kv.list<Node>({ prefix });
    return [...found].map(([key, node]) => [key.slice(prefix.length), node]);
  }

  protected async put(parts: readonly string[], node: Node): Promise<void> {
    await this.#kv.put({ [this.#key(parts)]: node });
  }

  protected async drop(parts: readonly string[]): Promise<void> {
    await this.#kv.delete([this.#key(parts)]);
  }

  protected async nextVersion(): Promise<number> {
    const key = `${this.#prefix}version`;
    const version = ((await this.#kv.get<number>(key)) ?? 0) + 1;
    await this.#kv.put({ [key]: version });
    return version;
  }

  #childPrefix(path: string): string {
    return `${this.#prefix}n/${path}\0`;
  }

  #key(parts: readonly string[]): string {
    const name = parts.at(-1);
    if (name === undefined) return `${this.#prefix}root`;
    const key = this.#childPrefix(parts.slice(0, -1).join("/")) + name;
    if (new TextEncoder().encode(key).length > longestPath) {
      throw new StorageError("invalid_path", "The path is longer than this storage can keep.");
    }
    return key;
  }
}

/** A tree inside a transaction, which takes everything back when something throws. */
export class WritableTree extends Tree {
  /** Blobs that no name leads to any more. */
  readonly freed: string[] = [];
  /** Paths that changed. */
  readonly touched: string[] = [];

  /** Conditions hold before the first change; later ones see what earlier ones made. */
  async check(change: Change): Promise<void> {
    if ((change.op !== "write" && change.op !== "remove") || change.ifRevision === undefined) return;
    const { path, ifRevision } = change;
    const node = await this.find(storagePathParts(path));
    const currentRevision = node ? entryOf(path, node).revision : null;
    if (currentRevision === ifRevision) return;
    throw notAsExpected(path, ifRevision, currentRevision);
  }

  async writeFile(path: string, blob: string, size: number): Promise<void> {
    const parts = storagePathParts(path);
    const old = await this.find(parts);
    if (old?.kind === "dir") {
      throw aDirectory(path);
    }
    await this.#attach(parts, { kind: "file", blob, size, ...(await this.#stamp()) }, path);
    if (old && old.blob !== blob) this.freed.push(old.blob);
    this.touched.push(path);
  }

  async mkdir(path: string): Promise<void> {
    const parts = storagePathParts(path);
    if ((await this.find(parts))?.kind === "dir") return;
    await this.#makeDirs(parts, path);
    this.touched.push(path);
  }

  async remove(path: string, options: { recursive: boolean; mayBeAbsent: boolean }): Promise<void> {
    const parts = storagePathParts(path);
    const node = await this.find(parts);
    if (!node) {
      if (options.mayBeAbsent) return;
      throw notFound(path);
    }
    if (node.kind === "dir" && !options.recursive && (await this.children(path)).length > 0) {
      throw notEmpty(path);
    }
    await this.#dropAll(path, node);
    await this.#touchParent(parts);
    this.touched.push(path);
  }

  async move(from: string, to: string, replace: boolean): Promise<void> {
    const node = await this.find(storagePathParts(from));
    if (!node) throw notFound(from);
    const taken = await this.find(storagePathParts(to));
    if (taken && (!replace || (node.kind === "dir" && taken.kind === "file"))) {
      throw occupied(to);
    }
    if (taken?.kind === "dir") {
      throw aDirectory(to);
    }
    await this.#attach(storagePathParts(to), node, to);
    if (taken) this.freed.push(taken.blob);
    await this.#moveChildren(from, to, node);
    await this.drop(storagePathParts(from));
    await this.#touchParent(storagePathParts(from));
    this.touched.push(from, to);
  }

  async #moveChildren(from: string, to: string, node: Node): Promise<void> {
    if (node.kind !== "dir") return;
    for (const [name, child] of await this.children(from)) {
      await this.put(storagePathParts(`${to}/${name}`), child);
      await this.#moveChildren(`${from}/${name}`, `${to}/${name}`, child);
      await this.drop(storagePathParts(`${from}/${name}`));
    }
  }

  async #dropAll(path: string, node: Node): Promise<void> {
    if (node.kind === "file") this.freed.push(node.blob);
    else for (const [name, child] of await this.children(path)) await this.#dropAll(`${path}/${name}`, child);
    await this.drop(storagePathParts(path));
  }

  async #attach(parts: readonly string[], node: Node, path: string): Promise<void> {
    await this.#makeDirs(parts.slice(0, -1), path);
    await this.put(parts, node);
    await this.#touchParent(parts);
  }

  async #makeDirs(parts: readonly string[], path: string): Promise<void> {
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const dir = parts.slice(0, depth);
      const node = await this.find(dir);
      if (node?.kind === "dir") continue;
      if (node && depth === parts.length && parts.join("/") === path) {
        throw existsOtherwise(path);
      }
      if (node) {
        throw throughAFile(path);
      }
      await this.put(dir, { kind: "dir", ...(await this.#stamp()) });
      await this.#touchParent(dir);
    }
  }

  /** A directory changes with the names in it. */
  async #touchParent(parts: readonly string[]): Promise<void> {
    await this.put(parts.slice(0, -1), { kind: "dir", ...(await this.#stamp()) });
  }

  async #stamp(): Promise<{ mtimeMs: number; version: number }> {
    return { mtimeMs: Date.now(), version: await this.nextVersion() };
  }
}
