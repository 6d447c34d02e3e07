import type { ErrorCode } from "./api.ts";

/** A call that failed. `status` is 0 when no answer came. */
export class OpenWorkError extends Error {
  override readonly name = "OpenWorkError";
  readonly code: ErrorCode;
  readonly status: number;
  /** Depends on the code. */
  readonly details: unknown;
  /** How long the server asks to wait, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { status: number; details?: unknown; retryAfterMs?: number | undefined; cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status;
    this.details = options.details;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** Whether the same call may well succeed a moment later. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || (this.status >= 502 && this.status <= 504);
  }

  /** Anything thrown as an error of this kind. */
  static from(error: unknown): OpenWorkError {
    if (error instanceof OpenWorkError) return error;
    const reason = error instanceof Error ? error.message : String(error);
    return new OpenWorkError("unreachable", `The server did not answer: ${reason}`, {
      status: 0,
      cause: error,
    });
  }
}

/** The error that an answer tells. */
export async function errorFrom(response: Response): Promise<OpenWorkError> {
  const { status } = response;
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  const retryAfterMs = seconds >= 0 ? seconds * 1000 : undefined;
  const body = (await response.json().catch(() => null)) as Record<string, unknown> | null;
  const { code, message, details } = body ?? {};
  if (typeof code !== "string" || typeof message !== "string") {
    const text = `An answer with status ${status} that is not of this server.`;
    return new OpenWorkError("invalid_answer", text, { status, retryAfterMs });
  }
  return new OpenWorkError(code as ErrorCode, message, { status, details, retryAfterMs });
}
