import type { AuditLog, AuditRecord } from "../audit.ts";
import { ApiError, toApiError } from "../errors.ts";
import type { Log } from "../host.ts";
import type { ChangeContext, WriteRequest } from "./plan.ts";

/** What of a request stands in the audit log. */
export type Recorded = Pick<WriteRequest<unknown>, "action" | "summary" | "targets">;

/** The host's yes: which request it answered, and who did. */
export type Approval = NonNullable<AuditRecord["approval"]>;

/** Puts into the audit log how requests ended. */
export class Recorder {
  readonly #audit: AuditLog;
  readonly #log: Log;

  constructor(audit: AuditLog, log: Log) {
    this.#audit = audit;
    this.#log = log;
  }

  /** Records what was made; throws what the log throws. */
  async made(context: ChangeContext, request: Recorded, approval: Approval | null): Promise<void> {
    await this.#audit.record(context.workspace.id, records(context, request, approval, {}));
  }

  /** As `made`; when it fails the caller is told both: that the change was made, and that it was not recorded. */
  async committed(context: ChangeContext, request: Recorded, approval: Approval | null): Promise<void> {
    try {
      await this.made(context, request, approval);
    } catch (cause) {
      const { code, message } = toApiError(cause);
      throw new ApiError(
        code === "insufficient_storage" ? code : "storage_failed",
        `The change was made, but could not be recorded in the audit log: ${message}`,
        undefined,
        { cause },
      );
    }
  }

  /** Records why something was not made. That it cannot is only logged: the caller must be told the reason itself. */
  async refused(
    context: ChangeContext,
    request: Recorded,
    outcome: NonNullable<AuditRecord["outcome"]>,
    approval: Approval | null,
  ): Promise<void> {
    try {
      await this.#audit.record(context.workspace.id, records(context, request, approval, { outcome }));
    } catch (error) {
      this.#log("ERROR", `Could not record that a write was ${outcome}: ${String(error)}`);
    }
  }
}

function records(
  { caller }: ChangeContext,
  request: Recorded,
  approval: Approval | null,
  outcome: Pick<AuditRecord, "outcome">,
): AuditRecord[] {
  return request.targets.map((target) => ({
    actor: caller.actor,
    action: request.action,
    target,
    summary: request.summary,
    ...outcome,
    ...(approval ? { approval } : {}),
  }));
}
