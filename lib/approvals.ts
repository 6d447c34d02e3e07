import type { Actor } from "./caller.ts";
import { ApiError } from "./errors.ts";
import { sleepUntilWoken } from "./feed.ts";

/** A write that waits for the host (wire contract, section 7, with deadline, diff and the caller's label). */
export interface ApprovalRequest {
  id: string;
  workspaceId: string;
  action: string;
  summary: string;
  /** Absolute paths that will change. */
  paths: string[];
  createdAt: number;
  /** When it counts as refused, milliseconds since the epoch. */
  expiresAt: number;
  actor: Actor;
  tokenLabel?: string;
  /** Unified diff of what will change. */
  diff: string;
}

/** How an approval ended. */
export type Decision = "allowed" | "denied" | "timeout" | "withdrawn" | "revoked";

/** What is asked; the store adds id and times. */
export type ApprovalQuestion = Omit<ApprovalRequest, "id" | "createdAt" | "expiresAt">;

/** The end of an approval; `by` is the host that answered. */
export interface Verdict {
  id: string;
  decision: Decision;
  by?: Actor;
}

/** Pending requests, oldest first, and the number to wait from. */
export interface ApprovalPage {
  items: ApprovalRequest[];
  cursor: number;
}

/** Limits of the store (I33). */
export interface ApprovalLimits {
  /** How long a request waits, milliseconds. */
  timeoutMs: number;
  /** Most pending requests of one token. */
  perToken: number;
  /** Most pending requests in all. */
  total: number;
}

interface Pending {
  request: ApprovalRequest;
  settle: (decision: Decision, by?: Actor) => void;
}

/** How many answered approvals are remembered, to tell a second reply what was decided. */
const rememberedAnswers = 1000;
/** Timers count to here, milliseconds; one set beyond it would ring at once. */
const longestTimeoutMs = 2 ** 31 - 1;

/** Approvals as a long-poll store, in memory: ask, list, wait, answer. */
export class ApprovalStore {
  readonly #limits: ApprovalLimits;
  readonly #pending = new Map<string, Pending>();
  readonly #answered = new Map<string, { decision: Decision; answeredAt: number; by: string }>();
  readonly #waiting = new Set<() => void>();
  /** Begins at the clock: a cursor that a reader kept from an earlier life of the server is then never ours. */
  #cursor: number = Date.now();
  #closed = false;

  constructor(limits: ApprovalLimits) {
    const timeoutMs = Math.min(Math.max(0, limits.timeoutMs), longestTimeoutMs);
    this.#limits = { ...limits, timeoutMs };
  }

  /** Asks the host and waits for the verdict. A caller that goes away withdraws its request. Over a cap: 429. */
  ask(question: ApprovalQuestion, signal: AbortSignal, onAsked?: (id: string) => void): Promise<Verdict> {
    if (this.#closed) throw new ApiError("shutting_down", "The server is stopping; nothing was changed.");
    this.#refuseOverCap(question.actor.tokenHash);
    const id = crypto.randomUUID();
    const createdAt = Date.now();
    const request: ApprovalRequest = {
      id,
      ...question,
      createdAt,
      expiresAt: createdAt + this.#limits.timeoutMs,
    };
    return new Promise((resolve) => {
      const settle = (decision: Decision, by?: Actor): void => {
        if (!this.#pending.delete(id)) return;
        clearTimeout(timer);
        signal.removeEventListener("abort", withdraw);
        this.#changed();
        resolve(by ? { id, decision, by } : { id, decision });
      };
      const withdraw = (): void => settle("withdrawn");
      const timer = setTimeout(() => settle("timeout"), this.#limits.timeoutMs);
      this.#pending.set(id, { request, settle });
      this.#changed();
      if (signal.aborted) withdraw();
      else signal.addEventListener("abort", withdraw);
      onAsked?.(id);
    });
  }

  /** What is pending, of one workspace if one is named. */
  list(workspaceId?: string): ApprovalPage {
    const items = [...this.#pending.values()].map((pending) => pending.request);
    return {
      items: workspaceId === undefined ? items : items.filter((item) => item.workspaceId === workspaceId),
      cursor: this.#cursor,
    };
  }

  /**
   * Holds until something is news to a reader that saw `since` (a request came or went), `waitMs` pass or the
   * signal aborts. Without `since`, news is that anything is pending.
   */
  async wait(
    since: number | null,
    waitMs: number,
    signal: AbortSignal,
    workspaceId?: string,
  ): Promise<ApprovalPage> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      const page = this.list(workspaceId);
      // Another cursor than ours, also one from an earlier life of the server, means news.
      const news = since === null ? page.items.length > 0 : page.cursor !== since;
      const left = deadline - performance.now();
      if (news || left <= 0 || signal.aborted || this.#closed) return page;
      await sleepUntilWoken(this.#waiting, left, signal);
    }
  }

  /**
   * The host's word on a request; final. 404 for one never asked, over its time, or answered just so by the same
   * host before (existing clients expect that); 409 when somebody else, or another word, was first.
   */
  answer(id: string, allow: boolean, by: Actor, workspaceId?: string): boolean {
    const pending = this.#pending.get(id);
    if (pending && (workspaceId === undefined || pending.request.workspaceId === workspaceId)) {
      const decision = allow ? "allowed" : "denied";
      this.#remember(id, decision, by.tokenHash);
      pending.settle(decision, by);
      return allow;
    }
    const before = this.#answered.get(id);
    if (before && (before.by !== by.tokenHash || (before.decision === "allowed") !== allow)) {
      const { decision, answeredAt } = before;
      const message = `This request was ${decision} already; the first reply counts.`;
      throw new ApiError("approval_answered", message, { decision, answeredAt });
    }
    throw new ApiError(
      "approval_not_found",
      "No such request is waiting; it may have timed out or been withdrawn.",
    );
  }

  /** Ends every request of a token that was revoked. */
  withdrawToken(tokenHash: string): void {
    for (const { request, settle } of this.#pending.values()) {
      if (request.actor.tokenHash === tokenHash) settle("revoked");
    }
  }

  /** Ends every request about a workspace that is not served any more. */
  withdrawWorkspace(workspaceId: string): void {
    for (const { request, settle } of this.#pending.values()) {
      if (request.workspaceId === workspaceId) settle("withdrawn");
    }
  }

  /** Withdraws everything and lets every waiting reader go, as when the server stops. */
  close(): void {
    this.#closed = true;
    for (const { settle } of this.#pending.values()) settle("withdrawn");
    this.#changed();
  }

  #changed(): void {
    this.#cursor += 1;
    for (const wake of this.#waiting) wake();
  }

  #remember(id: string, decision: Decision, by: string): void {
    this.#answered.set(id, { decision, answeredAt: Date.now(), by });
    if (this.#answered.size > rememberedAnswers) {
      const [oldest] = this.#answered.keys();
      if (oldest !== undefined) this.#answered.delete(oldest);
    }
  }

  #refuseOverCap(tokenHash: string): void {
    let own = 0;
    for (const { request } of this.#pending.values()) if (request.actor.tokenHash === tokenHash) own += 1;
    if (own < this.#limits.perToken && this.#pending.size < this.#limits.total) return;
    const limit =
      own >= this.#limits.perToken
        ? `${this.#limits.perToken} of this token`
        : `${this.#limits.total} in all`;
    throw new ApiError(
      "too_many_requests",
      `Too many writes wait for the host already (at most ${limit}); try again when some are answered.`,
      undefined,
      { headers: { "retry-after": String(Math.max(1, Math.ceil(this.#limits.timeoutMs / 1000))) } },
    );
  }
}
