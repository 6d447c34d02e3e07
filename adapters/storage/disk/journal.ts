import { constants } from "node:fs";
import { storagePathParts, temporaryName } from "../../../lib/storage.ts";
import { createTemporary, unlinkQuietly, writeAll } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import type { Held, Step } from "./steps.ts";
import type { Dir } from "./tree.ts";

const magic = "openwork-journal-1";
/** One that holds the bytes of the files as well, behind the sum. */
const holdingMagic = "openwork-journal-2";
const undoMark = "undo";
const maxJournal = 67_108_864;
const { O_WRONLY, O_APPEND, O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** What a journal says: the steps, and whether they were to be taken back. */
export interface Journal {
  steps: Step[];
  undo: boolean;
  /** The bytes that it holds, by the step that puts them. */
  bytes: ReadonlyMap<Step, Uint8Array>;
  /** Written since the operating system started: nothing that was done to the files since is lost. */
  sameBoot: boolean;
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

/**
 * Writes a journal that holds the bytes of all its puts, durable as {@link writeJournal} makes it. It gets the
 * name of a journal only when its content is on disk, so that none is ever found torn.
 */
export async function writeHoldingJournal(
  context: DiskContext,
  root: Dir,
  steps: readonly Step[],
  bodies: readonly Uint8Array[],
): Promise<string> {
  const { fs, names } = context;
  const body = JSON.stringify({ boot: fs.bootId(), steps });
  const made = createTemporary(context, root, "body");
  try {
    const head = new TextEncoder().encode(`${holdingMagic}\n${body}\n${checksum(body)}\n`);
    for (const bytes of [head, ...bodies]) await writeAll(fs, made.fd, bytes);
    await fs.fsync(made.fd);
    let name = names.next("journal");
    while (root.child(name) !== null) name = names.next("journal");
    fs.renameSync(root.at(made.name), root.at(name));
    return name;
  } catch (error) {
    unlinkQuietly(context, root, made.name);
    throw error;
  } finally {
    fs.closeSync(made.fd);
  }
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
    return parseJournal(bytes, fs.bootId());
  } finally {
    fs.closeSync(fd);
  }
}

/** Parses and checks a journal; null unless every part of it is what this storage would write. */
function parseJournal(content: Uint8Array, bootId: string): Journal | null {
  const lines = firstLines(content, 3);
  if (lines === null) return null;
  const [head, body = "", sum] = lines.texts;
  if ((head !== magic && head !== holdingMagic) || sum !== checksum(body)) return null;
  const rest = content.subarray(lines.end);
  try {
    const said: unknown = JSON.parse(body);
    if (head === magic) {
      if (!isSteps(said, false)) return null;
      return { steps: said, undo: isUndo(rest), bytes: new Map(), sameBoot: true };
    }
    const { boot, steps } = said as { boot?: unknown; steps?: unknown };
    if (!isSteps(steps, true)) return null;
    const bytes = bytesOf(steps, rest);
    if (bytes === null) return null;
    // A system that does not tell its runs apart may have been started anew.
    return { steps, undo: isUndo(bytes.rest), bytes: bytes.byStep, sameBoot: boot !== "" && boot === bootId };
  } catch {
    return null;
  }
}

const isUndo = (rest: Uint8Array): boolean => new TextDecoder().decode(rest).startsWith(`${undoMark}\n`);

/** The first lines of a content, and where they end; null when there are not so many. */
function firstLines(content: Uint8Array, count: number): { texts: string[]; end: number } | null {
  const texts: string[] = [];
  let end = 0;
  for (let line = 0; line < count; line += 1) {
    const newline = content.indexOf(10, end);
    if (newline < 0) return null;
    texts.push(new TextDecoder().decode(content.subarray(end, newline)));
    end = newline + 1;
  }
  return { texts, end };
}

/** Shares out what follows the steps among the puts, in their order; null when it is too short. */
function bytesOf(
  steps: readonly Step[],
  content: Uint8Array,
): { byStep: Map<Step, Uint8Array>; rest: Uint8Array } | null {
  const byStep = new Map<Step, Uint8Array>();
  let at = 0;
  for (const step of steps) {
    if (step.do !== "put" || step.held === undefined) continue;
    if (at + step.held.size > content.length) return null;
    byStep.set(step, content.subarray(at, at + step.held.size));
    at += step.held.size;
  }
  return { byStep, rest: content.subarray(at) };
}

/** Steps that this storage would write; in a journal that holds bytes there are only puts of them, and what they need. */
function isSteps(value: unknown, holding: boolean): value is Step[] {
  if (!Array.isArray(value)) return false;
  return value.every(
    (step) => isStep(step) && (holding ? step.do === "mkdir" || isHeldPut(step) : !("held" in step)),
  );
}

const isHeldPut = (step: Step): boolean => step.do === "put" && isHeld(step.held);

function isHeld(held: Held | undefined): boolean {
  const { size, mode, uid, gid } = held ?? {};
  const areCounts = [size, mode, uid, gid].every(
    (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  );
  return areCounts && Number(mode) <= 0o777;
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
