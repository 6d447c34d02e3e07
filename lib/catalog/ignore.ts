import ignore, { type Ignore } from "ignore";
import type { Verdict } from "./chunks.ts";
import type { ReadableStorage } from "../storage.ts";

/** Left out wherever they are, whatever ignore files say. */
const alwaysIgnored: ReadonlySet<string> = new Set([".git", "node_modules", ".venv"]);
const longestIgnoreFile = 1024 * 1024;
const options = { ignoreCase: false, allowRelativePaths: true } as const;

/** The rules of one ignore file and the directory they are relative to. */
interface Rules {
  prefix: string;
  matcher: Ignore;
}

interface Directory {
  ignored: boolean;
  /** The rules that apply in it, those of outer directories first. */
  rules: readonly Rules[];
}

/** Tells which paths `ignore=default` leaves out: `.git`, `node_modules`, `.venv`, and what `.gitignore` files say. */
export class IgnoreRules {
  readonly #files: ReadonlyMap<string, Ignore>;
  readonly #directories = new Map<string, Directory>();

  private constructor(files: ReadonlyMap<string, Ignore>) {
    this.#files = files;
  }

  /** Reads the ignore files at these paths; one that cannot be read says nothing. */
  static async load(
    storage: Pick<ReadableStorage, "readFile">,
    paths: Iterable<string>,
  ): Promise<IgnoreRules> {
    const files = new Map<string, Ignore>();
    for (const path of paths) {
      if (path.split("/").some((name) => alwaysIgnored.has(name))) continue;
      const file = await storage.readFile(path, { maxBytes: longestIgnoreFile }).catch(() => null);
      if (!file) continue;
      files.set(parentOf(path), ignore(options).add(new TextDecoder().decode(file.bytes)));
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
    const matcher = ignored ? undefined : this.#files.get(path);
    const outer = ignored || path === "" ? parent.rules : lettingIn(parent.rules, path);
    const rules = matcher ? [...outer, { prefix: path === "" ? "" : `${path}/`, matcher }] : outer;
    const directory = { ignored, rules };
    this.#directories.set(path, directory);
    return directory;
  }
}

function isIgnored(parent: Directory, path: string, isDir: boolean): boolean {
  if (alwaysIgnored.has(path.slice(path.lastIndexOf("/") + 1))) return true;
  let ignored = false;
  for (const { prefix, matcher } of parent.rules) {
    const result = matcher.test(path.slice(prefix.length) + (isDir ? "/" : ""));
    if (result.ignored) ignored = true;
    else if (result.unignored) ignored = false;
  }
  return ignored;
}

/**
 * The rules of outer directories in one that is not ignored. A matcher takes what lies in a directory that it excludes
 * for excluded, also when an inner ignore file lets that directory in again: there it has to be told.
 */
function lettingIn(rules: readonly Rules[], path: string): readonly Rules[] {
  const excludes = ({ prefix, matcher }: Rules): boolean =>
    matcher.test(`${path.slice(prefix.length)}/`).ignored;
  if (!rules.some(excludes)) return rules;
  return rules.map((one) => {
    if (!excludes(one)) return one;
    const { prefix, matcher } = one;
    const literal = path.slice(prefix.length).replaceAll(/[\\*?[\]]/g, String.raw`\$&`);
    // In a list, because a text is cut into lines, and names may hold line ends.
    return { prefix, matcher: ignore(options).add([matcher, `!/${literal}/`]) };
  });
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
