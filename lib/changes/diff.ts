import { formatPatch, structuredPatch } from "diff";
import type { Change, Entry, ReadableStorage } from "../storage.ts";
import { contentOf, largestText, type Content } from "./content.ts";

/** Most characters of a diff that a host is shown; the rest is counted, not shown. */
const longestDiff = 200_000;
/** Most files listed when a whole directory goes. */
const mostListed = 200;

/** What staged bodies hold, by their ids. */
export type StagedContents = ReadonlyMap<string, Content>;

/** A unified diff of what a commit will do, against what is there now; binary files by size and hash. */
export async function describeChanges(
  storage: ReadableStorage,
  changes: readonly Change[],
  staged: StagedContents = new Map(),
): Promise<string> {
  const pieces: string[] = [];
  let length = 0;
  for (const change of changes) {
    if (length > longestDiff) break;
    const piece = await describeChange(storage, change, staged);
    pieces.push(piece);
    length += piece.length;
  }
  const diff = pieces.join("");
  if (diff.length <= longestDiff && pieces.length === changes.length) return diff;
  const left = changes.length - pieces.length;
  return `${diff.slice(0, longestDiff)}\n(cut here: the whole diff is longer${left > 0 ? `, ${left} more changes are not shown` : ""})\n`;
}

async function describeChange(
  storage: ReadableStorage,
  change: Change,
  staged: StagedContents,
): Promise<string> {
  switch (change.op) {
    case "mkdir":
      return `create directory ${change.path}\n`;
    case "move": {
      const replaces = change.replace === true && (await entryAt(storage, change.to)) !== null;
      return `rename ${change.from}\n    to ${change.to}${replaces ? " (replacing what is there)" : ""}\n`;
    }
    case "remove":
      return describeRemoval(storage, change.path);
    case "write": {
      const old = await contentAt(storage, change.path);
      const body = change.body;
      const next =
        body instanceof Uint8Array
          ? contentOf(body)
          : (staged.get(body.id) ?? { text: null, label: `${body.size} bytes` });
      return describeContent(change.path, old, next);
    }
  }
}

/** What is at a path; null also where the storage refuses the path, which the commit will tell of. */
function entryAt(storage: ReadableStorage, path: string): Promise<Entry | null> {
  return storage.stat(path).catch(() => null);
}

async function describeRemoval(storage: ReadableStorage, path: string): Promise<string> {
  const entry = await entryAt(storage, path);
  if (!entry) return `remove ${path}\n`;
  if (entry.kind !== "dir") return describeContent(path, await contentAt(storage, path), null);
  const files: string[] = [];
  for await (const batch of storage.walk(path)) {
    for (const item of batch) if (item.kind === "file") files.push(item.path);
    if (files.length > mostListed) break;
  }
  const pieces = [`remove directory ${path}\n`];
  let length = 0;
  // One after the other: together they may be larger than memory, and few of the large ones are ever shown.
  for (const file of files.toSorted().slice(0, mostListed)) {
    if (length > longestDiff) break;
    const piece = describeContent(file, await contentAt(storage, file), null);
    pieces.push(piece);
    length += piece.length;
  }
  if (files.length > mostListed) pieces.push(`(and more files below ${path})\n`);
  return pieces.join("");
}

async function contentAt(storage: ReadableStorage, path: string): Promise<Content | null> {
  const entry = await storage.stat(path);
  if (!entry || entry.kind !== "file") return null;
  if (entry.size > largestText) return { text: null, label: `${entry.size} bytes` };
  const file = await storage.readFile(path);
  return file && contentOf(file.bytes);
}

function describeContent(path: string, old: Content | null, next: Content | null): string {
  const from = old ? `a/${path}` : "/dev/null";
  const to = next ? `b/${path}` : "/dev/null";
  const oldText = old ? old.text : "";
  const newText = next ? next.text : "";
  if (oldText === null || newText === null) {
    return `--- ${from}\n+++ ${to}\nBinary or large: ${old?.label ?? "absent"} -> ${next?.label ?? "removed"}\n`;
  }
  if (oldText === newText) {
    return old && next
      ? `--- ${from}\n+++ ${to}\n(no change)\n`
      : `--- ${from}\n+++ ${to}\n(an empty file)\n`;
  }
  // Comparing two long and wholly different texts takes quadratic time: past the limit both are shown whole.
  const patch = structuredPatch(from, to, oldText, newText, undefined, undefined, {
    context: 3,
    timeout: 250,
  });
  if (!patch) return `--- ${from}\n+++ ${to}\n${marked("-", oldText)}${marked("+", newText)}`;
  return formatPatch(patch).replace(/^=+\n/, "");
}

function marked(mark: string, text: string): string {
  return text
    .slice(0, longestDiff)
    .split("\n")
    .map((line) => `${mark}${line}\n`)
    .join("");
}
