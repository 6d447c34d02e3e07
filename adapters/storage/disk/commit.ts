import { StorageError } from "../../../lib/storage.ts";
import type { Change, Entry, Staged } from "../../../lib/storage.ts";
import { checkPaths } from "../change-paths.ts";
import { quote } from "../refusals.ts";
import { writeAll } from "./block-writer.ts";
import { storageError } from "./fs.ts";
import { Planner } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { bytesToHold } from "./held.ts";
import { HoldingJournal } from "./journal.ts";
import { locked } from "./lock.ts";
import { recoverJournal } from "./recover.ts";
import { entryOf, printOf } from "./revision.ts";
import { runCommit } from "./run.ts";
import type { Done, Settling } from "./run.ts";
import { dropBody, fillTemporary, readopt, stageBody, stageStream } from "./stage.ts";
import type { Body, DiskContext } from "./stage.ts";
import { OpenDirs } from "./open-dirs.ts";
import { joinPath } from "./tree.ts";
import type { Target } from "./tree.ts";
import { Slices } from "./walk.ts";

/** So many bodies are written and synced at a time: as many as the thread pool has threads. */
const parallelBodies = 4;

/**
 * So long after an answer its commit is settled, unless another one waits for that: what the answer goes on to need
 * of the disk, such as its line in a log, must not queue behind many files.
 */
const settleAfterMs = 10;

/** Takes commits one after another, and keeps the bodies that wait for one. */
export class Committer {
  readonly #context: DiskContext;
  readonly #staged = new Map<string, Body>();
  #tail: Promise<void> = Promise.resolve();
  /** Commits that have not begun. */
  #waiting = 0;
  /** Ends the pause of a commit that need not be settled at once. */
  #hurry: () => void = () => undefined;
  /** The journal of a commit that was answered and could not be settled. */
  #unsettled: string | null = null;

  constructor(context: DiskContext) {
    this.#context = context;
  }

