import { explain } from "./engine/causes.ts";
import { ApiError } from "./errors.ts";
import type { WorkspaceConfig } from "./host.ts";
import { directoryHeader } from "./proxy/directory.ts";
import { cleanText } from "./secrets.ts";

/** What a request to an engine needs of the workspace that it is for. */
export type EngineConfig = WorkspaceConfig["opencode"];

/** How long an engine may think about an administrative request, milliseconds. */
const patienceMs = 15_000;
/** Most characters of an engine's error that are passed on. */
const mostErrorText = 16_000;

/** The parsed base URL of the engine; 400 when there is none or it is no HTTP address. */
export function engineBase(config: EngineConfig): URL {
  const given = config.baseUrl?.trim() ?? "";
  if (given === "") {
    throw new ApiError(
      "opencode_unconfigured",
      "No engine is configured for this workspace; start the server with --opencode-base-url.",
    );
  }
  const base = URL.canParse(given) ? new URL(given) : null;
  if (base?.protocol === "http:" || base?.protocol === "https:") return base;
  throw new ApiError(
    "opencode_url_invalid",
    "The engine URL configured for this workspace is not an http or https address.",
  );
}

/** The configured address of the engine as anybody may be told it and logs may keep it: without credentials. Null when there is none. */
export function engineAddress(config: EngineConfig): string | null {
  const given = config.baseUrl?.trim() ?? "";
  if (given === "") return null;
  if (!URL.canParse(given)) return cleanText(given);
  const url = new URL(given);
  if (url.username === "" && url.password === "") return cleanText(given);
  url.username = "";
  url.password = "";
  return cleanText(url.href);
}

/** The address of a path (with its `/`, encoded, perhaps with a query) of the engine. A path prefix of the base URL is kept (I61). */
export function engineUrl(base: URL, path: string): string {
  return base.origin + base.pathname.replace(/\/+$/, "") + path;
}

/** The value of an `Authorization` header with the engine's credentials; null unless both parts are there. */
export function engineAuthorization(config: EngineConfig): string | null {
  const { username = "", password = "" } = config;
  if (username.trim() === "" || password.trim() === "") return null;
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))}`;
}

/** The value of `x-opencode-directory`; null when the engine is to use its own. */
export function engineDirectory(config: EngineConfig): string | null {
  const directory = config.directory?.trim() ?? "";
  return directory === "" ? null : directoryHeader(directory);
}

/** A request to an engine. */
export interface EngineRequest {
  method: string;
  /** As {@link engineUrl} takes it. */
  path: string;
  /** Ends the request when the caller goes away. */
  signal: AbortSignal;
  /** Sends the credentials alone: no directory and no media type. */
  bare?: boolean;
  /** How long the engine may think, milliseconds; 15 s unless told. */
  patienceMs?: number;
}

/**
 * Sends an administrative request to the engine of a workspace. Redirects are not followed. 502
 * `opencode_unreachable` with the target's origin and the cause, 504 `opencode_timeout`.
 */
export async function askEngine(
  fetch: typeof globalThis.fetch,
  config: EngineConfig,
  request: EngineRequest,
): Promise<Response> {
  const base = engineBase(config);
  const headers: Record<string, string> = request.bare ? {} : { "content-type": "application/json" };
  const directory = request.bare ? null : engineDirectory(config);
  const authorization = engineAuthorization(config);
  if (directory !== null) headers["x-opencode-directory"] = directory;
  if (authorization !== null) headers["authorization"] = authorization;
  const timeout = AbortSignal.timeout(request.patienceMs ?? patienceMs);
  try {
    return await fetch(engineUrl(base, request.path), {
      method: request.method,
      headers,
      redirect: "manual",
      signal: AbortSignal.any([request.signal, timeout]),
    });
  } catch (cause) {
    throw timeout.aborted ? engineTimeout(base) : engineUnreachable(base, cause);
  }
}

/** The trimmed text of an answer; 502 when it is broken off, 504 when its end does not come in time. */
export async function engineText(response: Response, config: EngineConfig): Promise<string> {
  try {
    return (await response.text()).trim();
  } catch (cause) {
    const isLate = cause instanceof Error && cause.name === "TimeoutError";
    throw isLate ? engineTimeout(engineBase(config)) : engineUnreachable(engineBase(config), cause);
  }
}

/** 502 for an engine that cannot be reached. */
export function engineUnreachable(base: URL, cause: unknown): ApiError {
  const reason = causeOf(cause);
  const message = `The engine at ${base.origin} cannot be reached (${reason}). ${explain(reason, base.protocol).advice}`;
  return new ApiError("opencode_unreachable", message, { target: base.origin, cause: reason });
}

/** 504 for an engine that does not answer. */
export function engineTimeout(base: URL): ApiError {
  const message = `The engine at ${base.origin} did not answer in time.`;
  return new ApiError("opencode_timeout", message, { target: base.origin });
}

/** 502 for an engine that answered with another status than was hoped for: `details` hold it, its body (JSON or text) and the path. */
export async function engineRefused(response: Response, path: string): Promise<ApiError> {
  const text = (await response.text().catch(() => "")).slice(0, mostErrorText).trim();
  const details = { status: response.status, body: parsedOrText(text), path };
  return new ApiError(
    "opencode_request_failed",
    `The engine answered ${response.status} to ${path}.`,
    details,
  );
}

/** JSON when a text is JSON, the text when it is not, null when there is none. */
export function parsedOrText(text: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Ends the sign-in of an MCP server at the engine. That it cannot be disconnected or has no sign-in is no failure. */
export async function logOutMcp(
  fetch: typeof globalThis.fetch,
  config: EngineConfig,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const path = `/mcp/${encodeURIComponent(name)}`;
  const disconnected = await askEngine(fetch, config, { method: "POST", path: `${path}/disconnect`, signal });
  await disconnected.body?.cancel();
  const removed = await askEngine(fetch, config, { method: "DELETE", path: `${path}/auth`, signal });
  if (!removed.ok && removed.status !== 404) throw await engineRefused(removed, `${path}/auth`);
  await removed.body?.cancel();
}

/** The innermost reason of a failed fetch: `ECONNREFUSED` says more than "fetch failed". */
export function causeOf(error: unknown): string {
  const inner: unknown = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (!(inner instanceof Error)) return String(inner);
  const { code } = inner as { code?: unknown };
  return typeof code === "string" ? code : inner.message;
}
