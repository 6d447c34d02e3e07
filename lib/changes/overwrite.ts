import type { View } from "./plan.ts";
import { ApiError } from "../errors.ts";

/** Looks at the file that a write will replace, so that the commit insists on that one; refuses what is no file. */
export async function lookBeforeWrite(view: Pick<View, "stat">, path: string): Promise<void> {
  const entry = await view.stat(path);
  if (entry && entry.kind !== "file") {
    throw new ApiError("invalid_path", `${path} is not a file, so it cannot be written.`);
  }
}
