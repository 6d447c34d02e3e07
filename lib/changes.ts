import pLimit from "p-limit";
import type { ApprovalQuestion, ApprovalStore, Verdict } from "./approvals.ts";
import type { AuditLog } from "./audit.ts";
import type { Authenticator } from "./auth.ts";
import { commitAll, commitOneByOne, shownOf, type EachRequest } from "./changes/items.ts";
import {
  insistOnSeen,
  linkedPaths,
  prepare,
  prepareToAsk,
  type ChangeContext,
  type Guarded,
  type WriteRequest,
} from "./changes/plan.ts";
import { describeChanges, type StagedContents } from "./changes/diff.ts";
import { Recorder, type Approval, type Recorded } from "./changes/record.ts";
import { ApiError } from "./errors.ts";
import type { Log } from "./host.ts";
import { absolutePath } from "./paths.ts";
import { StorageError, type Change, type Storage } from "./storage.ts";
import type { Workspace } from "./workspaces.ts";

/** Something done elsewhere, such as at the engine, that wants the host's yes. */
export interface Permission extends Recorded {
  /** Absolute paths that it is about; may be empty. */
  paths: string[];
  /** What the host is shown of it. */
  diff: string;
}

/** What the pipeline works with. */
export interface ChangesOptions {
  mode: "manual" | "auto";
  approvals: ApprovalStore;
  audit: AuditLog;
  authenticator: Authenticator;
  log: Log;
  /** Whether a workspace may still be written: it may be deleted while the host thinks. */
  stillServed(workspace: Workspace): boolean;
}

/** Most bytes of new contents that wait for the host in memory; one write alone may be larger. */
const mostHeldBytes = 64 * 1024 * 1024;

/** How often a merge is planned again when foreign programs keep changing its files. */
const mostReplans = 50;

/** The one way to change a workspace: plan, approve, commit, record, announce. */
export class Changes {
  readonly #options: ChangesOptions;
  readonly #locks = new WeakMap<Storage, ReturnType<typeof pLimit>>();
  readonly #recorder: Recorder;
  #heldBytes = 0;

  constructor(options: ChangesOptions) {
    this.#options = options;
    this.#recorder = new Recorder(options.audit, options.log);
  }

  /**
   * Plans, asks the host (in manual mode), commits, records and announces; returns the plan's answer.
   * Refusals are `write_denied`, `request_withdrawn`, `unauthorized` (token revoked meanwhile), `conflict`
   * (an overwritten file moved), and leave the disk as it was.
   */
  async run<T>(context: ChangeContext, request: WriteRequest<T>): Promise<T> {
    const { workspace } = context;
    if (this.#options.mode === "auto") {
      if (!this.#options.stillServed(workspace)) throw workspaceGone("arrived");
      return this.#lock(workspace)(async () => this.#commitUnasked(context, request));
    }
    const guarded = await prepareToAsk(workspace, request);
    let verdict: Verdict | null = null;
    try {
      verdict = await this.#holding(guarded.changes, request.contents, () =>
        this.#ask(context, request, guarded),
      );
      const approval = approvalOf(verdict);
      await this.#insistOnAllowed(context, verdict);
      return await this.#lock(workspace)(() => this.#commit(context, request, guarded, approval));
    } catch (error) {
      if (verdict) await this.#recordRefusal(context, request, verdict);
      await discardStaged(workspace.storage, guarded.changes);
      throw error;
    }
  }

