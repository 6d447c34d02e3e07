import { constants } from "node:fs";
import { StorageError } from "../../../lib/storage.ts";
import { areHeld, dropJournal, redoHeld, settleHeld } from "./held.ts";
import { markUndo, writeJournal } from "./journal.ts";
import type { HoldingJournal, Journal } from "./journal.ts";
import type { Planned } from "./plan.ts";
import { printOf } from "./revision.ts";
import { unlinkQuietly } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import { OpenDirs } from "./open-dirs.ts";
import { NeedsCopy, applyStep, undoStep } from "./steps.ts";
import type { Condition, Step } from "./steps.ts";
import { syncDirs, touched } from "./sync.ts";
import { removeTrash } from "./trash.ts";
import { Slices } from "./walk.ts";

const createFlags: number = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Applies a step, copying what it replaces where the file system has no hard links. */
async function apply(
  context: DiskContext,
  dirs: OpenDirs,
  step: Step,
  condition: Condition | null,
): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return applyStep(context, dirs, step, condition);
    } catch (error) {
      if (!(error instanceof NeedsCopy)) throw error;
      if (attempt === 3)
        throw new StorageError("io", "A file changes so often that it cannot be kept.", {}, error);
      const copied = await copyBackup(context, dirs, error);
      if (step.do === "put" || step.do === "move") step.copied = copied;
    }
  }
}

async function copyBackup(context: DiskContext, dirs: OpenDirs, need: NeedsCopy): Promise<string> {
  const { fs } = context;
  const source = context.tree.openFile(need.dir === "" ? need.file : `${need.dir}/${need.file}`);
  if (source === null) throw need;
  let fd = -1;
  try {
    fd = fs.openSync(dirs.get(need.dir).at(need.backup), createFlags, source.stats.mode & 0o777);
    const buffer = new Uint8Array(1_048_576);
    for (let at = 0; ;) {
      const count = await fs.read(source.fd, buffer, 0, buffer.length, at);
      if (count === 0) break;
      for (let done = 0; done < count;) done += await fs.write(fd, buffer, done, count - done);
      at += count;
    }
    fs.futimesSync(fd, source.stats.atimeMs / 1000, source.stats.mtimeMs / 1000);
    await fs.fsync(fd);
    return printOf(source.stats);
  } finally {
    fs.closeSync(source.fd);
    if (fd >= 0) fs.closeSync(fd);
  }
}

/** The journal that holds the bytes, and the open files that they were written to, which the commit closes. */
export interface HeldBodies {
  journal: HoldingJournal;
  files: readonly number[];
}

/** How a commit ended that is done. */
export interface Done<T> {
  result: T;
  settling: Settling | null;
}

/** What is left to be done before the next commit. When it fails, the journal must be redone. */
export interface Settling {
  journal: string;
  /** The journal alone does not keep the promise: somebody changed a file in the middle of the commit. */
  beforeAnswer: boolean;
  work: () => Promise<void>;
}

/**
 * Carries out a planned commit: all of it, or an error and none of it. More than one step is journaled, so
 * that a crash in the middle is finished, or undone, by the next `recover`.
 */
export async function runCommit<T>(
  context: DiskContext,
  planned: readonly Planned[],
  held: HeldBodies | null,
  finish: (dirs: OpenDirs) => Promise<T>,
): Promise<Done<T>> {
  const steps = planned.map(({ step }) => step);
  const dirs = new OpenDirs(context);
  const expected = steps.map(oldOf);
  const close = (): void => {
    for (const fd of held?.files ?? []) context.fs.closeSync(fd);
    dirs.close();
  };
  let journal: string | null = null;
  let result: T;
  try {
    journal = await begin(context, dirs, steps, held);
    if (journal !== null) await syncDirs(context, [""]);
    await applyAll(context, dirs, planned);
    if (held === null) await syncDirs(context, steps.flatMap(touched));
    result = await finish(dirs);
  } catch (error) {
    await undoCommit(context, dirs, steps, journal);
    close();
    throw error;
  }
  if (held !== null && journal !== null) {
    const written = journal;
    const settle = (): Promise<void> => settleHeld(context, dirs, steps, written, held.files);
    const beforeAnswer = steps.some((step, i) => oldOf(step) !== expected[i]);
    return { result, settling: { journal, beforeAnswer, work: () => settle().finally(close) } };
  }
  await cleanUp(context, dirs, steps, journal);
  close();
  return { result, settling: null };
}

