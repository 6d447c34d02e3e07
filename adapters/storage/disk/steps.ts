import { StorageError } from "../../../lib/storage.ts";
import { aDirectory, existsOtherwise, notAFile, notEmpty, notFound, occupied, quote } from "../refusals.ts";
import { errno } from "./fs.ts";
import type { Stats } from "./fs.ts";
import type { OpenDirs } from "./open-dirs.ts";
import { isWriteOf, printOf, revisionOf } from "./revision.ts";
import type { DiskContext, Ownership } from "./stage.ts";
import { joinPath } from "./tree.ts";
import type { Dir } from "./tree.ts";

/**
 * A commit is a row of these. All paths are real ones (no links left), so a step means the same after a crash.
 * `print`: what the moved, written or removed thing looks like; `old`: what a put or move replaces, or null.
 */
export type Step =
  | { do: "mkdir"; dir: string; name: string; existed?: boolean }
  | ({
      do: "put";
      dir: string;
      name: string;
      from: string;
      temp: string;
      print: string;
      /** The bytes are in the journal, and not on disk anywhere else until the commit is settled. */
      held?: Held;
    } & Replacing)
  | { do: "remove"; dir: string; name: string; trash: string; print: string }
  | ({ do: "move"; dir: string; name: string; toDir: string; toName: string; print: string } & Replacing);

/** Bytes in a journal: how many, and what the file with them looks like. */
export interface Held extends Ownership {
  size: number;
}

/** `copied`: what the backup is a copy of, where hard links do not work. */
interface Replacing {
  old: string | null;
  backup: string;
  copied?: string;
}

/** What the caller asked of a step's place, known only while the commit runs. */
export interface Condition {
  path: string;
  revision?: string | null | undefined;
  recursive?: boolean;
  replace?: boolean;
}

/** A hard link could not be made: the replaced file has to be copied first. */
export class NeedsCopy extends Error {
  readonly dir: string;
  readonly file: string;
  readonly backup: string;

  constructor(dir: string, file: string, backup: string) {
    super("A backup has to be copied.");
    this.dir = dir;
    this.file = file;
    this.backup = backup;
  }
}

const linkless = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** The disagreement between an expected and the current revision. */
function conflict(path: string, expected: string | null, current: Stats | null): StorageError {
  const currentRevision = current && revisionOf(current);
  const what =
    expected === null ? "already exists" : current === null ? "no longer exists" : "was changed meanwhile";
  return new StorageError("conflict", `${quote(path)} ${what}.`, {
    path,
    expectedRevision: expected,
    currentRevision,
  });
}

/** Throws unless the place is as the caller requires. */
export function checkRevision(condition: Condition, now: Stats | null): void {
  const { revision, path } = condition;
  if (revision === undefined) return;
  if (revision !== (now && revisionOf(now))) throw conflict(path, revision, now);
}

/** Applies one step at once. Without a condition (recovery) a step that is already applied is left alone. */
export function applyStep(
  context: DiskContext,
  dirs: OpenDirs,
  step: Step,
  condition: Condition | null,
): void {
  switch (step.do) {
    case "mkdir":
      return applyMkdir(context, dirs, step, condition);
    case "put":
      return applyPut(context, dirs, step, condition);
    case "remove":
      return applyRemove(context, dirs, step, condition);
    case "move":
      return applyMove(context, dirs, step, condition);
  }
}

/** A step of one kind. */
export type StepOf<Do extends Step["do"]> = Extract<Step, { do: Do }>;

function applyMkdir(
  context: DiskContext,
  dirs: OpenDirs,
  step: StepOf<"mkdir">,
  condition: Condition | null,
): void {
  const dir = dirs.get(step.dir);
  try {
    context.fs.mkdirSync(dir.at(step.name), context.dirMode);
  } catch (error) {
    if (errno(error) !== "EEXIST") throw error;
    if (dir.child(step.name)?.isDirectory()) {
      step.existed = true;
      return;
    }
    const path = condition?.path ?? joinPath(step.dir, step.name);
    throw existsOtherwise(path);
  }
}