  /** Does what waits for the host; over the limit of memory a write is refused instead of kept. */
  async #holding<T>(
    changes: readonly Change[],
    contents: StagedContents | undefined,
    wait: () => Promise<T>,
  ): Promise<T> {
    const bytes = bytesInMemory(changes, contents);
    if (this.#heldBytes > 0 && this.#heldBytes + bytes > mostHeldBytes) {
      const message = `Writes of ${this.#heldBytes} bytes wait for the host already; try again when some are answered.`;
      throw new ApiError("too_many_requests", message, undefined, { headers: { "retry-after": "10" } });
    }
    this.#heldBytes += bytes;
    try {
      return await wait();
    } finally {
      this.#heldBytes -= bytes;
    }
  }

  /**
   * As `run`, for changes that are allowed or refused together but then made in order and independently: one
   * that fails hinders no other. Those that were made are recorded. Returns the results in order. Without
   * paths there is nothing to ask about.
   */
  async runEach<T>(context: ChangeContext, request: EachRequest<T>): Promise<T[]> {
    const { workspace } = context;
    const { action, summary, items } = request;
    const isAuto = this.#options.mode === "auto";
    const question = {
      action,
      summary,
      paths: isAuto ? [] : [...request.paths, ...(await linkedPaths(workspace, shownOf(items)))],
      targets: items.map((item) => item.target),
      // The diff costs reading every file: nobody is asked in auto mode.
      diff: isAuto ? "" : await describeChanges(workspace.storage, shownOf(items)),
    };
    const ask = (): Promise<Approval | null> => this.permit(context, question);
    const approval = request.paths.length === 0 ? null : await this.#holding(shownOf(items), undefined, ask);
    return this.#lock(workspace)(async () => {
      const together = request.independent && items.length > 1 ? await commitAll(workspace, items) : null;
      const outcomes = together ?? (await commitOneByOne(workspace, items));
      const targets = items.filter((_, index) => outcomes[index]?.made).map((item) => item.target);
      await this.#recorder.made(context, { action, summary, targets }, approval);
      return outcomes.map((outcome) => outcome.result);
    });
  }

  /**
   * Asks the host (in manual mode) about something that is done elsewhere and changes no file of the workspace.
   * Returns who allowed it, null when nobody was asked. Refusals are recorded and thrown as those of `run`.
   */
  async permit(context: ChangeContext, request: Permission): Promise<Approval | null> {
    if (this.#options.mode === "auto") {
      if (!this.#options.stillServed(context.workspace)) throw workspaceGone("arrived");
      return null;
    }
    const verdict = await this.#options.approvals.ask(
      question(context, request, request.paths, request.diff),
      context.signal,
      context.onApprovalAsked ?? undefined,
    );
    try {
      await this.#insistOnAllowed(context, verdict);
    } catch (error) {
      await this.#recordRefusal(context, request, verdict);
      throw error;
    }
    return approvalOf(verdict);
  }

  /**
   * Asks as `permit`, has it done, records how it ended and returns what came of it. Other writes of the workspace
   * go on meanwhile: whoever does it may take long.
   */
  async runElsewhere<T>(context: ChangeContext, request: Permission, perform: () => Promise<T>): Promise<T> {
    const approval = await this.permit(context, request);
    let result: T;
    try {
      result = await perform();
    } catch (error) {
      await this.#recorder.refused(context, request, "failed", approval);
      throw error;
    }
    await this.#recorder.committed(context, request, approval);
    return result;
  }

  async #commitUnasked<T>(context: ChangeContext, request: WriteRequest<T>): Promise<T> {
    const guarded = await prepare(context.workspace, request);
    try {
      return await this.#commit(context, request, guarded, null);
    } catch (error) {
      await discardStaged(context.workspace.storage, guarded.changes);
      throw error;
    }
  }

  #lock(workspace: Workspace): ReturnType<typeof pLimit> {
    let lock = this.#locks.get(workspace.storage);
    if (!lock) this.#locks.set(workspace.storage, (lock = pLimit(1)));
    return lock;
  }

  async #ask<T>(context: ChangeContext, request: WriteRequest<T>, guarded: Guarded<T>): Promise<Verdict> {
    const { workspace } = context;
    const changed = guarded.changes.flatMap((change) =>
      change.op === "move" ? [change.from, change.to] : [change.path],
    );
    const paths = new Set([
      ...request.paths,
      ...changed.map((path) => absolutePath(workspace.path, path)),
      ...(await linkedPaths(workspace, guarded.changes)),
    ]);
    const diff = await describeChanges(workspace.storage, guarded.changes, request.contents);
    return this.#options.approvals.ask(
      question(context, request, [...paths], diff),
      context.signal,
      context.onApprovalAsked ?? undefined,
    );
  }

  async #insistOnAllowed(context: ChangeContext, verdict: Verdict): Promise<void> {
    const { id, decision } = verdict;
    if (decision === "denied" || decision === "timeout") {
      const why =
        decision === "denied"
          ? "The host denied this write."
          : "The host did not answer in time; nothing was changed.";
      throw new ApiError("write_denied", why, { requestId: id, reason: decision });
    }
    if (decision !== "revoked" && !this.#options.stillServed(context.workspace)) {
      verdict.decision = "withdrawn";
      throw workspaceGone("waited");
    }
    if (decision === "withdrawn") {
      throw new ApiError(
        "request_withdrawn",
        "The request was withdrawn before the host answered; nothing was changed.",
      );
    }
    if (decision === "revoked" || !(await this.#options.authenticator.stillValid(context.caller))) {
      verdict.decision = "revoked";
      throw new ApiError(
        "unauthorized",
        "The token was revoked while the request waited; nothing was changed.",
      );
    }
  }

  /** Records why a write was not made: the host's word, or what befell it after a yes. */
  async #recordRefusal(context: ChangeContext, request: Recorded, verdict: Verdict): Promise<void> {
    const outcome = verdict.decision === "allowed" ? "failed" : verdict.decision;
    await this.#recorder.refused(context, request, outcome, approvalOf(verdict));
  }

  async #commit<T>(
    context: ChangeContext,
    request: WriteRequest<T>,
    first: Guarded<T>,
    approval: Approval | null,
  ): Promise<T> {
    const { workspace } = context;
    let guarded = first;
    for (let attempt = 0; ; attempt += 1) {
      try {
        // What was read is guarded by the commit where it is written; the rest may have moved while the host thought.
        if (approval && attempt === 0) await insistOnSeen(workspace.storage, guarded);
        const entries = await workspace.commit(guarded.changes);
        await this.#recorder.committed(context, request, approval);
        return await guarded.plan.answer(entries);
      } catch (error) {
        if (!(error instanceof StorageError) || error.code !== "conflict") throw error;
        if (request.onConflict === "refuse" || attempt >= mostReplans) throw conflict(error);
        guarded = await prepare(workspace, request);
      }
    }
  }
}

