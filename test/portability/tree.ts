import { toBase64 } from "../../lib/base64.ts";
import type { ReadableStorage } from "../../lib/storage.ts";

/** Every file of a storage by path, its bytes as base64. */
export async function treeOf(storage: ReadableStorage): Promise<Record<string, string>> {
  const paths: string[] = [];
  for await (const batch of storage.walk(""))
    for (const entry of batch) if (entry.kind === "file") paths.push(entry.path);
  const tree: Record<string, string> = {};
  for (const path of paths.toSorted()) {
    const file = await storage.readFile(path);
    if (file) tree[path] = toBase64(file.bytes);
  }
  return tree;
}
