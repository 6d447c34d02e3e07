import { ApiError } from "./errors.ts";
import { normalizeRelativePath } from "./paths.ts";
import { storagePathParts, type ReadableStorage } from "./storage.ts";

const mountPrefix = "workspace/";

/**
 * The storage path that a client means (wire contract, section 9): the very name it sent when there is such
 * an entry (I42), else the normalised path; the prefix `workspace/`, which sandboxed clients put before every
 * path, goes only when the root has no entry of that name (I41). Throws `invalid_path`.
 */
export async function resolveClientPath(
  storage: Pick<ReadableStorage, "stat">,
  input: string,
): Promise<string> {
  if (isStoragePath(input)) {
    // Nothing would be normalised away: whether there is such an entry makes no difference.
    const isPlain = input === input.trim() && !input.includes("\\") && !input.startsWith(mountPrefix);
    if (isPlain || (await storage.stat(input))) return input;
  }
  const path = normalizeRelativePath(input);
  if (!path.startsWith(mountPrefix) || (await storage.stat("workspace"))) return checked(path);
  return checked(path.slice(mountPrefix.length));
}

function isStoragePath(input: string): boolean {
  if (input === "") return false;
  try {
    storagePathParts(input);
    return true;
  } catch {
    return false;
  }
}

function checked(path: string): string {
  if (!isStoragePath(path))
    throw new ApiError(
      "invalid_path",
      `The path ${JSON.stringify(path)} holds a part that cannot be a name here.`,
    );
  return path;
}
