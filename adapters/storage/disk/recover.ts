import { dirname } from "node:path";
import { StorageError, temporaryName } from "../../../lib/storage.ts";
import { readJournal } from "./journal.ts";
import { locked } from "./lock.ts";
import { lockName } from "./names.ts";
import { finishJournal } from "./run.ts";
import type { DiskContext } from "./stage.ts";
import type { Step } from "./steps.ts";
import { syncDirs } from "./sync.ts";
import { removeTrash } from "./trash.ts";
import { DiskTree, joinPath } from "./tree.ts";
import type { Dir } from "./tree.ts";
import { Slices, namesIn, openOrSkip } from "./walk.ts";

/** Finishes or undoes every commit that a dead process left in the middle. Answers what kept it from doing so. */
export async function recoverJournals(context: DiskContext): Promise<StorageError | null> {
  const root = openOrSkip(context.tree, "");
  if (root === null) return null;
  try {
    const work = (): Promise<StorageError | null> => finishAll(context, root);
    // A start that finds nothing to do changes nothing. A living process's journals are never touched, so that
    // recovery can do without the lock.
    const idle = root.child(lockName) === null && abandonedJournals(context, root).length === 0;
    return await (idle ? work() : locked(context, () => true, work));
  } finally {
    root.close();
  }
}

async function finishAll(context: DiskContext, root: Dir): Promise<StorageError | null> {
  let failed: StorageError | null = null;
  for (const name of abandonedJournals(context, root)) {
    const journal = readJournal(context, root, name);
    if (journal === null) continue;
    try {
      await finishJournal(context, name, journal);
    } catch (error) {
      failed = new StorageError(
        "io",
        "An interrupted commit could be neither finished nor undone.",
        {},
        error,
      );
    }
  }
  return failed;
}

/** Finishes one journal, whoever wrote it. When there is none of that name any more, that is made durable. */
export async function recoverJournal(context: DiskContext, name: string): Promise<void> {
  const root = context.tree.openDir("");
  try {
    const journal = readJournal(context, root, name);
    await (journal === null ? syncDirs(context, [""]) : finishJournal(context, name, journal));
  } finally {
    root.close();
  }
}

function abandonedJournals(context: DiskContext, root: Dir): string[] {
  const found: { name: string; ctimeMs: number }[] = [];
  for (const name of context.fs.readdirSync(root.path)) {
    if (!temporaryName.test(name) || !context.names.is("journal", name)) continue;
    const stats = root.child(name);
    if (stats && context.names.isAbandoned(name, stats.ctimeMs)) found.push({ name, ctimeMs: stats.ctimeMs });
  }
  // Oldest first, so that of two commits to one file the later one wins.
  return found.toSorted((a, b) => a.ctimeMs - b.ctimeMs).map(({ name }) => name);
}

function temporariesOf(step: Step): string[] {
  if (step.do === "put") return [step.temp, step.backup];
  if (step.do === "remove") return [step.trash];
  return step.do === "move" ? [step.backup] : [];
}

/** The journals among the names in a directory, and the temporaries that those still need. */
function neededBy(context: DiskContext, dir: Dir, names: readonly string[]): string[] {
  return names.flatMap((name) => {
    if (!temporaryName.test(name) || !context.names.is("journal", name)) return [];
    const journal = readJournal(context, dir, name);
    return journal === null ? [] : [name, ...journal.steps.flatMap(temporariesOf)];
  });
}

/**
 * Temporaries that journals above the root still need: a directory above may be a root as well, whose server has not
 * been started again yet. Nothing but the names of temporaries is taken from there.
 */
export async function neededFromAbove({ tree, ...rest }: DiskContext): Promise<Set<string>> {
  const needed = new Set<string>();
  let at = tree.realRoot();
  for (; at !== null && at !== dirname(at); at = dirname(at)) {
    const above = new DiskTree(dirname(at), rest.fs, tree.abilities.proc);
    let dir: Dir | null = null;
    try {
      dir = openOrSkip(above, "");
      if (dir === null) continue;
      for (const name of neededBy({ ...rest, tree: above }, dir, await namesIn(above, dir))) needed.add(name);
    } catch {
      // What may not be read up there is not ours, and no server of this user wrote it.
    } finally {
      dir?.close();
    }
  }
  return needed;
}

/**
 * Deletes abandoned temporaries; `into` says which directories to enter. What a journal needs stays, and is added to
 * `kept`: one of our own could not be finished, and one further down is of another root, whose server will do it.
 */
export async function sweep(
  context: DiskContext,
  kept: Set<string>,
  into: (rel: string) => boolean,
): Promise<void> {
  const slices = new Slices();
  const pending = [""];
  for (let rel = pending.pop(); rel !== undefined; rel = pending.pop()) {
    let dir: Dir | null = null;
    try {
      dir = openOrSkip(context.tree, rel);
      if (dir === null) continue;
      const children = context.fs.direntsSync(dir.path);
      // The steps of a journal lie below it, so that it is met before what it needs.
      for (const name of neededBy(
        context,
        dir,
        children.map((child) => child.name),
      ))
        kept.add(name);
      for (const child of children) {
        const { name } = child;
        if (name.startsWith(".owtmp-") && temporaryName.test(name)) {
          const stats = kept.has(name) ? null : dir.child(name);
          if (stats && context.names.isAbandoned(name, stats.ctimeMs)) await removeTrash(context, dir, name);
        } else if (isDirectory(dir, child) && into(joinPath(rel, name))) {
          pending.push(joinPath(rel, name));
        }
        if (slices.due()) await slices.turn();
      }
    } catch {
      // One directory that cannot be swept must not keep the others from it.
    } finally {
      dir?.close();
    }
  }
}

function isDirectory(
  dir: Dir,
  child: { name: string; isDirectory(): boolean; isFile(): boolean; isSymbolicLink(): boolean },
): boolean {
  if (child.isDirectory() || child.isFile() || child.isSymbolicLink()) return child.isDirectory();
  return dir.child(child.name)?.isDirectory() === true;
}
