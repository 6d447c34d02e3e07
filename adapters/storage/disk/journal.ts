import { constants } from "node:fs";
import { storagePathParts, temporaryName } from "../../../lib/storage.ts";
import { writeAll } from "./block-writer.ts";
import { createTemporary, unlinkQuietly } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import type { Held, Step } from "./steps.ts";
import type { Dir } from "./tree.ts";

const magic = "openwork-journal-1";
/** One that holds the bytes of the files as well, before the steps, and says how many. */
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
 * A journal that holds the bytes of all puts of a commit. They are on their way to the disk before its steps are
 * known, which takes as long as the files take to be made. It gets the name of a journal only when all of it is
 * on disk, so that none is ever found torn.
 */
export class HoldingJournal {
  readonly #context: DiskContext;
  readonly #root: Dir;
  readonly #made: { name: string; fd: number };
  /** What came of the first sync. It must be looked at: a later one need not tell again of what that one could not write. */
  #bytesSynced: Promise<unknown> = Promise.resolve(null);
  #open = true;

  private constructor(context: DiskContext, root: Dir, made: { name: string; fd: number }) {
    this.#context = context;
    this.#root = root;
    this.#made = made;
  }

  /** Writes the bytes; whoever calls this has to `close` what comes of it. */
  static async begin(context: DiskContext, bodies: readonly Uint8Array[]): Promise<HoldingJournal> {
    const root = context.tree.openDir("");
    let journal: HoldingJournal | null = null;
    try {
      journal = new HoldingJournal(context, root, createTemporary(context, root, "body"));
      await journal.#write(bodies);
      return journal;
    } catch (error) {
      if (journal === null) root.close();
      await journal?.close();
      throw error;
    }
  }

  async #write(bodies: readonly Uint8Array[]): Promise<void> {
    const { fs } = this.#context;
    const { fd } = this.#made;
    const size = bodies.reduce((sum, { length }) => sum + length, 0);
    const head = new TextEncoder().encode(`${holdingMagic}\n${size}\n`);
    for (const bytes of [head, ...bodies]) await writeAll(fs, fd, bytes);
    this.#bytesSynced = fs.fdatasync(fd).then(
      () => null,
      (error: unknown) => error,
    );
  }

  /** Adds the steps, and makes a journal of it in the root, durable but for its name. Answers the name. */
  async finish(root: Dir, steps: readonly Step[]): Promise<string> {
    const { fs, names } = this.#context;
    const body = JSON.stringify({ boot: fs.bootId(), steps });
    const failure = await this.#bytesSynced;
    if (failure !== null) throw failure;
    await writeAll(fs, this.#made.fd, new TextEncoder().encode(`${body}\n${checksum(body)}\n`));
    await fs.fsync(this.#made.fd);
    let name = names.next("journal");
    while (root.child(name) !== null) name = names.next("journal");
    fs.renameSync(this.#root.at(this.#made.name), root.at(name));
    this.#release();
    return name;
  }

  /** Lets go of one that was not finished. */
  async close(): Promise<void> {
    if (!this.#open) return;
    // A descriptor that a sync is still using must not be given back.
    await this.#bytesSynced;
    unlinkQuietly(this.#context, this.#root, this.#made.name);
    this.#release();
  }

  #release(): void {
    this.#open = false;
    this.#context.fs.closeSync(this.#made.fd);
    this.#root.close();
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
  const head = firstLines(content, 1);
  if (head === null) return null;
  const parse = head.texts[0] === magic ? parsePlain : head.texts[0] === holdingMagic ? parseHolding : null;
  try {
    return parse?.(content.subarray(head.end), bootId) ?? null;
  } catch {
    return null;
  }
}

function parsePlain(content: Uint8Array): Journal | null {
  const said = firstSaid(content);
  if (said === null || !isSteps(said.value, false)) return null;
  return { steps: said.value, undo: isUndo(said.rest), bytes: new Map(), sameBoot: true };
}

function parseHolding(content: Uint8Array, bootId: string): Journal | null {
  const head = firstLines(content, 1);
  const [size = ""] = head?.texts ?? [];
  if (head === null || !/^\d{1,9}$/.test(size)) return null;
  const held = content.subarray(head.end, head.end + Number(size));
  const said = firstSaid(content.subarray(head.end + held.length));
  if (said === null) return null;
  const { boot, steps } = said.value as { boot?: unknown; steps?: unknown };
  if (!isSteps(steps, true)) return null;
  const bytes = bytesOf(steps, held);
  if (bytes === null) return null;
  // A system that does not tell its runs apart may have been started anew.
  return { steps, undo: isUndo(said.rest), bytes, sameBoot: boot !== "" && boot === bootId };
}

/** A line of JSON and the line of its checksum, and what follows; null when the sum is another. */
function firstSaid(content: Uint8Array): { value: unknown; rest: Uint8Array } | null {
  const lines = firstLines(content, 2);
  const [body = "", sum] = lines?.texts ?? [];
  if (lines === null || sum !== checksum(body)) return null;
  return { value: JSON.parse(body), rest: content.subarray(lines.end) };
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

/** Shares out the bytes among the puts, in their order; null unless that comes out even. */
function bytesOf(steps: readonly Step[], held: Uint8Array): Map<Step, Uint8Array> | null {
  const byStep = new Map<Step, Uint8Array>();
  let at = 0;
  for (const step of steps) {
    if (step.do !== "put" || step.held === undefined) continue;
    byStep.set(step, held.subarray(at, at + step.held.size));
    at += step.held.size;
  }
  return at === held.length ? byStep : null;
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
