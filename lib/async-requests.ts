import { ApiError } from "./errors.ts";
import { sleepUntilWoken } from "./feed.ts";
import type { Reply } from "./reply.ts";

interface AsyncRequest {
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
export class AsyncRequests {
  readonly #byId = new Map<string, AsyncRequest>();

  /** Remembers that the answer of this request will come; `owner` is who may ask for it, and where. */
  add(id: string, owner: { tokenHash: string; workspaceId: string }, answer: Promise<Reply>): void {
    const request: AsyncRequest = { ...owner, reply: null, waiting: new Set() };
    this.#byId.set(id, request);
    this.#evict();
    void answer.then((reply) => {
      request.reply = reply;
      for (const wake of request.waiting) wake();
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
    const request = this.#byId.get(id);
    const isOwn = request?.tokenHash === tokenHash;
    if (!request || !isOwn || (workspaceId !== undefined && request.workspaceId !== workspaceId)) {
      throw new ApiError(
        "not_found",
        "There is no such request of this token; answers are kept for ten minutes.",
      );
    }
    if (!request.reply && waitMs > 0) await sleepUntilWoken(request.waiting, waitMs, signal);
    return request.reply;
  }

  #evict(): void {
    if (this.#byId.size <= mostKept) return;
    for (const [id, request] of this.#byId) {
      if (!request.reply) continue;
      this.#byId.delete(id);
      return;
    }
  }
}
