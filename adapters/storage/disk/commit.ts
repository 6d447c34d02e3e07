import { StorageError } from "../../../lib/storage.ts";
import type { Change, Entry, Staged } from "../../../lib/storage.ts";
import { checkPaths } from "../change-paths.ts";
import { storageError } from "./fs.ts";
import { Planner } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { locked } from "./lock.ts";
import { entryOf } from "./revision.ts";
import { runCommit } from "./run.ts";
import { dropBody, stageBody, stageStream, writeAll, writeTarget } from "./stage.ts";
import type { Body, DiskContext } from "./stage.ts";
import { joinPath, quote } from "./tree.ts";
import { Slices } from "./walk.ts";

/** So many bodies are written and synced at a time: as many as the thread pool has threads. */
const parallelBodies = 4;

/** Takes commits one after another, and keeps the bodies that wait for one. */
export class Committer {
  readonly #context: DiskContext;
  readonly #staged = new Map<string, Body>();
  #tail: Promise<unknown> = Promise.resolve();

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

  async commit(changes: readonly Change[]): Promise<(Entry | null)[]> {
    checkPaths(changes);
    if (changes.length === 0) return [];
    const own: Body[] = [];
    let ran = false;
    try {
      // Refused before any byte is written, where that is certain already.
      await this.#plan(changes, null);
      const bodies = await this.#bodies(changes, own);
      return await this.#alone(changes, async () => {
        const plan = await this.#plan(changes, bodies);
        ran = true;
        // Once begun, success and failure alike consume what was staged.
        for (const body of bodies) if (body) this.#staged.delete(body.id);
        return await runCommit(this.#context, plan.planned, () => this.#entries(changes, plan));
      });
    } catch (error) {
      if (!ran) for (const body of own) dropBody(this.#context, body);
      throw storageError(error, pathOf(changes[0]));
    }
  }

  /** Runs work when all work before it has ended, and while no other process commits. */
  #alone<T>(changes: readonly Change[], work: () => Promise<T>): Promise<T> {
    const mine = this.#tail.then(async () => {
      await this.#context.tree.ensureRoot(this.#context.dirMode);
      return locked(this.#context, (code) => isOptional(code, changes), work);
    });
    this.#tail = mine.catch(() => undefined);
    return mine;
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
  async #bodies(changes: readonly Change[], own: Body[]): Promise<(Body | undefined)[]> {
    const bodies: (Body | undefined)[] = changes.map(() => undefined);
    const left = changes.entries();
    let failed = false;
    const worker = async (): Promise<void> => {
      for (const [i, change] of left) {
        if (failed) return;
        if (change.op !== "write") continue;
        try {
          bodies[i] = await this.#body(change, own);
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

  async #body(change: Extract<Change, { op: "write" }>, own: Body[]): Promise<Body> {
    const target = writeTarget(this.#context, change.path);
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
    return staged;
  }

  async #entries(changes: readonly Change[], plan: Plan): Promise<(Entry | null)[]> {
    const slices = new Slices();
    const entries: (Entry | null)[] = [];
    for (const [i, result] of plan.results.entries()) {
      entries.push(result && this.#entry(changes[i], result));
      if (slices.due()) await slices.turn();
    }
    return entries;
  }

  #entry(change: Change | undefined, result: { dir: string; name: string }): Entry {
    const path = change?.op === "move" ? change.to : pathOf(change);
    const stats = this.#context.tree.look(joinPath(result.dir, result.name))?.stats;
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
