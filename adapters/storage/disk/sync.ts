import { StorageError } from "../../../lib/storage.ts";
import { errno } from "./fs.ts";
import type { DiskContext } from "./stage.ts";
import type { Step } from "./steps.ts";
import type { Dir } from "./tree.ts";

/** Makes what was renamed, linked or removed in these directories durable. */
export async function syncDirs(context: DiskContext, rels: Iterable<string>): Promise<void> {
  await Promise.all([...new Set(rels)].map((rel) => syncDir(context, rel)));
}

async function syncDir(context: DiskContext, rel: string): Promise<void> {
  let dir: Dir;
  try {
    dir = context.tree.openDir(rel, true);
  } catch (error) {
    // One that may be written but not read cannot be synced; one that is gone need not be.
    if (error instanceof StorageError && ["denied", "not_found"].includes(error.code)) return;
    throw error;
  }
  try {
    await context.fs.fsync(dir.fd);
  } catch (error) {
    // Some file systems do not know how to sync a directory and need not.
    if (errno(error) !== "EINVAL") throw error;
  } finally {
    dir.close();
  }
}

/** The directories whose names a step changes. */
export function touched(step: Step): string[] {
  if (step.do === "put") return [step.dir, step.from];
  if (step.do === "move") return [step.dir, step.toDir];
  return [step.dir];
}
