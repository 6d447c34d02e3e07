import { StorageError, storagePathParts } from "../../lib/storage.ts";
import type { Change } from "../../lib/storage.ts";

/**
 * Refuses changes that do not make sense together: a path twice, or something below a path that is itself
 * written, removed or moved. Making a directory and things in it is fine.
 */
export function checkPaths(changes: readonly Change[]): void {
  const closed = new Set<string>();
  const all: string[] = [];
  for (const change of changes) {
    const paths = change.op === "move" ? [change.from, change.to] : [change.path];
    for (const path of paths) {
      storagePathParts(path);
      if (path === "" && (change.op === "remove" || change.op === "move")) {
        throw new StorageError("invalid_path", "The root cannot be moved or removed.", { path });
      }
      if (path === "" && change.op === "write")
        throw new StorageError("is_directory", "The root is a directory.", { path });
      all.push(path);
      if (change.op !== "mkdir") closed.add(path);
    }
  }
  refuseOverlaps(all, closed);
}

/** Refuses paths that occur twice or lie below a closed one. */
export function refuseOverlaps(all: readonly string[], closed: ReadonlySet<string>): void {
  const seen = new Set<string>();
  for (const path of all) {
    if (seen.has(path))
      throw new StorageError("invalid_path", `${JSON.stringify(path)} occurs twice in one commit.`, { path });
    seen.add(path);
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const above = path.slice(0, at);
      if (closed.has(above)) {
        throw new StorageError(
          "invalid_path",
          `${JSON.stringify(path)} lies below ${JSON.stringify(above)}, which the same commit changes.`,
          { path },
        );
      }
    }
  }
}
