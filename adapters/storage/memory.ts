import { joined } from "../../lib/bytes.ts";
import { StorageError, compareCodePoints, storagePathParts } from "../../lib/storage.ts";
import type { ByteRange, Change, Entry, Staged, Storage, Watch, WatchBatch } from "../../lib/storage.ts";
import { takeBody } from "./body.ts";
import { checkPaths } from "./change-paths.ts";
import { children, entryOf, MemoryTree, revisionOf, type FileNode } from "./memory/tree.ts";
import {
  aDirectory,
  lineWithNewline,
  notAsExpected,
  notEmpty,
  notFound,
  occupied,
  throughAFile,
  tooLarge,
} from "./refusals.ts";
import { Watchers } from "./watchers.ts";

/** How a memory storage behaves. */
export interface MemoryOptions {
  /** Shown in `location`. Default: "storage". */
  name?: string;
  /** First content: text or bytes by path; parents are made. */
  files?: Readonly<Record<string, string | Uint8Array>>;
}

/** A storage that lives in memory: for tests, demos and embedding. Runs on every runtime. */
export function createMemoryStorage(options: MemoryOptions = {}): Storage {
  const tree = new MemoryTree();
  for (const [path, content] of Object.entries(options.files ?? {})) {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content.slice();
    tree.put(storagePathParts(path), bytes, path);
  }
  return new Memory(`memory:/${options.name ?? "storage"}`, tree);
}

class Memory implements Storage {
  readonly location: string;
  readonly #tree: MemoryTree;
  readonly #staged = new Map<string, Uint8Array>();
  readonly #watchers = new Watchers();
  #nextStaged = 0;

  constructor(location: string, tree: MemoryTree) {
    this.location = location;
    this.#tree = tree;
  }

  async stat(path: string): Promise<Entry | null> {
    const node = this.#tree.find(storagePathParts(path));
    return node && entryOf(path, node);
  }

  async list(path: string): Promise<Entry[] | null> {
    const node = this.#tree.find(storagePathParts(path));
    if (node?.kind !== "dir") return null;
    return children(path, node).toSorted((a, b) => compareCodePoints(a.path, b.path));
  }

  async *walk(
    path: string,
    options: { signal?: AbortSignal; skip?: (dir: string) => boolean } = {},
  ): AsyncGenerator<Entry[]> {
    storagePathParts(path);
    const pending = [path];
    for (let dir = pending.pop(); dir !== undefined; dir = pending.pop()) {
      options.signal?.throwIfAborted();
      const node = this.#tree.find(storagePathParts(dir));
      if (node?.kind !== "dir") continue;
      const batch = children(dir, node).filter(
        (entry) => entry.kind === "file" || options.skip?.(entry.path) !== true,
      );
      for (const entry of batch) if (entry.kind === "dir") pending.push(entry.path);
      if (batch.length > 0) yield batch;
    }
  }

