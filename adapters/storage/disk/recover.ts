import { StorageError, temporaryName } from "../../../lib/storage.ts";
import { readJournal } from "./journal.ts";
import { locked } from "./lock.ts";
import { lockName } from "./names.ts";
import { finishJournal } from "./run.ts";
import type { DiskContext } from "./stage.ts";
import type { Step } from "./steps.ts";
import { syncDirs } from "./sync.ts";
import { removeTrash } from "./trash.ts";
import { joinPath } from "./tree.ts";
import type { Dir } from "./tree.ts";
import { Slices, openOrSkip } from "./walk.ts";

/** What a recovery found. `kept`: temporaries that an unfinished journal still needs. */
export interface Recovery {
  kept: ReadonlySet<string>;
  failed: StorageError | null;
}

/** Finishes or undoes every commit that a dead process left in the middle. */
export async function recoverJournals(context: DiskContext): Promise<Recovery> {
  const root = openOrSkip(context.tree, "");
  if (root === null) return { kept: new Set(), failed: null };
  try {
    const work = (): Promise<Recovery> => finishAll(context, root);
    // A start that finds nothing to do changes nothing. A living process's journals are never touched, so that
    // recovery can do without the lock.
    const idle = root.child(lockName) === null && abandonedJournals(context, root).length === 0;
    return await (idle ? work() : locked(context, () => true, work));
  } finally {
    root.close();
  }
}

async function finishAll(context: DiskContext, root: Dir): Promise<Recovery> {
  const kept = new Set<string>();
  let failed: StorageError | null = null;
  for (const name of abandonedJournals(context, root)) {
    const journal = readJournal(context, root, name);
    if (journal === null) continue;
    try {
      await finishJournal(context, name, journal);
    } catch (error) {
      for (const temporary of [name, ...journal.steps.flatMap(temporariesOf)]) kept.add(temporary);
      failed = new StorageError(
        "io",
        "An interrupted commit could be neither finished nor undone.",
        {},
        error,
      );
    }
  }
  return { kept, failed };
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

/** Deletes abandoned temporaries from a directory down; `into` says which directories to enter. */
export async function sweep(
  context: DiskContext,
  from: string,
  kept: ReadonlySet<string>,
  into: (rel: string) => boolean,
): Promise<void> {
  const slices = new Slices();
  const pending = [from];
  for (let rel = pending.pop(); rel !== undefined; rel = pending.pop()) {
    let dir: Dir | null = null;
    try {
      dir = openOrSkip(context.tree, rel);
      if (dir === null) continue;
      for (const child of context.fs.direntsSync(dir.path)) {
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
