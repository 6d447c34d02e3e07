import {
  askEngine,
  causeOf,
  engineAddress,
  engineAuthorization,
  engineBase,
  parsedOrText,
  type EngineConfig,
} from "../engine.ts";
import { ApiError } from "../errors.ts";
import { explain } from "./causes.ts";
import { configFailure, failureSentence } from "./failure.ts";
import type { Host } from "../host.ts";
import { isJsonObject } from "../json.ts";

/** What keeps an engine from being used. */
export type EngineProblem =
  | "unconfigured"
  | "invalid_url"
  | "refused"
  | "not_running"
  | "unknown_host"
  | "tls"
  | "unreachable"
  | "timeout"
  | "credentials_missing"
  | "credentials_wrong"
  | "not_an_engine"
  | "old_version"
  | "unhealthy"
  | "misconfigured";

/** One look at an engine: the answer to "why does it not work?". */
export interface EngineStatus {
  /** Whether it can be used. */
  ok: boolean;
  /** Whether anything answers at its address. */
  reachable: boolean;
  baseUrl: string | null;
  /** The directory that it works in for this workspace. */
  directory: string | null;
  version: string | null;
  /** How long it took to answer, milliseconds; null when it did not. */
  latencyMs: number | null;
  problem: { code: EngineProblem; message: string } | null;
}

/** How long an engine may take to say that it is well, milliseconds. */
const patienceMs = 5000;

/**
 * Looks at the engine of a workspace. Never throws for what is wrong with it. `withOutput` adds what an engine of this
 * server printed last, which may be about any file.
 */
export async function lookAtEngine(
  { fetch, ownEngine }: Pick<Host, "fetch" | "ownEngine">,
  config: EngineConfig,
  signal: AbortSignal,
  withOutput: boolean,
): Promise<EngineStatus> {
  const status: EngineStatus = {
    ok: false,
    reachable: false,
    baseUrl: engineAddress(config),
    directory: config.directory?.trim() || null,
    version: null,
    latencyMs: null,
    problem: null,
  };
  const started = performance.now();
  try {
    const base = engineBase(config);
    const request = { method: "GET", path: "/global/health", signal, bare: true, patienceMs };
    const response = await askEngine(fetch, config, request);
    const body = parsedOrText((await response.text()).trim());
    status.latencyMs = Math.round((performance.now() - started) * 10) / 10;
    status.reachable = true;
    const health = isJsonObject(body) && typeof body["healthy"] === "boolean" ? body : null;
    if (typeof health?.["version"] === "string") status.version = health["version"];
    status.problem = answerProblem(response.status, health, base, engineAuthorization(config) !== null);
    if (
      status.problem?.code === "not_an_engine" &&
      (await isOldEngine(fetch, config, signal).catch(() => false))
    ) {
      const message = `The engine at ${base.origin} is too old to say how it is; bring it up to date: opencode upgrade.`;
      status.problem = { code: "old_version", message };
    }
    status.problem ??= await workspaceProblem(fetch, config, signal, base).catch(() => null);
    status.ok = status.problem === null;
  } catch (error) {
    const trouble = ownEngine?.baseUrl === config.baseUrl ? ownEngine?.trouble() : null;
    status.problem = trouble ? notRunning(trouble, withOutput) : failureProblem(error);
  }
  return status;
}

function notRunning(
  { message, printed }: { message: string; printed: string },
  withOutput: boolean,
): EngineStatus["problem"] {
  const said = withOutput && printed !== "" ? ` It printed: ${printed}` : "";
  return { code: "not_running", message: message + said };
}

/**
 * What keeps a healthy engine from serving this workspace: then it answers so to whatever it is asked for it. Being slow
 * is no problem: the first request has it read the workspace's files.
 */
async function workspaceProblem(
  fetch: typeof globalThis.fetch,
  config: EngineConfig,
  signal: AbortSignal,
  { origin }: URL,
): Promise<EngineStatus["problem"]> {
  const response = await askEngine(fetch, config, { method: "GET", path: "/path", signal, patienceMs });
  const failure = configFailure(parsedOrText((await response.text()).trim()));
  if (response.ok || failure === null) return null;
  const message = `The engine at ${origin} answers, but cannot work here. ${failureSentence(failure)} Once that is put right it has to be reloaded.`;
  return { code: "misconfigured", message };
}

/** Whether something else answers as an engine does: old ones have no `/global/health`. */
async function isOldEngine(
  fetch: typeof globalThis.fetch,
  config: EngineConfig,
  signal: AbortSignal,
): Promise<boolean> {
  const request = { method: "GET", path: "/path", signal, bare: true, patienceMs };
  const response = await askEngine(fetch, config, request);
  const body = parsedOrText((await response.text()).trim());
  return response.ok && isJsonObject(body) && typeof body["directory"] === "string";
}

function answerProblem(
  status: number,
  health: Readonly<Record<string, unknown>> | null,
  { origin }: URL,
  credentials: boolean,
): EngineStatus["problem"] {
  if (status === 401 || status === 403) {
    return credentials
      ? {
          code: "credentials_wrong",
          message: `The engine at ${origin} refuses the configured user and password.`,
        }
      : {
          code: "credentials_missing",
          message: `The engine at ${origin} wants a password: set --opencode-username and --opencode-password.`,
        };
  }
  if (status >= 400 || health === null) {
    const message = `What answers at ${origin} (with status ${status}) does not look like an OpenCode engine.`;
    return { code: "not_an_engine", message };
  }
  return health["healthy"] === true
    ? null
    : { code: "unhealthy", message: `The engine at ${origin} answers that it is not well.` };
}

const failures: Readonly<Record<string, EngineProblem>> = {
  opencode_unconfigured: "unconfigured",
  opencode_url_invalid: "invalid_url",
  opencode_timeout: "timeout",
};
function failureProblem(error: unknown): EngineStatus["problem"] {
  if (!(error instanceof ApiError)) {
    const message = `The engine broke off its answer (${causeOf(error)}).`;
    return { code: "unreachable", message };
  }
  const { details, message } = error;
  const cause = isJsonObject(details) ? String(details["cause"]) : "";
  return { code: failures[error.code] ?? explain(cause, "").code, message };
}