  async stage(
    path: string,
    body: ReadableStream<Uint8Array>,
    options?: { maxBytes?: number; signal?: AbortSignal },
  ): Promise<Staged> {
    const staged = await stageStream(this.#context, path, body, options);
    this.#staged.set(staged.id, staged);
    return { id: staged.id, size: staged.size };
  }

  discard(staged: Staged): void {
    const body = this.#staged.get(staged.id);
    this.#staged.delete(staged.id);
    if (body) dropBody(this.#context, body);
  }

  /** Settles when no commit is running and nothing of one is left to be done. */
  async settled(): Promise<void> {
    let last: Promise<void>;
    do {
      this.#hurry();
      last = this.#tail;
      await last;
    } while (last !== this.#tail);
  }

  async commit(changes: readonly Change[]): Promise<(Entry | null)[]> {
    checkPaths(changes);
    if (changes.length === 0) return [];
    const own: Body[] = [];
    const files: number[] = [];
    const bytes = bytesToHold(changes);
    let journal: HoldingJournal | null = null;
    let ran = false;
    try {
      // Refused before any byte is written, where that is certain already.
      const { targets } = await this.#plan(changes, null);
      if (bytes !== null) {
        await this.#context.tree.ensureRoot(this.#context.dirMode);
        journal = await HoldingJournal.begin(this.#context, bytes);
      }
      const bodies = await (bytes === null
        ? this.#bodies(changes, targets, own)
        : this.#heldBodies(bytes, [...targets.values()], own, files));
      return await this.#alone(changes, async () => {
        const plan = await this.#plan(changes, bodies);
        ran = true;
        // Once begun, success and failure alike consume what was staged.
        for (const body of bodies) if (body) this.#staged.delete(body.id);
        const held = journal && { journal, files: files.splice(0) };
        return runCommit(this.#context, plan.planned, held, (dirs) => this.#entries(changes, plan, dirs));
      });
    } catch (error) {
      if (!ran) for (const body of own) dropBody(this.#context, body);
      throw storageError(error, pathOf(changes[0]));
    } finally {
      for (const fd of files) this.#context.fs.closeSync(fd);
      await journal?.close();
    }
  }

  /**
   * Runs work when all work before it has ended, and while no other process commits. Its result is there before
   * what it leaves to be settled is done; that keeps the turn and the lock.
   */
  #alone<T>(changes: readonly Change[], work: () => Promise<Done<T>>): Promise<T> {
    return new Promise((resolve, reject) => {
      const turn = async (): Promise<void> => {
        await this.#context.tree.ensureRoot(this.#context.dirMode);
        await locked(
          this.#context,
          (code) => isOptional(code, changes),
          async () => {
            await this.#redo();
            const { result, settling } = await work();
            if (settling?.beforeAnswer) await this.#settle(settling);
            resolve(result);
            if (settling?.beforeAnswer !== false) return;
            await this.#pause();
            await this.#settle(settling).catch(() => undefined);
          },
        );
      };
      this.#hurry();
      this.#waiting += 1;
      this.#tail = this.#tail
        .then(() => {
          this.#waiting -= 1;
          return turn();
        })
        .catch(reject);
    });
  }

  async #pause(): Promise<void> {
    if (this.#waiting > 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, settleAfterMs);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #settle({ journal, work }: Settling): Promise<void> {
    this.#unsettled = journal;
    try {
      await work();
      this.#unsettled = null;
    } catch {
      // The fault may have been a passing one.
      await this.#redo();
    }
  }

  /** Does a commit again that was answered and then could not be settled; before that no other may change anything. */
  async #redo(): Promise<void> {
    if (this.#unsettled === null) return;
    await recoverJournal(this.#context, this.#unsettled);
    this.#unsettled = null;
  }

  async #plan(changes: readonly Change[], bodies: readonly (Body | undefined)[] | null): Promise<Plan> {
    const planner = new Planner(this.#context);
    const slices = new Slices();
    for (const [i, change] of changes.entries()) {
      try {
        planner.add(change, bodies?.[i]);
      } catch (error) {
        throw storageError(error, pathOf(change));
      }
      if (slices.due()) await slices.turn();
    }
    return planner.finish();
  }

  /** The bodies of all writes, in the order of the changes; `own` collects those that were written here. */
  async #bodies(
    changes: readonly Change[],
    targets: Plan["targets"],
    own: Body[],
  ): Promise<(Body | undefined)[]> {
    const bodies: (Body | undefined)[] = changes.map(() => undefined);
    const left = changes.entries();
    let failed = false;
    const worker = async (): Promise<void> => {
      for (const [i, change] of left) {
        if (failed) return;
        const target = targets.get(change);
        if (change.op !== "write" || target === undefined) continue;
        try {
          bodies[i] = await this.#body(change, target, own);
        } catch (error) {
          failed = true;
          throw storageError(error, change.path);
        }
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: parallelBodies }, worker));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    return bodies;
  }

  async #body(change: Extract<Change, { op: "write" }>, target: Target, own: Body[]): Promise<Body> {
    const bytes = change.body;
    if (bytes instanceof Uint8Array) {
      const body = await stageBody(this.#context, target, (fd) => writeAll(this.#context.fs, fd, bytes));
      own.push(body);
      return body;
    }
    const staged = this.#staged.get(bytes.id);
    if (!staged)
      throw new StorageError("not_found", `The staged bytes for ${quote(change.path)} are gone.`, {
        path: change.path,
      });
    await readopt(this.#context, staged, target);
    return staged;
  }

  /** Writes bodies that a journal is going to hold: not yet durable, their files left open in `files`. */
  async #heldBodies(
    bytes: readonly Uint8Array[],
    targets: readonly Target[],
    own: Body[],
    files: number[],
  ): Promise<Body[]> {
    const context = this.#context;
    const dirs = new OpenDirs(context);
    const slices = new Slices();
    try {
      for (const [i, target] of targets.entries()) {
        const body = bytes[i] ?? new Uint8Array();
        const fill = (fd: number): Promise<void> => writeAll(context.fs, fd, body);
        const { name, fd, stats } = await fillTemporary(
          context,
          dirs.get(target.dir),
          target.stats,
          fill,
        ).catch((error: unknown) => {
          throw storageError(error, joinPath(target.dir, target.name));
        });
        files.push(fd);
        const { uid, gid, size } = stats;
        const owner = { uid, gid, mode: stats.mode & 0o777 };
        own.push({ id: name, size, dir: target.dir, print: printOf(stats), owner });
        if (slices.due()) await slices.turn();
      }
    } finally {
      dirs.close();
    }
    return own;
  }

  async #entries(changes: readonly Change[], plan: Plan, dirs: OpenDirs): Promise<(Entry | null)[]> {
    const slices = new Slices();
    const entries: (Entry | null)[] = [];
    for (const [i, result] of plan.results.entries()) {
      entries.push(result && this.#entry(changes[i], result, dirs));
      if (slices.due()) await slices.turn();
    }
    return entries;
  }

  #entry(change: Change | undefined, result: { dir: string; name: string }, dirs: OpenDirs): Entry {
    const path = change?.op === "move" ? change.to : pathOf(change);
    // What was moved may be a link: then it is told what that points to.
    const stats =
      change?.op === "write"
        ? dirs.get(result.dir).child(result.name)
        : this.#context.tree.look(joinPath(result.dir, result.name))?.stats;
    if (!stats)
      throw new StorageError("conflict", `${quote(path)} was removed by another program.`, { path });
    return entryOf(path, stats);
  }
}

/** Whether a commit may do without the lock: where only directories below the root may be written, or to make room. */
function isOptional(code: string, changes: readonly Change[]): boolean {
  if (code === "EACCES" || code === "EPERM") return true;
  return ["ENOSPC", "EDQUOT", "no_space"].includes(code) && changes.every(({ op }) => op === "remove");
}

function pathOf(change: Change | undefined): string {
  if (change === undefined) return "";
  return change.op === "move" ? change.from : change.path;
}