  #file(path: string): FileNode | null {
    const node = this.#tree.find(storagePathParts(path));
    if (node?.kind === "dir") throw aDirectory(path);
    return node;
  }

  async readFile(
    path: string,
    options: { maxBytes?: number } = {},
  ): Promise<{ entry: Entry; bytes: Uint8Array } | null> {
    const file = this.#file(path);
    if (file === null) return null;
    const { maxBytes = Infinity } = options;
    const size = file.bytes.length;
    if (size > maxBytes) {
      throw tooLarge(path, size, maxBytes);
    }
    return { entry: entryOf(path, file), bytes: file.bytes.slice() };
  }

  async read(
    path: string,
    options: { range?: ByteRange } = {},
  ): Promise<{ entry: Entry; body: ReadableStream<Uint8Array> } | null> {
    const file = this.#file(path);
    if (file === null) return null;
    const bytes = file.bytes.slice(
      Math.max(0, options.range?.start ?? 0),
      (options.range?.end ?? Infinity) + 1,
    );
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        if (bytes.length > 0) controller.enqueue(bytes);
        controller.close();
      },
    });
    return { entry: entryOf(path, file), body };
  }

  async watch(listener: (batch: WatchBatch) => void): Promise<Watch | null> {
    return this.#watchers.add(listener);
  }

  async commit(changes: readonly Change[]): Promise<(Entry | null)[]> {
    checkPaths(changes);
    this.#tree.begin();
    const touched: string[] = [];
    try {
      for (const change of changes) this.#check(change);
      for (const change of changes) this.#apply(change, touched);
    } catch (error) {
      this.#tree.rollback();
      throw error;
    }
    this.#tree.begin();
    for (const change of changes) {
      if (change.op === "write" && !(change.body instanceof Uint8Array)) this.#staged.delete(change.body.id);
    }
    this.#watchers.announce(touched);
    return changes.map((change) => {
      const path = change.op === "move" ? change.to : change.path;
      const node = change.op === "remove" ? null : this.#tree.find(storagePathParts(path));
      return node && entryOf(path, node);
    });
  }

  /** Conditions hold before the first change; later ones see what earlier ones made. */
  #check(change: Change): void {
    if (change.op !== "write" && change.op !== "remove") return;
    const { path, ifRevision } = change;
    if (ifRevision === undefined) return;
    const node = this.#tree.find(storagePathParts(path));
    const currentRevision = node && revisionOf(node);
    if (currentRevision === ifRevision) return;
    throw notAsExpected(path, ifRevision, currentRevision);
  }

  #apply(change: Change, touched: string[]): void {
    if (change.op === "mkdir") {
      if (this.#tree.find(storagePathParts(change.path))?.kind !== "dir") touched.push(change.path);
      this.#tree.makeDir(storagePathParts(change.path), change.path);
    } else if (change.op === "write") {
      this.#write(change.path, this.#bytes(change.body));
      touched.push(change.path);
    } else if (change.op === "remove") {
      if (this.#remove(change)) touched.push(change.path);
    } else {
      this.#move(change.from, change.to, change.replace ?? false);
      touched.push(change.from, change.to);
    }
  }

  #bytes(body: Uint8Array | Staged): Uint8Array {
    if (body instanceof Uint8Array) return body.slice();
    const bytes = this.#staged.get(body.id);
    if (!bytes) throw new StorageError("not_found", "The staged bytes are gone.");
    return bytes;
  }

  #write(path: string, bytes: Uint8Array): void {
    const parts = storagePathParts(path);
    if (this.#tree.find(parts)?.kind === "dir") {
      throw aDirectory(path);
    }
    this.#tree.put(parts, bytes, path);
  }

  #remove(change: Extract<Change, { op: "remove" }>): boolean {
    const { path } = change;
    const parts = storagePathParts(path);
    const node = this.#tree.find(parts);
    if (node === null) {
      if (change.ifRevision === null) return false;
      throw notFound(path);
    }
    if (node.kind === "dir" && node.children.size > 0 && change.recursive !== true) {
      throw notEmpty(path);
    }
    this.#tree.detach(parts);
    return true;
  }

  #move(from: string, to: string, replace: boolean): void {
    const node = this.#tree.find(storagePathParts(from));
    if (node === null) throw notFound(from);
    const taken = this.#tree.find(storagePathParts(to));
    if (taken && (!replace || (node.kind === "dir" && taken.kind === "file"))) {
      throw occupied(to);
    }
    if (taken?.kind === "dir") throw aDirectory(to);
    this.#tree.attach(storagePathParts(to), node, to);
    this.#tree.detach(storagePathParts(from));
  }

  async stage(
    path: string,
    body: ReadableStream<Uint8Array>,
    options: { maxBytes?: number; signal?: AbortSignal } = {},
  ): Promise<Staged> {
    try {
      this.#mustBeFile(path);
    } catch (error) {
      await body.cancel(error);
      throw error;
    }
    const chunks: Uint8Array[] = [];
    // The source may use its buffer again.
    await takeBody(path, body, options, (chunk) => void chunks.push(chunk.slice()));
    const bytes = joined(
      chunks,
      chunks.reduce((size, chunk) => size + chunk.length, 0),
    );
    this.#nextStaged += 1;
    const staged = { id: `staged-${this.#nextStaged}`, size: bytes.length };
    this.#staged.set(staged.id, bytes);
    return staged;
  }

  /** Refuses what could not become a file. */
  #mustBeFile(path: string): void {
    const parts = storagePathParts(path);
    if (this.#tree.find(parts)?.kind === "dir") {
      throw aDirectory(path);
    }
    if (parts.some((_, i) => i > 0 && this.#tree.find(parts.slice(0, i))?.kind === "file")) {
      throw throughAFile(path);
    }
  }

  async discard(staged: Staged): Promise<void> {
    this.#staged.delete(staged.id);
  }

  async append(path: string, lines: readonly string[]): Promise<void> {
    const parts = storagePathParts(path);
    if (lines.some((line) => line.includes("\n"))) {
      throw lineWithNewline(path);
    }
    if (lines.length === 0) return;
    const old = this.#file(path)?.bytes ?? new Uint8Array();
    const torn = old.length > 0 && old.at(-1) !== 10 ? "\n" : "";
    const added = new TextEncoder().encode(`${torn}${lines.join("\n")}\n`);
    const bytes = new Uint8Array(old.length + added.length);
    bytes.set(old);
    bytes.set(added, old.length);
    this.#tree.put(parts, bytes, path);
    this.#tree.begin();
    this.#watchers.announce([path]);
  }

  async recover(): Promise<void> {
    // Nothing outlives the process, so nothing can be half done.
  }
}
