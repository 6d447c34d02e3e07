import { StorageError, compareCodePoints, storagePathParts } from "../../lib/storage.ts";
import type { Change, Entry, Staged, Storage, Watch, WatchBatch } from "../../lib/storage.ts";
import { takeBody } from "./body.ts";
import { checkPaths } from "./change-paths.ts";
import { asStorageError, Blobs, Turns } from "./durable-object/blobs.ts";
import { Tree, WritableTree, entryOf, type KeyValue, type Node } from "./durable-object/tree.ts";
import { aDirectory, lineWithNewline, throughAFile, tooLarge } from "./refusals.ts";
import { Watchers } from "./watchers.ts";

/** The part of `ctx.storage` of a Durable Object that is used. */
export interface DurableObjectStorage extends KeyValue {
  transaction<T>(closure: (transaction: KeyValue) => Promise<T>): Promise<T>;
}

/**
 * Makes storages in a Durable Object, each under a name of its own. Call this once per object and take each name
 * once: what one of them does waits for the others, and each announces only the changes that it made itself.
 */
export function durableObjectStorages(storage: DurableObjectStorage): (name: string) => Storage {
  const turns = new Turns();
  return (name) => new DurableObjectFiles(storage, name, turns);
}

type Walk = { signal?: AbortSignal; skip?: (dir: string) => boolean };
type FileNode = Extract<Node, { kind: "file" }>;

class DurableObjectFiles implements Storage {
  readonly location: string;
  readonly #storage: DurableObjectStorage;
  readonly #prefix: string;
  readonly #tree: Tree;
  readonly #blobs: Blobs;
  readonly #staged = new Set<string>();
  readonly #watchers = new Watchers();
  readonly #turns: Turns;

  constructor(storage: DurableObjectStorage, name: string, turns: Turns) {
    this.location = `durable-object:/${name}`;
    this.#storage = storage;
    this.#prefix = `${name}/`;
    this.#tree = new Tree(storage, this.#prefix);
    this.#turns = turns;
    this.#blobs = new Blobs(storage, this.#prefix, (work) => this.#exclusive(work));
  }