function approvalOf({ id, by }: Verdict): Approval {
  return by ? { id, by } : { id };
}

function bytesInMemory(changes: readonly Change[], contents: StagedContents = new Map()): number {
  let bytes = 0;
  for (const change of changes) {
    if (change.op === "write" && change.body instanceof Uint8Array) bytes += change.body.length;
  }
  for (const { text } of contents.values()) bytes += text?.length ?? 0;
  return bytes;
}

function question(
  context: ChangeContext,
  request: Recorded,
  paths: string[],
  diff: string,
): ApprovalQuestion {
  const { caller, workspace } = context;
  return {
    workspaceId: workspace.id,
    action: request.action,
    summary: request.summary,
    paths,
    actor: caller.actor,
    ...(caller.label === undefined ? {} : { tokenLabel: caller.label }),
    diff,
  };
}

function workspaceGone(when: "arrived" | "waited"): ApiError {
  const message = `The workspace was deleted while the request ${when}; nothing was changed.`;
  return new ApiError("workspace_not_found", message);
}

function conflict(error: StorageError): ApiError {
  return new ApiError(
    "conflict",
    "The file changed since it was read; nothing was overwritten. Read it again and send the change anew.",
    error.details,
    { cause: error },
  );
}

/** Lets staged bytes go that no commit took; those that one took are gone already. */
async function discardStaged(storage: Storage, changes: readonly Change[]): Promise<void> {
  for (const change of changes) {
    if (change.op === "write" && !(change.body instanceof Uint8Array)) await storage.discard(change.body);
  }
}
