import type { AuditRecord } from "../audit.ts";
import type { Approval } from "../changes/record.ts";
import { grantsPermission, mayGrant, withoutGrants } from "./grants.ts";
import { placeCall, resolveDots, type Placed } from "./rules.ts";
import { insistOnNoHistory, insistOnServedSession, sessionIn } from "./sessions.ts";
import { ApiError } from "../errors.ts";
import { isInside } from "../paths.ts";
import { insistOnOpenFile, insistOnOpenPath } from "../protected-paths.ts";
import { peekBody } from "../proxy/body.ts";
import type { Context } from "../route.ts";
import { scopeReaches, type Scope } from "../scopes.ts";

/** The action word of proxied calls, in approvals and audit. */
const action = "opencode.proxy";
/** What a host is shown, and so the most that it can allow, bytes. */
const mostShown = 64 * 1024;

/** A call of the engine, as the rules see it. */
export interface EngineCall extends Placed {
  method: string;
  /** Whether it does more than show something: refused on read-only servers, closed to viewers, audited. */
  acts: boolean;
}

/** Places a call. A WebSocket carries more than an answer, so one that the table does not name is no reading. */
export function engineCall(method: string, rawPath: string, upgrade: boolean): EngineCall {
  const placed = placeCall(method, rawPath);
  const kind = upgrade && placed.class === "read" ? "command" : placed.class;
  const reads = (method === "GET" || method === "HEAD") && kind === "read";
  return { ...placed, class: kind, method, acts: !reads };
}

/** The least scope for a call. */
function requiredScope(call: EngineCall): Scope {
  return call.class === "permission" ? "owner" : call.acts ? "collaborator" : "viewer";
}

/** Refuses a call on a read-only server (I09), and to a scope that is too low. */
export function insistOnScope(call: EngineCall, scope: Scope, readOnly: boolean): void {
  if (call.acts && readOnly) {
    throw new ApiError("read_only", "This server is read-only; through it the engine can only be looked at.");
  }
  const required = requiredScope(call);
  if (scopeReaches(scope, required)) return;
  const message =
    required === "owner"
      ? "Only an owner answers permission requests of the engine."
      : "This call of the engine needs the scope collaborator.";
  throw new ApiError("forbidden", message, { required, scope });
}

/** Refuses what the caller may not do at all: I08, I09 and contract 10.14, 1. Attempts to answer permissions are recorded. */
export async function insistOnRights(context: Context, call: EngineCall, search: string): Promise<void> {
  const { caller, services } = context;
  const { readOnly } = services.host.config;
  if (call.class === "permission" && !readOnly && !scopeReaches(caller.scope, requiredScope(call)))
    await recordCall(context, call, { outcome: "denied" });
  insistOnScope(call, caller.scope, readOnly);
  if (!scopeReaches(caller.scope, "collaborator")) await insistOnOpenFiles(context, call, search);
  const session = sessionIn(call.path);
  await insistOnSessions(context, call, session === null ? [] : [session]);
}

/** Refuses the sessions of directories that are not served here, and the history of all of them, to all but owners (I06). */
export async function insistOnSessions(
  context: Context,
  call: EngineCall,
  sessions: readonly string[],
): Promise<void> {
  if (scopeReaches(context.caller.scope, "owner")) return;
  try {
    insistOnNoHistory(context, call.path);
    for (const session of sessions) await insistOnServedSession(context, session);
  } catch (error) {
    const denied = error instanceof ApiError && error.code === "forbidden";
    await recordCall(context, call, { outcome: denied ? "denied" : "failed" });
    throw error;
  }
}

/** Refuses viewers the contents of protected files (I05): the one that a call names, by whatever link, and those that it finds. */
async function insistOnOpenFiles(context: Context, call: EngineCall, search: string): Promise<void> {
  const { caller, services, workspace } = context;
  if (call.showsFiles && services.host.config.protectedPaths.length > 0) {
    const message =
      "This call shows pieces of files that viewers may not read; it needs the scope collaborator. GET /workspace/:id/search leaves those files out.";
    throw new ApiError("forbidden", message, {
      reason: "protected",
      required: "collaborator",
      scope: caller.scope,
    });
  }
  const roots = [workspace.path, workspace.config.opencode.directory?.trim() ?? ""].filter(Boolean);
  for (const file of filesRead(call.path, search)) {
    insistOnOpenPath(context, file);
    const root = roots.find((directory) => isInside(directory, file));
    const path = resolveDots((root === undefined ? file : file.slice(root.length)).split("/")).join("/");
    const entry = await workspace.storage.stat(path).catch(() => null);
    if (entry) insistOnOpenFile(context, entry);
  }
}

