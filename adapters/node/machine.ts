import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ConfigError } from "../../lib/config.ts";
import { readSystem } from "../storage/disk/fs.ts";

/** The directory that a path really is, links resolved; null when there is none. */
export function realDirectory(path: string): string | null {
  try {
    return statSync(path).isDirectory() ? realpathSync.native(path) : null;
  } catch {
    return null;
  }
}

/** What keeps a directory from being served, as the end of a sentence; null when nothing does. */
export function workspaceProblem(path: string, readOnly: boolean): string | null {
  try {
    if (!statSync(path).isDirectory())
      return "is a file, not a directory: its endpoints answer with errors. Name the directory to serve";
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") return "is not there: it reads as empty, and the first write makes it";
    return `cannot be reached (${code}): its endpoints answer with errors`;
  }
  if (!isAllowed(path, constants.R_OK | constants.X_OK))
    return "may not be read by this user: its endpoints answer with errors";
  if (!readOnly && !isAllowed(path, constants.W_OK))
    return "may not be written by this user: every write into it is refused";
  return null;
}

function isAllowed(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function errorCode(error: unknown): string {
  return String((error instanceof Error && Reflect.get(error, "code")) || error);
}

/** Why a file cannot be read, in words. */
const unreadable: Readonly<Record<string, string>> = {
  EISDIR: "it is a directory",
  ENOTDIR: "on the way to it is a file where a directory should be",
  EACCES: "this user may not read it",
  ELOOP: "it is a link that leads back to itself",
};

/** The text of the settings file; null when there is none. Anything else that keeps it from being read stops the start. */
export function readSettingsFile(path: string): string | null {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") return null;
    const reason = unreadable[code] ?? "the system refuses it";
    throw new ConfigError(
      `The settings file ${path} cannot be read: ${reason} (${code}). Put that right, or name another file with --config.`,
      { cause: error },
    );
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ConfigError(`${path} is not UTF-8 text.`, { cause });
  }
}

/**
 * Whether this process was started to outlive its terminal, as `nohup` does it. Told by Linux alone; and of the
 * runtimes Bun and Deno leave it as it was, while Node forgets it before any of our code runs.
 */
export function ignoresHangUp(): boolean {
  const [, signals = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readSystem("/proc/self/status")) ?? [];
  // One bit for each signal, the lowest for the first: that is SIGHUP.
  return Number.parseInt(signals.slice(-1), 16) % 2 === 1;
}

/** Lets go of a terminal that closed: at its end Node 20 sets one back to how it was, and crashes when it cannot. */
export function leaveTerminal(): void {
  for (const descriptor of [0, 1, 2]) {
    try {
      if (fstatSync(descriptor).isCharacterDevice()) closeSync(descriptor);
    } catch {
      // It is closed already.
    }
  }
}

/** Whether this process may write into a directory, or make it where it is not there yet. */
export function canWriteTo(directory: string): boolean {
  let nearest = directory;
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  try {
    // Tried rather than asked: some file systems (`/proc`) promise what they do not keep.
    rmdirSync(mkdtempSync(join(nearest, ".openwork-")));
    return true;
  } catch {
    return false;
  }
}
