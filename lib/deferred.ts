import { ApiError } from "./errors.ts";
import { sleepUntilWoken } from "./feed.ts";
import type { Reply } from "./route.ts";

interface Deferred {
  tokenHash: string;
  workspaceId: string;
  reply: Reply | null;
  waiting: Set<() => void>;
}

/** How long an answer is kept after it is there, milliseconds. */
const keepMs = 10 * 60_000;
/** Most answers kept; the oldest finished ones go first. */
const mostKept = 1000;

/** Answers of requests whose callers did not hold the connection (`Prefer: respond-async`), kept to be polled. */
export class DeferredAnswers {
  readonly #byId = new Map<string, Deferred>();

  /** Remembers that the answer of this request will come; `owner` is who may ask for it, and where. */
  add(id: string, owner: { tokenHash: string; workspaceId: string }, answer: Promise<Reply>): void {
    const deferred: Deferred = { ...owner, reply: null, waiting: new Set() };
    this.#byId.set(id, deferred);
    this.#evict();
    void answer.then((reply) => {
      deferred.reply = reply;
      for (const wake of deferred.waiting) wake();
      const timer = setTimeout(() => this.#byId.delete(id), keepMs);
      (timer as { unref?: () => void }).unref?.();
    });
  }

  /** The answer of a request if it is there within `waitMs`, else null; 404 for one that is not the caller's, or not of the workspace named. */
  async get(
    id: string,
    owner: { tokenHash: string; workspaceId?: string | undefined },
    waitMs: number,
    signal: AbortSignal,
  ): Promise<Reply | null> {
    const { tokenHash, workspaceId } = owner;
    const deferred = this.#byId.get(id);
    const isOwn = deferred?.tokenHash === tokenHash;
    if (!deferred || !isOwn || (workspaceId !== undefined && deferred.workspaceId !== workspaceId)) {
      throw new ApiError(
        "not_found",
        "There is no such request of this token; answers are kept for ten minutes.",
      );
    }
    if (!deferred.reply && waitMs > 0) await sleepUntilWoken(deferred.waiting, waitMs, signal);
    return deferred.reply;
  }

  #evict(): void {
    if (this.#byId.size <= mostKept) return;
    for (const [id, deferred] of this.#byId) {
      if (!deferred.reply) continue;
      this.#byId.delete(id);
      return;
    }
  }
}
