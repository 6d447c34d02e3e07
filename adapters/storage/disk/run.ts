import { constants } from "node:fs";
import { StorageError } from "../../../lib/storage.ts";
import { errno, storageError } from "./fs.ts";
import { markUndo, writeJournal } from "./journal.ts";
import type { Planned } from "./plan.ts";
import { printOf } from "./revision.ts";
import { unlinkQuietly } from "./stage.ts";
import type { DiskContext } from "./stage.ts";
import { NeedsCopy, OpenDirs, applyStep, undoStep } from "./steps.ts";
import type { Condition, Step } from "./steps.ts";
import { removeTrash } from "./trash.ts";
import type { Dir } from "./tree.ts";
import { Slices } from "./walk.ts";

const createFlags: number = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Makes what was renamed, linked or removed in these directories durable. */
export async function syncDirs(context: DiskContext, rels: Iterable<string>): Promise<void> {
  await Promise.all([...new Set(rels)].map((rel) => syncDir(context, rel)));
}

async function syncDir(context: DiskContext, rel: string): Promise<void> {
  let dir: Dir;
  try {
    dir = context.tree.openDir(rel, true);
  } catch (error) {
    // One that may be written but not read cannot be synced; one that is gone need not be.
    if (error instanceof StorageError && ["denied", "not_found"].includes(error.code)) return;
    throw error;
  }
  try {
    await context.fs.fsync(dir.fd);
  } catch (error) {
    // Some file systems do not know how to sync a directory and need not.
    if (errno(error) !== "EINVAL") throw error;
  } finally {
    dir.close();
  }
}

/** The directories whose names a step changes. */
function touched(step: Step): string[] {
  if (step.do === "put") return [step.dir, step.from];
  if (step.do === "move") return [step.dir, step.toDir];
  return [step.dir];
}

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

/**
 * Carries out a planned commit: all of it, or an error and none of it. More than one step is journaled, so
 * that a crash in the middle is finished, or undone, by the next `recover`.
 */
export async function runCommit<T>(
  context: DiskContext,
  planned: readonly Planned[],
  finish: () => Promise<T>,
): Promise<T> {
  const steps = planned.map(({ step }) => step);
  const dirs = new OpenDirs(context);
  let journal: string | null = null;
  let result: T;
  try {
    if (steps.length > 1) {
      // The bodies' names must be on disk before the journal that counts on them.
      await syncDirs(
        context,
        steps.flatMap((step) => (step.do === "put" ? [step.from] : [])),
      );
      journal = await writeJournal(context, dirs.get(""), steps);
      await syncDirs(context, [""]);
    }
    const slices = new Slices();
    for (const { step, condition } of planned) {
      await apply(context, dirs, step, condition);
      if (slices.due()) await slices.turn();
    }
    await syncDirs(context, steps.flatMap(touched));
    result = await finish();
  } catch (error) {
    await undoCommit(context, dirs, steps, journal);
    dirs.close();
    throw error;
  }
  await cleanUp(context, dirs, steps, journal);
  dirs.close();
  return result;
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
  if (complete) await quietly(cleanUp(context, dirs, steps, journal));
}

/** Undoes in reverse; goes on past a step that fails twice, and says whether none did. */
export function undoSteps(context: DiskContext, dirs: OpenDirs, steps: readonly Step[]): boolean {
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
export async function cleanUp(
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
export async function finishJournal(
  context: DiskContext,
  journal: string,
  steps: readonly Step[],
  undo: boolean,
): Promise<void> {
  const dirs = new OpenDirs(context);
  try {
    let forward = !undo;
    try {
      if (forward) for (const step of steps) await apply(context, dirs, step, null);
    } catch {
      await syncDirs(context, steps.flatMap(touched));
      await markUndo(context, dirs.get(""), journal);
      forward = false;
    }
    if (!forward && !undoSteps(context, dirs, steps)) {
      throw new StorageError("io", "An interrupted commit could be neither finished nor undone.");
    }
    await syncDirs(context, steps.flatMap(touched));
    await cleanUp(context, dirs, steps, journal);
  } catch (error) {
    throw storageError(error, "");
  } finally {
    dirs.close();
  }
}
