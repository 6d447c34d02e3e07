import type { Entry } from "../../../lib/storage.ts";
import { existsOtherwise, throughAFile } from "../refusals.ts";

/** A file and its bytes. */
export interface FileNode {
  kind: "file";
  bytes: Uint8Array;
  mtimeMs: number;
  version: number;
}

/** A directory. */
export interface DirNode {
  kind: "dir";
  children: Map<string, Node>;
  mtimeMs: number;
  version: number;
}

/** What a name in the tree stands for. */
export type Node = FileNode | DirNode;

/** What tells one content of a path from another. */
export function revisionOf(node: Node): string {
  return `${node.version}:${node.kind === "file" ? node.bytes.length : 0}`;
}

/** The entry that a node is at a path. */
export function entryOf(path: string, node: Node): Entry {
  const size = node.kind === "file" ? node.bytes.length : 0;
  return { path, kind: node.kind, size, mtimeMs: node.mtimeMs, revision: revisionOf(node) };
}

/** Directories and files, with a version counter that names every content once. */
export class MemoryTree {
  readonly root: DirNode;
  #version = 0;
  #undo: (() => void)[] = [];

  constructor() {
    this.root = { kind: "dir", children: new Map(), mtimeMs: Date.now(), version: 0 };
  }

  /** What is at these parts, or null. */
  find(parts: readonly string[]): Node | null {
    let node: Node = this.root;
    for (const part of parts) {
      const child: Node | undefined = node.kind === "dir" ? node.children.get(part) : undefined;
      if (child === undefined) return null;
      node = child;
    }
    return node;
  }

  /** The directory at these parts, made where missing. */
  makeDir(parts: readonly string[], path: string): DirNode {
    let dir = this.root;
    for (const [i, part] of parts.entries()) {
      let child = dir.children.get(part);
      if (child === undefined) {
        child = { kind: "dir", children: new Map(), ...this.#stamp() };
        this.#set(dir, part, child);
      }
      if (child.kind !== "dir") {
        if (i === parts.length - 1 && parts.join("/") === path) {
          throw existsOtherwise(path);
        }
        throw throughAFile(path);
      }
      dir = child;
    }
    return dir;
  }

  /** Places bytes as a file; parents are made. */
  put(parts: readonly string[], bytes: Uint8Array, path: string): void {
    this.attach(parts, { kind: "file", bytes, ...this.#stamp() }, path);
  }

  /** Places a node; parents are made. */
  attach(parts: readonly string[], node: Node, path: string): void {
    this.#set(this.makeDir(parts.slice(0, -1), path), parts.at(-1) ?? "", node);
  }

  /** Takes away what is at these parts. */
  detach(parts: readonly string[]): void {
    const dir = this.find(parts.slice(0, -1));
    if (dir?.kind === "dir") this.#set(dir, parts.at(-1) ?? "", null);
  }

  /** Starts a commit: from here on everything can be taken back. */
  begin(): void {
    this.#undo = [];
  }

  /** Takes back everything since `begin`. */
  rollback(): void {
    for (const undo of this.#undo.toReversed()) undo();
    this.#undo = [];
  }

  #set(dir: DirNode, name: string, node: Node | null): void {
    const before = dir.children.get(name);
    const { mtimeMs, version } = dir;
    this.#undo.push(() => {
      if (before === undefined) dir.children.delete(name);
      else dir.children.set(name, before);
      Object.assign(dir, { mtimeMs, version });
    });
    if (node === null) dir.children.delete(name);
    else dir.children.set(name, node);
    Object.assign(dir, this.#stamp());
  }

  #stamp(): { mtimeMs: number; version: number } {
    this.#version += 1;
    return { mtimeMs: Date.now(), version: this.#version };
  }
}

/** The entries directly in a directory. */
export function children(path: string, dir: DirNode): Entry[] {
  return [...dir.children].map(([name, node]) => entryOf(path === "" ? name : `${path}/${name}`, node));
}
