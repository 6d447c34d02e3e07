import * as v from "valibot";
import {
  askEngine,
  engineAddress,
  engineBase,
  engineRefused,
  engineText,
  engineTimeout,
  parsedOrText,
  type EngineConfig,
} from "../lib/engine.ts";
import { configFailure, failureSentence } from "../lib/engine/failure.ts";
import { lookAtEngine } from "../lib/engine/status.ts";
import { ApiError } from "../lib/errors.ts";
import type { Host } from "../lib/host.ts";
import { directoryHeader } from "../lib/proxy/directory.ts";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { scopeReaches } from "../lib/scopes.ts";

/** How long a reloaded engine may take until it answers for the workspace again, milliseconds. */
const readyWithinMs = 30_000;
/** One try; an engine that has just begun may never answer its first requests. */
const tryMs = 3000;
const pauseMs = 100;

async function reload(context: Context): Promise<Reply> {
  const { workspace, services, caller } = context;
  const config = workspace.config.opencode;
  const base = engineBase(config);
  // What was changed before this request counts as seen by the engine.
  await workspace.events.settled();
  const startedAt = Date.now();
  const started = performance.now();
  // A reload that fails is not recorded (wire contract, section 8).
  await disposeInstance(context, config);
  workspace.events.reloaded(startedAt);
  await services.audit.record(workspace.id, [
    {
      actor: caller.actor,
      action: "engine.reload",
      target: engineAddress(config) ?? base.href,
      summary: "Reload the engine",
    },
  ]);
  return { json: { ok: true, reloadedAt: Date.now(), tookMs: Math.round(performance.now() - started) } };
}

async function disposeInstance({ services, signal }: Context, config: EngineConfig): Promise<void> {
  const { fetch } = services.host;
  const directory = config.directory?.trim() ?? "";
  // Form-encoded as the contract has it; the engine decodes the value once more.
  const query =
    directory === "" ? "" : `?${new URLSearchParams({ directory: directoryHeader(directory) }).toString()}`;
  const disposal = { method: "POST", path: `/instance/dispose${query}`, signal, bare: true };
  const response = await askEngine(fetch, config, disposal);
  if (!response.ok) {
    const refused = await reloadFailed(response, config, "to the reload");
    if (!(await startedAnew(services.host, config, refused))) throw refused;
    return untilReady(fetch, config, signal);
  }
  const body = parsedOrText(await engineText(response, config));
  // An engine says true when it let go of the workspace, and takes it up again with the next request.
  if (body === true) await untilReady(fetch, config, signal);
}

/**
 * An engine keeps the first error that it found in a workspace's configuration, whatever is done about the file, and
 * lets go of nothing there: only a new start helps. False where that is somebody else's to do.
 */
async function startedAnew(
  { ownEngine, log }: Host,
  config: EngineConfig,
  refused: ApiError,
): Promise<boolean> {
  const { body } = refused.details as { body: unknown };
  if (ownEngine?.baseUrl !== config.baseUrl || configFailure(body) === null) return false;
  log("INFO", "The engine keeps an error that it found in its configuration: it is started anew.");
  await ownEngine?.restart();
  return true;
}

async function reloadFailed(response: Response, config: EngineConfig, when: string): Promise<ApiError> {
  const { status } = response;
  const body = parsedOrText(await engineText(response, config));
  const failure = configFailure(body);
  const advice = failure
    ? ` ${failureSentence(failure)} If that was put right since, it may need to be started anew.`
    : "";
  const message = `The engine answered ${status} ${when}.${advice}`;
  return new ApiError("opencode_reload_failed", message, { status, body });
}

async function untilReady(
  fetch: typeof globalThis.fetch,
  config: EngineConfig,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + readyWithinMs;
  for (;;) {
    const request = { method: "GET", path: "/path", signal, patienceMs: tryMs };
    const response = await askEngine(fetch, config, request).catch(() => null);
    // It is back, and refuses what it read: the body says which file.
    if (response?.status === 400) throw await reloadFailed(response, config, "after the reload");
    await response?.body?.cancel();
    if (response?.ok || signal.aborted) return;
    if (performance.now() > deadline) throw engineTimeout(engineBase(config));
    await new Promise((resolve) => {
      setTimeout(resolve, pauseMs);
    });
  }
}

async function deleteSession({ workspace, services, params, caller, signal }: Context): Promise<Reply> {
  const id = params["sessionId"] ?? "";
  if (id.trim() === "")
    throw new ApiError("invalid_payload", "The id of the session is blank.", { path: "sessionId" });
  const config = workspace.config.opencode;
  // Without an engine there is nothing to record.
  engineBase(config);
  const path = `/session/${encodeURIComponent(id)}`;
  const record = {
    actor: caller.actor,
    action: "session.delete",
    target: id,
    summary: `Delete the session ${id}`,
  };
  try {
    const response = await askEngine(services.host.fetch, config, { method: "DELETE", path, signal });
    if (!response.ok) throw await engineRefused(response, path);
    await response.body?.cancel();
  } catch (error) {
    await services.audit.record(workspace.id, [{ ...record, outcome: "failed" }]);
    throw error;
  }
  await services.audit.record(workspace.id, [record]);
  return { json: { ok: true } };
}

const engineErrors = [
  "opencode_unconfigured",
  "opencode_url_invalid",
  "opencode_unreachable",
  "opencode_timeout",
] as const;

/** The engine of a workspace: how it is, reload, and deleting its sessions. */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/workspace/:id/engine",
    access: "client",
    answer: v.object({
      ok: v.boolean(),
      reachable: v.boolean(),
      baseUrl: v.nullable(v.string()),
      directory: v.nullable(v.string()),
      version: v.nullable(v.string()),
      latencyMs: v.nullable(v.number()),
      problem: v.nullable(v.object({ code: v.string(), message: v.string() })),
    }),
    summary: "Whether the engine can be used, and if not, why.",
    handle: async ({ workspace, services, signal, caller }) => {
      const withOutput = scopeReaches(caller.scope, "collaborator");
      return { json: await lookAtEngine(services.host, workspace.config.opencode, signal, withOutput) };
    },
  }),
  route({
    method: "POST",
    path: "/workspace/:id/engine/reload",
    access: "client",
    scope: "collaborator",
    writes: true,
    asksHost: false,
    workspaceFirst: true,
    answer: v.object({ ok: v.literal(true), reloadedAt: v.number(), tookMs: v.number() }),
    errors: [...engineErrors, "opencode_reload_failed"],
    summary: "Has the engine read the workspace's files anew, and waits until it answers again.",
    handle: reload,
  }),
  route({
    method: "DELETE",
    path: "/workspace/:id/sessions/:sessionId",
    access: "client",
    scope: "collaborator",
    writes: true,
    asksHost: false,
    answer: v.object({ ok: v.literal(true) }),
    errors: [...engineErrors, "opencode_request_failed", "invalid_payload"],
    summary: "Deletes a session of the engine.",
    handle: deleteSession,
  }),
];
