/**
 * Commits of small files whose bytes the journal holds. Such a commit is durable with its journal: one file is
 * synced instead of many, and the files themselves only after the answer. Until then the commit keeps the lock, so
 * that nothing that this storage or another server process does later can be mistaken for something earlier.
 */
import { StorageError } from "../../../lib/storage.ts";
import type { Change } from "../../../lib/storage.ts";
import { writeAll } from "./block-writer.ts";
import { errno } from "./fs.ts";
import type { Stats } from "./fs.ts";
import type { Journal } from "./journal.ts";
import { isWriteOf, printOf, tickMs } from "./revision.ts";
import { fillTemporary, unlinkQuietly } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import { applyStep } from "./steps.ts";
import type { OpenDirs } from "./open-dirs.ts";
import type { Step, StepOf } from "./steps.ts";
import { syncDirs, touched } from "./sync.ts";
import { joinPath } from "./tree.ts";
import type { Dir } from "./tree.ts";

/** More than this is written sooner in one go than twice. */
const mostHeldBytes = 8_388_608;
/** Each of the files stays open until it is synced. */
const mostHeldFiles = 256;
/** As many as the thread pool has threads. */
const parallelCalls = 4;

/** A put whose bytes are in the journal. */
type HeldPut = StepOf<"put"> & Required<Pick<StepOf<"put">, "held">>;

const isHeldPut = (step: Step): step is HeldPut => step.do === "put" && step.held !== undefined;

/** Whether a journal of these steps holds bytes. */
export function areHeld(steps: readonly Step[]): boolean {
  return steps.some(isHeldPut);
}

/** The bytes of several small writes and nothing else, in their order; null for any other commit. */
export function bytesToHold(changes: readonly Change[]): Uint8Array[] | null {
  if (changes.length < 2 || changes.length > mostHeldFiles) return null;
  const bodies: Uint8Array[] = [];
  let size = 0;
  for (const change of changes) {
    if (change.op !== "write" || !(change.body instanceof Uint8Array)) return null;
    bodies.push(change.body);
    size += change.body.length;
  }
  return size <= mostHeldBytes ? bodies : null;
}

