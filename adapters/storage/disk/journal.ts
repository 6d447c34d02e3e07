import { constants } from "node:fs";
import { storagePathParts, temporaryName } from "../../../lib/storage.ts";
import { createTemporary, writeAll } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import type { Step } from "./steps.ts";
import type { Dir } from "./tree.ts";

const magic = "openwork-journal-1";
const undoMark = "undo";
const maxJournal = 67_108_864;
const { O_WRONLY, O_APPEND, O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** What a journal says: the steps, and whether they were to be taken back. */
export interface Journal {
  steps: Step[];
  undo: boolean;
}

function checksum(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9dc5811c;
  for (let i = 0; i < text.length; i += 1) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x85ebca6b) ^ (a >>> 13);
  }
  return `${a >>> 0}.${b >>> 0}`;
}

/** Writes a journal into the root, durable when this returns: from then on a crash ends in the new state. */
export async function writeJournal(context: DiskContext, root: Dir, steps: readonly Step[]): Promise<string> {
  const body = JSON.stringify(steps);
  const made = createTemporary(context, root, "journal");
  try {
    await writeAll(context.fs, made.fd, new TextEncoder().encode(`${magic}\n${body}\n${checksum(body)}\n`));
    await context.fs.fsync(made.fd);
  } catch (error) {
    context.fs.unlinkSync(root.at(made.name));
    throw error;
  } finally {
    context.fs.closeSync(made.fd);
  }
  return made.name;
}

/** Turns a journal around, durably: from then on a crash ends in the old state. */
export async function markUndo(context: DiskContext, root: Dir, name: string): Promise<void> {
  const fd = context.fs.openSync(root.at(name), O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
  try {
    await writeAll(context.fs, fd, new TextEncoder().encode(`${undoMark}\n`));
    await context.fs.fsync(fd);
  } finally {
    context.fs.closeSync(fd);
  }
}

/** Reads a journal; null when it is torn or not one. Anyone who can write the root may have written it. */
export function readJournal(context: DiskContext, root: Dir, name: string): Journal | null {
  const { fs } = context;
  if (root.child(name)?.isFile() !== true) return null;
  const fd = fs.openSync(root.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stats = fs.fstatSync(fd);
    if (!stats.isFile() || stats.size > maxJournal) return null;
    const bytes = new Uint8Array(stats.size);
    let at = 0;
    while (at < bytes.length) {
      const count = fs.readSync(fd, bytes, at, bytes.length - at, at);
      if (count === 0) return null;
      at += count;
    }
    return parseJournal(new TextDecoder().decode(bytes));
  } finally {
    fs.closeSync(fd);
  }
}

/** Parses and checks the text of a journal; null unless every part of it is what this storage would write. */
export function parseJournal(text: string): Journal | null {
  const [head, body = "", sum, mark] = text.split("\n");
  if (head !== magic || sum !== checksum(body) || !text.startsWith(`${magic}\n${body}\n${sum}\n`))
    return null;
  try {
    const steps: unknown = JSON.parse(body);
    if (!Array.isArray(steps) || !steps.every(isStep)) return null;
    return { steps, undo: mark === undoMark };
  } catch {
    return null;
  }
}

const isString = (value: unknown): value is string => typeof value === "string";
const isPrint = (value: unknown): boolean => isString(value) && /^d?\d[\d.:e+-]*$/.test(value);
const isTemporary = (value: unknown): boolean => isString(value) && temporaryName.test(value);

function isDirectoryPath(value: unknown): boolean {
  if (!isString(value)) return false;
  storagePathParts(value);
  return true;
}

const isName = (value: unknown): boolean => isString(value) && storagePathParts(value).length === 1;

function isStep(value: unknown): value is Step {
  if (typeof value !== "object" || value === null) return false;
  const step = value as Record<string, unknown>;
  if (!isDirectoryPath(step.dir) || !isName(step.name)) return false;
  const replaces = (step.old === null || isPrint(step.old)) && isTemporary(step.backup);
  switch (step.do) {
    case "mkdir":
      return true;
    case "put":
      return isDirectoryPath(step.from) && isTemporary(step.temp) && isPrint(step.print) && replaces;
    case "remove":
      return isTemporary(step.trash) && isPrint(step.print);
    case "move":
      return isDirectoryPath(step.toDir) && isName(step.toName) && isPrint(step.print) && replaces;
    default:
      return false;
  }
}
