import { mkdtempSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { temporaryName } from "../../lib/storage.ts";

/** A new directory that is removed at the end of a `using` block. */
export function temporaryDir(): { path: string; [Symbol.dispose](): void } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "storage-")));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Hidden temporaries anywhere below a directory. */
export function leftovers(dir: string): string[] {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.split("/").some((part) => temporaryName.test(part)));
}