/** Keeps what is about to be replaced under a second name, so that it can come back. */
function keepBackup(context: DiskContext, dir: Dir, name: string, now: Stats, step: Replacing): void {
  const { backup } = step;
  const kept = dir.child(backup);
  step.old = printOf(now);
  if (kept !== null) {
    if (kept.ino === now.ino || step.copied === step.old) return;
    context.fs.unlinkSync(dir.at(backup));
  }
  try {
    context.fs.linkSync(dir.at(name), dir.at(backup));
  } catch (error) {
    if (linkless.has(errno(error))) throw new NeedsCopy(dir.rel, name, backup);
    throw error;
  }
}

/** A place that a put or a file's move may take over. */
function checkReplaceable(path: string, now: Stats | null): void {
  if (now === null || now.isFile()) return;
  if (now.isDirectory()) throw aDirectory(path);
  if (now.isSymbolicLink())
    throw new StorageError("conflict", `${quote(path)} became a link meanwhile.`, { path });
  throw notAFile(path);
}

/** After a crash only what still looks as it did then is replaced: anything else is somebody's newer work. */
function checkOld(path: string, now: Stats | null, old: string | null): void {
  if ((now && printOf(now)) !== old)
    throw new StorageError("conflict", `${quote(path)} was changed meanwhile.`, { path });
}

function applyPut(
  context: DiskContext,
  dirs: OpenDirs,
  step: StepOf<"put">,
  condition: Condition | null,
): void {
  const { fs } = context;
  const path = condition?.path ?? joinPath(step.dir, step.name);
  const source = dirs.get(step.from);
  if (condition === null && source.child(step.temp) === null) return;
  const dir = step.dir === step.from ? source : dirs.get(step.dir);
  const now = dir.child(step.name);
  if (condition === null && now && printOf(now) === step.print)
    return void fs.unlinkSync(source.at(step.temp));
  checkReplaceable(path, now);
  if (condition) checkRevision(condition, now);
  else checkOld(path, now, step.old);
  step.old = now && printOf(now);
  if (now !== null) {
    keepBackup(context, dir, step.name, now, step);
  } else if (condition?.revision === null) {
    // A link fails when the name appeared in this very moment; a rename would replace it.
    if (linkInto(context, source, step.temp, dir, step.name, condition)) return;
  }
  fs.renameSync(source.at(step.temp), dir.at(step.name));
}

function linkInto(
  context: DiskContext,
  source: Dir,
  temp: string,
  dir: Dir,
  name: string,
  condition: Condition,
): boolean {
  try {
    context.fs.linkSync(source.at(temp), dir.at(name));
  } catch (error) {
    if (errno(error) === "EEXIST") throw conflict(condition.path, null, dir.child(name));
    if (linkless.has(errno(error))) return false;
    throw error;
  }
  context.fs.unlinkSync(source.at(temp));
  return true;
}

function applyRemove(
  context: DiskContext,
  dirs: OpenDirs,
  step: StepOf<"remove">,
  condition: Condition | null,
): void {
  const dir = dirs.get(step.dir);
  const now = dir.child(step.name);
  if (condition === null && (now === null || dir.child(step.trash) !== null || printOf(now) !== step.print))
    return;
  if (condition) checkRevision(condition, now);
  const path = condition?.path ?? "";
  if (now === null) throw notFound(path);
  step.print = printOf(now);
  context.fs.renameSync(dir.at(step.name), dir.at(step.trash));
  if (condition === null || condition.recursive || !now.isDirectory()) return;
  // Looked at under its new name, where nobody can add to it between the look and the removal.
  if (!isEmpty(context, dir, step.trash)) throw notEmpty(path);
}

/** Whether a directory has no children but temporaries. */
export function isEmpty(context: DiskContext, dir: Dir, name: string): boolean {
  return context.fs.readdirSync(dir.at(name)).every((child) => child.startsWith(".owtmp-"));
}

