import { StorageError, type StorageErrorCode } from "./storage.ts";

/**
 * Every error code this server can answer with, and its HTTP status (wire contract, section 6).
 * A code that may come with two statuses lists the usual one; the thrower names the other.
 */
export const errorStatus = {
  invalid_request: 400,
  invalid_json: 400,
  invalid_payload: 400,
  invalid_query: 400,
  invalid_path: 400,
  invalid_scope: 400,
  invalid_plugin_spec: 400,
  invalid_skill_name: 400,
  invalid_skill_content: 400,
  invalid_mcp_name: 400,
  invalid_mcp_config: 400,
  invalid_command_name: 400,
  invalid_command_template: 400,
  invalid_command: 400,
  invalid_inbox_item: 400,
  invalid_artifact: 400,
  file_required: 400,
  opencode_unconfigured: 400,
  opencode_url_invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  host_not_allowed: 403,
  read_only: 403,
  write_denied: 403,
  workspace_unauthorized: 403,
  storage_denied: 403,
  not_found: 404,
  workspace_not_found: 404,
  token_not_found: 404,
  skill_not_found: 404,
  inbox_disabled: 404,
  outbox_disabled: 404,
  ui_disabled: 404,
  inbox_item_not_found: 404,
  artifact_not_found: 404,
  file_not_found: 404,
  file_session_not_found: 404,
  approval_not_found: 404,
  opencodeRouter_unconfigured: 404,
  method_not_allowed: 405,
  conflict: 409,
  approval_answered: 409,
  request_withdrawn: 409,
  precondition_failed: 412,
  file_too_large: 413,
  body_too_large: 413,
  not_text: 415,
  unsupported_media_type: 415,
  range_not_satisfiable: 416,
  invalid_jsonc: 422,
  invalid_description: 422,
  invalid_frontmatter: 422,
  too_many_requests: 429,
  internal_error: 500,
  server_config_read_failed: 500,
  storage_failed: 500,
  token_store_damaged: 500,
  opencode_request_failed: 502,
  opencode_reload_failed: 502,
  opencode_unreachable: 502,
  opencodeRouter_unreachable: 503,
  shutting_down: 503,
  restart_required: 503,
  opencode_timeout: 504,
  insufficient_storage: 507,
} as const;

/** A stable, machine-readable error code of the wire contract. */
export type ErrorCode = keyof typeof errorStatus;

/**
 * The one error class: anything a handler wants the client to know.
 * `message` says what was wrong and what would be right; `details` is plain JSON.
 */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: ErrorCode;
  readonly status: number;
  readonly details: unknown;
  readonly headers: Readonly<Record<string, string>> | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    details?: unknown,
    options: { status?: number; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? errorStatus[code];
    this.details = details;
    this.headers = options.headers;
  }

  /** The JSON body of the answer: `{code, message, details?}`. */
  body(): { code: ErrorCode; message: string; details?: unknown } {
    return this.details === undefined
      ? { code: this.code, message: this.message }
      : { code: this.code, message: this.message, details: this.details };
  }
}

const storageCodes: Record<StorageErrorCode, ErrorCode> = {
  not_found: "file_not_found",
  outside: "invalid_path",
  invalid_path: "invalid_path",
  not_a_directory: "invalid_path",
  not_a_file: "invalid_path",
  is_directory: "invalid_path",
  exists: "conflict",
  not_empty: "conflict",
  conflict: "conflict",
  too_large: "file_too_large",
  denied: "storage_denied",
  no_space: "insufficient_storage",
  io: "storage_failed",
};

/** The ApiError that tells a client about a storage failure which no handler gave a meaning of its own. */
function fromStorageError(error: StorageError): ApiError {
  return new ApiError(storageCodes[error.code], error.message, error.details, { cause: error });
}

/** What is rarely needed is loaded when it is; runtimes agree on this code for what is not there then. */
function isMissingModule(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, "code") === "ERR_MODULE_NOT_FOUND";
}

/**
 * The fault in a program that an error came of, or null when it says in a sentence all that there is to know, so that
 * the way to it helps nobody: what this server refuses by itself, and what the system refused a storage.
 */
export function faultBehind(error: unknown): unknown {
  if (error instanceof ApiError) return null;
  if (!(error instanceof StorageError)) return error;
  const { cause } = error;
  return cause === undefined || isSystemError(cause) ? null : faultBehind(cause);
}

/** Every runtime puts the system's code on such an error. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && /^E[A-Z0-9]+$/.test(String(Reflect.get(error, "code")));
}

/** The one mapping from anything thrown to what the client is told; the unexpected keeps its details to the log. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof StorageError) return fromStorageError(error);
  if (isMissingModule(error)) {
    const message =
      "A part of the server is not where it was installed: its files were replaced while it ran (an update?). Restart it.";
    return new ApiError("restart_required", message, undefined, { cause: error });
  }
  return new ApiError(
    "internal_error",
    "Something went wrong in the server; its log has the details.",
    undefined,
    {
      cause: error,
    },
  );
}
