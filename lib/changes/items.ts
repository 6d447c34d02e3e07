import type { Change, Entry } from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

/** One of several changes that a host allows together and that then stand or fall each for itself. */
export interface ChangeItem<T> {
  /** Audit target. */
  target: string;
  /** What the host is shown; null when there is nothing to show. */
  shown: Change | null;
  /** Says what to change, in its turn, when the items before it are done, or null for nothing; throws when that cannot be. */
  plan(): Promise<Change | null>;
  /** The result once committed. */
  done(entry: Entry | null): T;
  /** The result when the plan or the commit threw. */
  failed(error: unknown): T;
}

/** Changes that are asked for as one and made one by one. */
export interface EachRequest<T> {
  /** The contract's action word. */
  action: string;
  /** One line for the host. */
  summary: string;
  /** Absolute paths that the contract lists for this action. Without any there is nothing to ask about. */
  paths: readonly string[];
  items: readonly ChangeItem<T>[];
  /** No item depends on one before it: they are committed together while that works, which is several times quicker. */
  independent: boolean;
}

/** What the host is shown of items. */
export function shownOf(items: readonly ChangeItem<unknown>[]): Change[] {
  return items.map((item) => item.shown).filter((change) => change !== null);
}

/** How an item ended. */
export interface Outcome<T> {
  made: boolean;
  result: T;
}

/** Commits all items in one go; null, and nothing done, when one of them does not let it. */
export async function commitAll<T>(
  workspace: Workspace,
  items: readonly ChangeItem<T>[],
): Promise<Outcome<T>[] | null> {
  try {
    const changes = await Promise.all(items.map((item) => item.plan()));
    const entries = (await workspace.commit(changes.filter((change) => change !== null))).values();
    return items.map((item, index) => {
      const entry = changes[index] ? entries.next().value : null;
      return { made: true, result: item.done(entry ?? null) };
    });
  } catch {
    // Whose fault it was shows when each is tried alone.
    return null;
  }
}

/** Commits items in order, each for itself. */
export async function commitOneByOne<T>(
  workspace: Workspace,
  items: readonly ChangeItem<T>[],
): Promise<Outcome<T>[]> {
  const outcomes: Outcome<T>[] = [];
  for (const item of items) {
    try {
      const change = await item.plan();
      const [entry] = change ? await workspace.commit([change]) : [];
      outcomes.push({ made: true, result: item.done(entry ?? null) });
    } catch (error) {
      outcomes.push({ made: false, result: item.failed(error) });
    }
  }
  return outcomes;
}
