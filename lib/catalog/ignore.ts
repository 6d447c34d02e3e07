import type { Verdict } from "./chunks.ts";
import { IgnoreFile } from "./gitignore.ts";
import type { ReadableStorage } from "../storage.ts";

/** Left out wherever they are, whatever ignore files say. */
const alwaysIgnored: ReadonlySet<string> = new Set([".git", "node_modules", ".venv"]);
const longestIgnoreFile = 1024 * 1024;

/** The rules of one ignore file and the directory they are relative to. */
interface Rules {
  prefix: string;
  file: IgnoreFile;
}

interface Directory {
  ignored: boolean;
  /** The rules that apply in it, those of inner directories first. */
  rules: readonly Rules[];
}

/** Tells which paths `ignore=default` leaves out: `.git`, `node_modules`, `.venv`, and what `.gitignore` files say. */
export class IgnoreRules {
  readonly #files: ReadonlyMap<string, IgnoreFile>;
  readonly #directories = new Map<string, Directory>();

  private constructor(files: ReadonlyMap<string, IgnoreFile>) {
    this.#files = files;
  }

  /** Reads the ignore files at these paths; one that cannot be read says nothing. */
  static async load(
    storage: Pick<ReadableStorage, "readFile">,
    paths: Iterable<string>,
  ): Promise<IgnoreRules> {
    const files = new Map<string, IgnoreFile>();
    for (const path of paths) {
      if (path.split("/").some((name) => alwaysIgnored.has(name))) continue;
      const file = await storage.readFile(path, { maxBytes: longestIgnoreFile }).catch(() => null);
      if (!file) continue;
      files.set(parentOf(path), new IgnoreFile(new TextDecoder().decode(file.bytes)));
    }
    return new IgnoreRules(files);
  }

  /** Whether a path is left out. */
  verdict(path: string, isDir: boolean): Verdict {
    if (isDir) return this.#directory(path).ignored ? "ignored" : "kept";
    const parent = this.#directory(parentOf(path));
    return parent.ignored || isIgnored(parent, path, false) ? "ignored" : "kept";
  }

  #directory(path: string): Directory {
    const known = this.#directories.get(path);
    if (known) return known;
    const parent: Directory = path === "" ? { ignored: false, rules: [] } : this.#directory(parentOf(path));
    const ignored = parent.ignored || (path !== "" && isIgnored(parent, path, true));
    // Nothing is let in again below what is left out.
    const file = ignored ? undefined : this.#files.get(path);
    const prefix = path === "" ? "" : `${path}/`;
    const rules = file ? [{ prefix, file }, ...parent.rules] : parent.rules;
    const directory = { ignored, rules };
    this.#directories.set(path, directory);
    return directory;
  }
}

function isIgnored(parent: Directory, path: string, isDir: boolean): boolean {
  if (alwaysIgnored.has(path.slice(path.lastIndexOf("/") + 1))) return true;
  for (const { prefix, file } of parent.rules) {
    const isOut = file.test(path.slice(prefix.length), isDir);
    if (isOut !== null) return isOut;
  }
  return false;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
