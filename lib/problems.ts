import { toApiError, ApiError, type ErrorCode } from "./errors.ts";
import { StorageError } from "./storage.ts";

/** A file that a list had to leave out, reported beside the list so that one bad file never hides others (I50). */
export interface Problem {
  /** Absolute path of the file. */
  path: string;
  code: ErrorCode;
  message: string;
}

/** The problem that a failure to read or understand one file is; anything unforeseen is thrown on. */
export function problemOf(path: string, error: unknown): Problem {
  if (!(error instanceof ApiError) && !(error instanceof StorageError)) throw error;
  const code =
    error instanceof StorageError && error.code === "not_a_file" ? "not_text" : toApiError(error).code;
  return { path, code, message: error.message };
}

/** `{problems}` to spread into an answer, or nothing when there are none. */
export function problemsField(problems: readonly Problem[]): { problems?: readonly Problem[] } {
  return problems.length === 0 ? {} : { problems };
}