function applyMove(
  context: DiskContext,
  dirs: OpenDirs,
  step: StepOf<"move">,
  condition: Condition | null,
): void {
  const { fs } = context;
  const dir = dirs.get(step.dir);
  const toDir = dirs.get(step.toDir);
  const now = dir.child(step.name);
  if (condition === null && (now === null || printOf(now) !== step.print)) return;
  const path = condition?.path ?? joinPath(step.dir, step.name);
  if (now === null) throw notFound(path);
  step.print = printOf(now);
  const taken = toDir.child(step.toName);
  const toPath = joinPath(step.toDir, step.toName);
  if (condition === null) checkOld(toPath, taken, step.old);
  if (taken !== null) {
    checkMoveOnto(toPath, now, taken, condition?.replace ?? true);
    if (!taken.isDirectory()) keepBackup(context, toDir, step.toName, taken, step);
  }
  fs.renameSync(dir.at(step.name), toDir.at(step.toName));
  if (taken?.isFile() && isSame(taken, now)) dropSecondName(context, dir, step.name, now);
}

/**
 * Renaming between two names of one file does nothing, so that the old one is removed here. Where the file system
 * does not tell them apart (upper from lower case) they are one name, found under both, and listed under the new.
 */
function dropSecondName(context: DiskContext, dir: Dir, name: string, moved: Stats): void {
  const left = dir.child(name);
  if (left === null || !isSame(left, moved)) return;
  if (context.fs.readdirSync(dir.path).includes(name)) context.fs.unlinkSync(dir.at(name));
}

/** The same file or directory. */
const isSame = (a: Stats, b: Stats): boolean => a.ino === b.ino && a.dev === b.dev;

/** Refuses a move onto something that it must not or cannot replace. */
export function checkMoveOnto(path: string, moved: Stats, taken: Stats, replace: boolean): void {
  // A directory has one name: this is the one that it has, in another case.
  if (moved.isDirectory() && isSame(moved, taken)) return;
  if (!replace || (moved.isDirectory() && !taken.isDirectory())) {
    throw occupied(path);
  }
  checkReplaceable(path, taken);
}

/** Takes one step back, whether it was applied or not. What others put in its place meanwhile stays. */
export function undoStep(context: DiskContext, dirs: OpenDirs, step: Step): void {
  const { fs } = context;
  if (step.do === "mkdir") {
    if (step.existed) return;
    try {
      fs.rmdirSync(dirs.get(step.dir).at(step.name));
    } catch (error) {
      if (!["ENOENT", "ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(errno(error))) throw error;
    }
  } else if (step.do === "put") {
    undoPut(context, dirs, step);
  } else if (step.do === "remove") {
    const dir = dirs.get(step.dir);
    if (dir.child(step.trash) !== null && dir.child(step.name) === null) {
      fs.renameSync(dir.at(step.trash), dir.at(step.name));
    }
  } else {
    undoMove(context, dirs, step);
  }
}

function undoPut(context: DiskContext, dirs: OpenDirs, step: StepOf<"put">): void {
  const { fs } = context;
  // First, since the directory of the target may never have been made.
  const source = dirs.get(step.from);
  if (source.child(step.temp) !== null) fs.unlinkSync(source.at(step.temp));
  const dir = dirs.get(step.dir);
  const now = dir.child(step.name);
  if (now === null || !(step.held ? isWriteOf(step.print, now) : printOf(now) === step.print)) return;
  if (dir.child(step.backup) !== null) fs.renameSync(dir.at(step.backup), dir.at(step.name));
  else if (step.old === null) fs.unlinkSync(dir.at(step.name));
}

function undoMove(context: DiskContext, dirs: OpenDirs, step: StepOf<"move">): void {
  const { fs } = context;
  const dir = dirs.get(step.dir);
  const toDir = dirs.get(step.toDir);
  const moved = toDir.child(step.toName);
  if (moved === null || printOf(moved) !== step.print || dir.child(step.name) !== null) return;
  fs.renameSync(toDir.at(step.toName), dir.at(step.name));
  if (toDir.child(step.backup) !== null) fs.renameSync(toDir.at(step.backup), toDir.at(step.toName));
}