async function inParallel<T>(list: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = list.values();
  const worker = async (): Promise<void> => {
    for (const one of left) await work(one);
  };
  const ends = await Promise.allSettled(Array.from({ length: parallelCalls }, worker));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/**
 * Makes the files of an applied commit durable and lets go of its journal. `files`: their open descriptors. When
 * it fails the journal stays, and with it the promise: {@link redoHeld} keeps it.
 */
export async function settleHeld(
  context: DiskContext,
  dirs: OpenDirs,
  steps: readonly Step[],
  journal: string,
  files: readonly number[],
): Promise<void> {
  await inParallel(files, (fd) => context.fs.fsync(fd));
  await syncDirs(context, steps.flatMap(touched));
  await letGo(context, dirs, steps, journal);
}

/** Removes the journal for good, and then what only an undo would have needed. */
async function letGo(
  context: DiskContext,
  dirs: OpenDirs,
  steps: readonly Step[],
  journal: string,
): Promise<void> {
  await dropJournal(context, dirs, journal);
  const puts = steps.filter(isHeldPut);
  for (const rel of new Set(puts.map(({ dir }) => dir))) {
    const backups = puts.filter(({ dir }) => dir === rel).map(({ backup }) => backup);
    await dropAll(context, rel, backups).catch(() => undefined);
  }
}

/** Unlinks names in a directory, which stays open for as long as a call needs it. What cannot go the next sweep takes. */
async function dropAll(context: DiskContext, rel: string, names: readonly string[]): Promise<void> {
  const dir = context.tree.openDir(rel);
  try {
    await inParallel(names, async (name) => {
      const drop = (): Promise<void> => context.fs.unlink(dir.at(name));
      // Often there was none; a second try outlasts a passing fault.
      const again = (error: unknown): Promise<void> =>
        errno(error) === "ENOENT" ? Promise.resolve() : drop().catch(() => undefined);
      await drop().catch(again);
    });
  } finally {
    dir.close();
  }
}

/** Removes a journal so that no power cut brings it back: what comes after it must not be taken for newer. */
export async function dropJournal(context: DiskContext, dirs: OpenDirs, journal: string): Promise<void> {
  try {
    // Not at once: the bytes in it make this a slow call.
    await context.fs.unlink(dirs.get("").at(journal));
  } catch (error) {
    if (errno(error) !== "ENOENT") throw error;
  }
  await syncDirs(context, [""]).catch(() => syncDirs(context, [""]));
}

/**
 * Does a held commit again from its journal, where the files are not somebody's newer work. After a power cut
 * a file may have its name and its times but not its bytes, and after a failed sync nothing that is read from it
 * proves what is on disk: so our own files are always written anew.
 */
export async function redoHeld(
  context: DiskContext,
  dirs: OpenDirs,
  name: string,
  journal: Journal,
): Promise<void> {
  const { steps, sameBoot } = journal;
  const made = steps.filter((step) => step.do === "mkdir");
  for (const step of steps) {
    const bytes = journal.bytes.get(step);
    if (!isHeldPut(step) || bytes === undefined) continue;
    const source = openOrNull(dirs, step.from);
    const waits = source !== null && source.child(step.temp) !== null;
    const dir = openOrNull(dirs, step.dir);
    const isDue =
      dir === null
        ? (waits || !sameBoot) && isMadeAgain(context, dirs, step, made)
        : isLeftToDo(dir.child(step.name), step, sameBoot, waits);
    if (isDue) await rewrite(context, dirs, step, bytes);
    if (waits) unlinkQuietly(context, dirs.get(step.from), step.temp);
  }
  const there = steps.flatMap(touched).filter((rel) => openOrNull(dirs, rel) !== null);
  await syncDirs(context, there);
  await letGo(context, dirs, steps, name);
}

/** The directory, or null when it is not there any more. */
function openOrNull(dirs: OpenDirs, rel: string): Dir | null {
  try {
    return dirs.get(rel);
  } catch (error) {
    if (isTaken(error)) return null;
    throw error;
  }
}

/** A directory's place is empty, or somebody has put something else there. */
function isTaken(error: unknown): boolean {
  const codes = ["not_found", "not_a_directory", "outside", "exists"];
  return error instanceof StorageError && codes.includes(error.code);
}

/** Makes the directory of a put again if this commit made it; false when it is not to be had. */
function isMadeAgain(
  context: DiskContext,
  dirs: OpenDirs,
  step: HeldPut,
  made: readonly StepOf<"mkdir">[],
): boolean {
  try {
    for (const parent of made) {
      const rel = joinPath(parent.dir, parent.name);
      if (`${step.dir}/`.startsWith(`${rel}/`)) applyStep(context, dirs, parent, null);
    }
    return openOrNull(dirs, step.dir) !== null;
  } catch (error) {
    if (isTaken(error)) return false;
    throw error;
  }
}

/** Whether a put is still to be done, or done again, given what is at its place. */
function isLeftToDo(now: Stats | null, step: HeldPut, sameBoot: boolean, waits: boolean): boolean {
  if (now !== null && !now.isFile()) return false;
  if (now !== null && isWriteOf(step.print, now)) return true;
  // The system has run on: what was renamed is renamed, and a temporary that waits is one that was not.
  if (sameBoot) return waits && (now && printOf(now)) === step.old;
  // The file system's clock is behind ours by up to a tick: what came in that time may be newer.
  if (now === null || now.ctimeMs < timeOf(step.print) - tickMs) return true;
  // What was replaced may itself have lost its last bytes.
  if (step.old === null) return false;
  return step.old.startsWith(`${now.ino}:`) && now.mtimeMs <= timeOf(step.old);
}

/** The write time in a print of a file, milliseconds since the epoch. */
const timeOf = (print: string): number => Number(print.split(":")[1]);

async function rewrite(
  context: DiskContext,
  dirs: OpenDirs,
  step: HeldPut,
  bytes: Uint8Array,
): Promise<void> {
  const { fs } = context;
  const fill = (fd: number): Promise<void> => writeAll(fs, fd, bytes);
  const stamp = timeOf(step.print) / 1000;
  const dir = dirs.get(step.dir);
  const { name, fd } = await fillTemporary(context, dir, step.held, fill, stamp);
  try {
    await fs.fsync(fd);
    fs.renameSync(dirs.get(step.dir).at(name), dir.at(step.name));
  } catch (error) {
    unlinkQuietly(context, dir, name);
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}
