import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join, sep } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import pLimit, { type LimitFunction } from "p-limit";
import { largestSearched, type ContentQuery } from "../lib/search/content.ts";

/** What ends ripgrep's options, and everything that must not depend on the user's configuration. */
const fixedArgs = [
  "--no-config",
  "--json",
  "--line-buffered",
  "--fixed-strings",
  "--max-count=1",
  "--no-follow",
  "--hidden",
  "--no-messages",
  // A mark at its beginning makes no other text of a file: what it holds is decided by UTF-8 alone.
  "--encoding=none",
];

/** The same rules as those of the catalog: `.gitignore` files of the workspace, and no others. */
const ignoreArgs = [
  "--no-require-git",
  "--no-ignore-global",
  "--no-ignore-exclude",
  "--no-ignore-parent",
  "--no-ignore-dot",
  ...["!.git", "!node_modules", "!.venv"].map((glob) => `--glob=${glob}`),
];

/** The `rg` of the search path; relative parts of it, which the workspace could fill, do not count. */
export function findRipgrep(searchPath: string = process.env["PATH"] ?? ""): string | null {
  for (const dir of searchPath.split(delimiter)) {
    if (!isAbsolute(dir)) continue;
    const file = join(dir, process.platform === "win32" ? "rg.exe" : "rg");
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // Not there: the next one.
    }
  }
  return null;
}

/**
 * Whether ripgrep would find all that the scan finds: it cannot be told in every version to look past a
 * `.rgignore`, and knows no replacement character where bytes are no text.
 */
export function suitsRipgrep(root: string, query: ContentQuery): boolean {
  return !query.text.includes("\ufffd") && (query.ignored || !existsSync(join(root, ".rgignore")));
}

/** The arguments of a search; the text is never taken for an option. */
export function ripgrepArgs(query: ContentQuery): string[] {
  return [
    ...fixedArgs,
    `--max-filesize=${largestSearched}`,
    query.caseSensitive ? "--case-sensitive" : "--ignore-case",
    ...(query.ignored ? ["--no-ignore"] : ignoreArgs),
    "--",
    query.text,
    ".",
  ];
}

/** Most ripgreps that run at a time: each uses all processors. Further searches wait for their turn. */
const mostRunning = 4;

/** The turns of a machine's searches, for {@link candidatesOf}. */
export function ripgrepTurns(): LimitFunction {
  return pLimit(mostRunning);
}

/**
 * Paths of files below `root` that seem to hold the text, as they are found. What they hold is for the confined
 * storage to say: by the time it is asked, a directory may have become a link. Ripgrep starts when it is its turn and
 * ends with the iteration or the signal. Throws when it cannot be run.
 */
export async function* candidatesOf(
  command: string,
  root: string,
  query: ContentQuery,
  signal: AbortSignal,
  turns: LimitFunction,
): AsyncGenerator<string, void, undefined> {
  const running = await start(command, root, query, signal, turns);
  if (running === null) return;
  const { child, ended } = running;
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  let found = false;
  try {
    for await (const line of createInterface({ input: child.stdout, crlfDelay: Infinity })) {
      const path = pathIn(line);
      if (path === null) continue;
      found = true;
      yield path;
    }
    // The same code tells of a directory that may not be read and of options that this version does not know.
    if ((await ended) === 2 && !found && !signal.aborted) throw new Error(`${command} ended with an error`);
  } finally {
    signal.removeEventListener("abort", kill);
    kill();
  }
}

interface Running {
  child: ChildProcessByStdio<null, Readable, null>;
  /** Its exit code. */
  ended: Promise<number | null>;
}

/** Starts ripgrep when it is its turn; null when the signal came first. The turn lasts until the process has ended. */
function start(
  command: string,
  root: string,
  query: ContentQuery,
  signal: AbortSignal,
  turns: LimitFunction,
): Promise<Running | null> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => resolve(null);
    signal.addEventListener("abort", giveUp, { once: true });
    const turn = turns(async () => {
      signal.removeEventListener("abort", giveUp);
      if (signal.aborted) return giveUp();
      const child = spawn(command, ripgrepArgs(query), {
        cwd: root,
        stdio: ["ignore", "pipe", "ignore"],
        windowsHide: true,
      });
      const ended = new Promise<number | null>((exited, failed) => {
        child.once("error", failed);
        child.once("exit", exited);
      });
      resolve({ child, ended });
      await ended.catch(() => undefined);
    });
    turn.catch(reject);
  });
}

/** The path of a message that tells of a match; one that is not UTF-8 is no path here. */
function pathIn(line: string): string | null {
  if (!line.startsWith('{"type":"match"')) return null;
  const path = messageOf(line)?.data?.path?.text;
  if (typeof path !== "string") return null;
  const shown = path.startsWith(`.${sep}`) ? path.slice(2) : path;
  return sep === "/" ? shown : shown.replaceAll(sep, "/");
}

/** A checked boundary: whatever else the program prints is passed over, also a line that was cut when it was killed. */
function messageOf(line: string): { data?: { path?: { text?: unknown } } } | null {
  try {
    return JSON.parse(line) as { data?: { path?: { text?: unknown } } };
  } catch {
    return null;
  }
}