/** What the journal says that a step replaces. */
const oldOf = (step: Step): string | null => (step.do === "put" ? step.old : null);

/** Writes the journal of a commit that needs one: once its name is on disk, a crash ends in the new state. */
async function begin(
  context: DiskContext,
  dirs: OpenDirs,
  steps: readonly Step[],
  held: HeldBodies | null,
): Promise<string | null> {
  if (held === null && steps.length < 2) return null;
  if (held === null) {
    // The bodies' names must be on disk before the journal that counts on them.
    await syncDirs(
      context,
      steps.flatMap((step) => (step.do === "put" ? [step.from] : [])),
    );
  }
  const root = dirs.get("");
  return held === null ? writeJournal(context, root, steps) : held.journal.finish(root, steps);
}

async function applyAll(context: DiskContext, dirs: OpenDirs, planned: readonly Planned[]): Promise<void> {
  const slices = new Slices();
  for (const { step, condition } of planned) {
    await apply(context, dirs, step, condition);
    if (slices.due()) await slices.turn();
  }
}

const quietly = (work: Promise<void>): Promise<void> => work.catch(() => undefined);

/** Takes all steps back. What cannot be taken back now stays in the journal for the next `recover`. */
async function undoCommit(
  context: DiskContext,
  dirs: OpenDirs,
  steps: readonly Step[],
  journal: string | null,
): Promise<void> {
  if (journal !== null) {
    // Backups must be on disk before the record that sends recovery to them.
    await quietly(syncDirs(context, steps.flatMap(touched)));
    await quietly(markUndo(context, dirs.get(""), journal));
  }
  const complete = undoSteps(context, dirs, steps);
  await quietly(syncDirs(context, steps.flatMap(touched)));
  if (!complete) return;
  // It would do the steps again, also without the mark.
  if (journal !== null && areHeld(steps)) await quietly(dropJournal(context, dirs, journal));
  await quietly(cleanUp(context, dirs, steps, journal));
}

/** Undoes in reverse; goes on past a step that fails twice, and says whether none did. */
function undoSteps(context: DiskContext, dirs: OpenDirs, steps: readonly Step[]): boolean {
  let complete = true;
  for (const step of steps.toReversed()) {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      try {
        undoStep(context, dirs, step);
        break;
      } catch (error) {
        // A directory that is gone holds nothing to take back.
        if (error instanceof StorageError && error.code === "not_found") break;
        if (attempt === 1) complete = false;
      }
    }
  }
  return complete;
}

/** Removes the journal first (the outcome is final), then what only an undo would have needed. */
async function cleanUp(
  context: DiskContext,
  dirs: OpenDirs,
  steps: readonly Step[],
  journal: string | null,
): Promise<void> {
  if (journal !== null) unlinkQuietly(context, dirs.get(""), journal);
  const slices = new Slices();
  for (const step of steps) {
    if (slices.due()) await slices.turn();
    // A second try outlasts a passing fault. The outcome stands whatever happens: a sweep takes what is left.
    await dropRemains(context, dirs, step).catch(() => quietly(dropRemains(context, dirs, step)));
  }
}

async function dropRemains(context: DiskContext, dirs: OpenDirs, step: Step): Promise<void> {
  if (step.do === "put") unlinkQuietly(context, dirs.get(step.dir), step.backup);
  else if (step.do === "move") unlinkQuietly(context, dirs.get(step.toDir), step.backup);
  else if (step.do === "remove") await removeTrash(context, dirs.get(step.dir), step.trash);
}

/** Finishes a journaled commit after a crash, or undoes it when it was being undone or cannot be finished. */
export async function finishJournal(context: DiskContext, name: string, journal: Journal): Promise<void> {
  const { steps, undo } = journal;
  const dirs = new OpenDirs(context);
  try {
    // It may have been answered: there is no way back.
    if (areHeld(steps) && !undo) return await redoHeld(context, dirs, name, journal);
    let forward = !undo;
    try {
      if (forward) for (const step of steps) await apply(context, dirs, step, null);
    } catch {
      await syncDirs(context, steps.flatMap(touched));
      await markUndo(context, dirs.get(""), name);
      forward = false;
    }
    if (!forward && !undoSteps(context, dirs, steps)) {
      throw new StorageError("io", "An interrupted commit could be neither finished nor undone.");
    }
    await syncDirs(context, steps.flatMap(touched));
    await cleanUp(context, dirs, steps, name);
  } catch (error) {
    throw context.tree.refusal(error, "");
  } finally {
    dirs.close();
  }
}