  /** One at a time: nobody sees half a transaction, and a blob is retained before it can be dropped. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.run(work).catch((error: unknown) => {
      throw asStorageError(error);
    });
  }

  async stat(path: string): Promise<Entry | null> {
    const parts = storagePathParts(path);
    const node = await this.#exclusive(() => this.#tree.find(parts));
    return node ? entryOf(path, node) : null;
  }

  async list(path: string): Promise<Entry[] | null> {
    const parts = storagePathParts(path);
    return this.#exclusive(async () => {
      if ((await this.#tree.find(parts))?.kind !== "dir") return null;
      const entries = (await this.#tree.children(path)).map(([name, node]) =>
        entryOf(path === "" ? name : `${path}/${name}`, node),
      );
      return entries.toSorted((a, b) => compareCodePoints(a.path, b.path));
    });
  }

  async *walk(path: string, options: Walk = {}): AsyncGenerator<Entry[]> {
    storagePathParts(path);
    const pending = [path];
    for (let dir = pending.pop(); dir !== undefined; dir = pending.pop()) {
      options.signal?.throwIfAborted();
      const entries = (await this.list(dir)) ?? [];
      const batch = entries.filter((entry) => entry.kind === "file" || options.skip?.(entry.path) !== true);
      for (const entry of batch) if (entry.kind === "dir") pending.push(entry.path);
      if (batch.length > 0) yield batch;
    }
  }

  /** The file at a path with its bytes kept from vanishing, or null. */
  async #open(path: string): Promise<{ node: FileNode; release: () => void } | null> {
    const parts = storagePathParts(path);
    return this.#exclusive(async () => {
      const node = await this.#tree.find(parts);
      if (node?.kind === "dir") {
        throw aDirectory(path);
      }
      return node ? { node, release: this.#blobs.retain(node.blob) } : null;
    });
  }

  async readFile(
    path: string,
    options: { maxBytes?: number } = {},
  ): Promise<{ entry: Entry; bytes: Uint8Array } | null> {
    const file = await this.#open(path);
    if (!file) return null;
    const { node, release } = file;
    try {
      const { maxBytes = Infinity } = options;
      const { size } = node;
      if (size > maxBytes) {
        throw tooLarge(path, size, maxBytes);
      }
      const bytes = new Uint8Array(size);
      let at = 0;
      for await (const chunk of this.#blobs.read(node.blob, 0, size)) {
        bytes.set(chunk, at);
        at += chunk.length;
      }
      return { entry: entryOf(path, node), bytes };
    } finally {
      release();
    }
  }

  async read(
    path: string,
    options: Parameters<Storage["read"]>[1] = {},
  ): Promise<{ entry: Entry; body: ReadableStream<Uint8Array> } | null> {
    const file = await this.#open(path);
    if (!file) return null;
    const { node, release } = file;
    const end = Math.min((options.range?.end ?? Infinity) + 1, node.size);
    const chunks = this.#blobs.read(node.blob, Math.max(0, options.range?.start ?? 0), end);
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const { done, value } = await chunks.next();
          if (!done) return controller.enqueue(value);
        } catch (error) {
          release();
          throw error;
        }
        release();
        controller.close();
      },
      cancel: release,
    });
    return { entry: entryOf(path, node), body };
  }

  async watch(listener: (batch: WatchBatch) => void): Promise<Watch | null> {
    return this.#watchers.add(listener);
  }

  async commit(changes: readonly Change[]): Promise<(Entry | null)[]> {
    checkPaths(changes);
    const fresh: string[] = [];
    try {
      const bodies = await this.#bodies(changes, fresh);
      const { entries, tree } = await this.#exclusive(() => this.#transact(changes, bodies));
      for (const { id } of bodies.values()) this.#staged.delete(id);
      this.#watchers.announce(tree.touched);
      await this.#blobs.drop(tree.freed);
      return entries;
    } catch (error) {
      await this.#blobs.drop(fresh);
      throw error;
    }
  }

  /** Puts the bytes in place before any name leads to them; those made here are told in `fresh`. */
  async #bodies(changes: readonly Change[], fresh: string[]): Promise<Map<Change, Staged>> {
    const bodies = new Map<Change, Staged>();
    for (const change of changes) {
      if (change.op !== "write") continue;
      if (!(change.body instanceof Uint8Array)) {
        if (!this.#staged.has(change.body.id)) {
          throw new StorageError("not_found", "The staged bytes are gone.");
        }
        bodies.set(change, change.body);
        continue;
      }
      const writer = this.#blobs.writer();
      fresh.push(writer.id);
      await writer.write(change.body);
      await writer.end();
      bodies.set(change, { id: writer.id, size: writer.size });
    }
    return bodies;
  }

  #transact(
    changes: readonly Change[],
    bodies: ReadonlyMap<Change, Staged>,
  ): Promise<{ entries: (Entry | null)[]; tree: WritableTree }> {
    return this.#storage.transaction(async (kv) => {
      const tree = new WritableTree(kv, this.#prefix);
      for (const change of changes) await tree.check(change);
      for (const change of changes) await apply(tree, change, bodies.get(change));
      await this.#blobs.name(
        kv,
        [...bodies.values()].map(({ id }) => id),
      );
      await this.#blobs.unname(kv, tree.freed);
      const entries: (Entry | null)[] = [];
      for (const change of changes) {
        const path = change.op === "move" ? change.to : change.path;
        const node = change.op === "remove" ? undefined : await tree.find(storagePathParts(path));
        entries.push(node ? entryOf(path, node) : null);
      }
      return { entries, tree };
    });
  }

  async stage(
    path: string,
    body: ReadableStream<Uint8Array>,
    options: { maxBytes?: number; signal?: AbortSignal } = {},
  ): Promise<Staged> {
    try {
      await this.#mustBeFile(path);
    } catch (error) {
      body.cancel(error).catch(() => undefined);
      throw error;
    }
    const writer = this.#blobs.writer();
    try {
      await takeBody(path, body, options, (chunk) => writer.write(chunk));
      await writer.end();
    } catch (error) {
      await this.#blobs.drop([writer.id]);
      throw error;
    }
    this.#staged.add(writer.id);
    return { id: writer.id, size: writer.size };
  }

  /** Refuses what could not become a file. */
  async #mustBeFile(path: string): Promise<void> {
    const parts = storagePathParts(path);
    await this.#exclusive(async () => {
      if ((await this.#tree.find(parts))?.kind === "dir") {
        throw aDirectory(path);
      }
      for (let depth = 1; depth < parts.length; depth += 1) {
        if ((await this.#tree.find(parts.slice(0, depth)))?.kind !== "file") continue;
        throw throughAFile(path);
      }
    });
  }

  async discard(staged: Staged): Promise<void> {
    if (this.#staged.delete(staged.id)) await this.#blobs.drop([staged.id]);
  }

  async append(path: string, lines: readonly string[]): Promise<void> {
    const parts = storagePathParts(path);
    if (lines.some((line) => line.includes("\n"))) {
      throw lineWithNewline(path);
    }
    if (lines.length === 0) return;
    await this.#exclusive(async () => {
      const touched = await this.#storage.transaction(async (kv) => {
        const tree = new WritableTree(kv, this.#prefix);
        const node = await tree.find(parts);
        if (node?.kind === "dir") {
          throw aDirectory(path);
        }
        const blob = node?.blob ?? crypto.randomUUID();
        const size = node?.size ?? 0;
        const torn = node && !(await this.#endsLine(node)) ? "\n" : "";
        const added = new TextEncoder().encode(`${torn}${lines.join("\n")}\n`);
        await this.#blobs.extend(kv, blob, size, added);
        await tree.writeFile(path, blob, size + added.length);
        return tree.touched;
      });
      this.#watchers.announce(touched);
    });
  }

  async #endsLine({ blob, size }: FileNode): Promise<boolean> {
    if (size === 0) return true;
    for await (const last of this.#blobs.read(blob, size - 1, size)) return last[0] === 10;
    return false;
  }

  async recover(): Promise<void> {
    // Transactions leave nothing half done but bytes that no name leads to yet.
    await this.#blobs.sweep();
  }
}

async function apply(tree: WritableTree, change: Change, body: Staged | undefined): Promise<void> {
  if (change.op === "mkdir") await tree.mkdir(change.path);
  else if (change.op === "move") await tree.move(change.from, change.to, change.replace ?? false);
  else if (change.op === "remove") {
    const { recursive = false, ifRevision } = change;
    await tree.remove(change.path, { recursive, mayBeAbsent: ifRevision === null });
  } else if (body) await tree.writeFile(change.path, body.id, body.size);
}
