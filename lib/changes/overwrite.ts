import type { View, WriteRequest } from "./plan.ts";
import { ApiError } from "../errors.ts";
import { absolutePath } from "../paths.ts";
import type { Entry } from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

/** A file that is written whole, whatever it held. */
export interface Overwrite<T> extends Pick<WriteRequest<T>, "action" | "summary"> {
  /** In workspace paths; it alone is changed, and it is the audit target. */
  file: string;
  body: Uint8Array;
  /** What the caller is answered once it is done. */
  answer(): T | Promise<T>;
}

/** The request to write one file whole. */
export function overwrite<T>(
  workspace: Workspace,
  { action, summary, file, body, answer }: Overwrite<T>,
): WriteRequest<T> {
  const absolute = absolutePath(workspace.path, file);
  return {
    action,
    summary,
    paths: [absolute],
    targets: [absolute],
    onConflict: "refuse",
    async plan(view) {
      await lookBeforeWrite(view, file);
      return { changes: [{ op: "write", path: file, body }], answer };
    },
  };
}

/** Looks at the file that a write will replace, so that the commit insists on that one; refuses what is no file. */
export async function lookBeforeWrite(view: Pick<View, "stat">, path: string): Promise<Entry | null> {
  const entry = await view.stat(path);
  if (entry && entry.kind !== "file") {
    throw new ApiError("invalid_path", `${path} is not a file, so it cannot be written.`);
  }
  return entry;
}
