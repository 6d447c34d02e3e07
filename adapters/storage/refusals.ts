import { StorageError } from "../../lib/storage.ts";

// What every storage refuses in the same words.

/** How messages name a path: JSON quoting keeps control characters out of them. */
export const quote = (path: string): string => (path === "" ? "The root" : JSON.stringify(path));

/** There is nothing at the path. */
export function notFound(path: string): StorageError {
  return new StorageError("not_found", `${quote(path)} does not exist.`, { path });
}

/** A file was wanted. */
export function aDirectory(path: string): StorageError {
  return new StorageError("is_directory", `${quote(path)} is a directory.`, { path });
}

/** A file was wanted, and this is a FIFO, device or socket. */
export function notAFile(path: string): StorageError {
  return new StorageError("not_a_file", `${quote(path)} is not a regular file.`, { path });
}

/** Something on the way to the path is not a directory. */
export function throughAFile(path: string): StorageError {
  const message = `${quote(path)} goes through something that is not a directory.`;
  return new StorageError("not_a_directory", message, { path });
}

/** A directory was to be made where something else is. */
export function existsOtherwise(path: string): StorageError {
  return new StorageError("exists", `${quote(path)} exists and is not a directory.`, { path });
}

/** A move may not take this place over. */
export function occupied(path: string): StorageError {
  return new StorageError("exists", `${quote(path)} already exists.`, { path });
}

/** A directory with children is removed only when that was asked for. */
export function notEmpty(path: string): StorageError {
  return new StorageError("not_empty", `${quote(path)} is a directory that is not empty.`, { path });
}

/** The place does not hold what a change insists on. */
export function notAsExpected(
  path: string,
  expectedRevision: string | null,
  currentRevision: string | null,
): StorageError {
  const details = { path, expectedRevision, currentRevision };
  return new StorageError("conflict", `${quote(path)} is not as expected.`, details);
}

/** A file has more bytes than its reader takes. */
export function tooLarge(path: string, size: number, maxBytes: number): StorageError {
  const message = `${quote(path)} has ${size} bytes, more than ${maxBytes}.`;
  return new StorageError("too_large", message, { maxBytes, size });
}

/** More bytes came than may be staged; `size` of them so far. */
export function bodyTooLarge(path: string, size: number, maxBytes: number): StorageError {
  const message = `The body for ${quote(path)} passes ${maxBytes} bytes.`;
  return new StorageError("too_large", message, { maxBytes, size });
}

/** A line to append would become two. */
export function lineWithNewline(path: string): StorageError {
  return new StorageError("io", `A line for ${quote(path)} has a newline inside.`, { path });
}