/** A call that may go on: as what it turned out to be, who allowed it, and the body to send. */
export interface PermittedCall {
  call: EngineCall;
  /** Null when nobody was asked. */
  approval: Approval | null;
  body: ReadableStream<Uint8Array> | null;
}

/**
 * Asks the host, in manual mode, before a call runs a command or changes the engine (I07); a prompt that brings
 * its own permissions is such a change. The host sees the whole body, so a longer one than it is shown is refused.
 */
export async function permitCall(
  context: Context,
  call: EngineCall,
  body: ReadableStream<Uint8Array> | null,
): Promise<PermittedCall> {
  const grants = call.class === "prompt" && mayGrant(call);
  const asks = call.class === "command" || call.class === "change";
  if (context.services.host.config.approval.mode === "auto" || !(asks || grants))
    return { call, approval: null, body };
  const peeked = body === null ? null : await peekBody(body, mostShown);
  if (grants && !(peeked?.whole && grantsPermission(peeked.bytes))) {
    const rest = peeked?.body ?? null;
    return { call, approval: null, body: rest && !peeked?.whole ? withoutGrants(rest) : rest };
  }
  const raised: EngineCall = grants ? { ...call, class: "change" } : call;
  if (peeked && !peeked.whole) {
    await peeked.body?.cancel();
    const message = `The host is asked before this call, and is shown at most ${mostShown} bytes of it.`;
    throw new ApiError("body_too_large", message, { maxBytes: mostShown });
  }
  const approval = await context.services.changes.permit(context, {
    ...told(raised),
    paths: [context.workspace.path],
    diff: `${call.method} ${call.path}\n${shown(peeked?.bytes)}`,
  });
  return { call: raised, approval, body: peeked?.body ?? null };
}

/** How a call ended, for the audit. */
export interface CallResult {
  /** Absent when it was done. */
  outcome?: AuditRecord["outcome"];
  /** What the engine answered with, if it did. */
  status?: number;
  approval?: Approval | null;
}

/** Records a call that acts; others leave no trace but the log. */
export async function recordCall(context: Context, call: EngineCall, result: CallResult): Promise<void> {
  if (!call.acts) return;
  const { targets, summary } = told(call);
  const { outcome, status, approval } = result;
  const record: AuditRecord = {
    actor: context.caller.actor,
    action,
    target: targets[0] ?? "",
    summary: status === undefined ? summary : `${summary}: the engine answered ${status}`,
    ...(outcome ? { outcome } : {}),
    ...(approval ? { approval } : {}),
  };
  await context.services.audit.record(context.workspace.id, [record]);
}

const verbs: Readonly<Record<EngineCall["class"], string>> = {
  read: "Call the engine",
  prompt: "Converse with the engine",
  command: "Run a command through the engine",
  change: "Change the engine",
  permission: "Answer a permission request of the engine",
};

function told(call: EngineCall): { action: string; summary: string; targets: string[] } {
  const target = `${call.method} ${call.path}`;
  return { action, summary: `${verbs[call.class]} (${target})`, targets: [target] };
}

/** JSON as the engine will understand it, whatever escapes it is written with; other text as it is. */
function shown(bytes: Uint8Array | undefined): string {
  if (bytes === undefined || bytes.length === 0) return "";
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The files whose contents a call shows, as it names them. */
function filesRead(path: string, search: string): string[] {
  const place = path.toLowerCase();
  const named =
    place === "/file/content"
      ? new URLSearchParams(search).getAll("path")
      : place.startsWith("/api/fs/read/")
        ? [path.slice("/api/fs/read/".length)]
        : [];
  return named.map((file) => file.replaceAll("\\", "/"));
}
