import { hostname } from "node:os";
import { readSystem } from "./fs.ts";

/**
 * What a temporary is for, written into its name so that nothing that a client uploads can pass for a journal.
 * `body`: bytes on their way in; `journal`: steps of a commit; `backup`: a replaced file; `trash`: a removed one;
 * `lock`: a claim to the lock.
 */
export const temporaryKinds = { body: 0, journal: 1, backup: 2, trash: 3, lock: 4 } as const;

/** The one name of the lock that a root's processes share. Who owns it is told by its content. */
export const lockName: string = `.owtmp-${"0".repeat(14)}${temporaryKinds.lock}00000`;

/** One of the temporary kinds. */
export type TemporaryKind = keyof typeof temporaryKinds;

/** Temporaries of a host whose processes cannot be asked for are left alone until this old, in milliseconds. */
const foreignAgeMs = 10 * 60_000;
/** A journal is in use for an instant only, and what it describes must not stay half done. */
const foreignJournalAgeMs = 30_000;
/** So is a lock, for which others wait: less than their patience. */
const foreignLockAgeMs = 8_000;

function hash16(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return ((hash >>> 16) ^ hash) & 0xffff;
}

const hex = (value: number, digits: number): string =>
  value.toString(16).padStart(digits, "0").slice(-digits);

/** What the system says of a process, from the third field on; null where it does not. */
function statOf(pid: number): string[] | null {
  const stat = readSystem(`/proc/${pid}/stat`);
  // The second field is a program name in parentheses that may hold anything.
  return stat === "" ? null : stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** Tells a process from a later one with the same id: boot and start time; 0 where the system does not say. */
function startTag(pid: number): number {
  const fields = statOf(pid);
  if (fields === null) return 0;
  const start = fields[19] ?? "";
  return hash16(readSystem("/proc/sys/kernel/random/boot_id") + start) || 1;
}

function isRunning(pid: number): boolean {
  // A process that has ended takes signals until its parent waits for it, which some never do.
  if (["Z", "X"].includes(statOf(pid)?.[0] ?? "")) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

/**
 * Makes names of temporaries: 6 hex digits of process id, 4 of host, 4 of process start, 1 of kind, 5 of a
 * counter. So a server can tell what a dead process left behind from what a running one still uses.
 */
export class TemporaryNames {
  readonly #host: string;
  readonly #owner: string;
  #counter: number = Math.floor(Math.random() * 0x100000);

  constructor() {
    this.#host = hex(hash16(hostname()), 4);
    this.#owner = `.owtmp-${hex(process.pid, 6)}${this.#host}${hex(startTag(process.pid), 4)}`;
  }

  /** A new name; the caller creates it exclusively and asks again when it is taken. */
  next(kind: TemporaryKind): string {
    this.#counter = (this.#counter + 1) & 0xfffff;
    return this.#owner + hex(temporaryKinds[kind], 1) + hex(this.#counter, 5);
  }

  /** Whether a name says that it is of this kind. */
  is(kind: TemporaryKind, name: string): boolean {
    return name[21] === hex(temporaryKinds[kind], 1);
  }

  /** Whether nobody can still be using a temporary that last changed then. */
  isAbandoned(name: string, ctimeMs: number): boolean {
    if (name === lockName) return false;
    const age = Date.now() - ctimeMs;
    // Where the system does not tell start times, the process may be a later one with the same id.
    if (this.is("lock", name) && name.slice(17, 21) === "0000" && age > foreignAgeMs) return true;
    if (name.startsWith(this.#owner)) return false;
    if (name.slice(13, 17) !== this.#host) {
      if (this.is("lock", name)) return age > foreignLockAgeMs;
      return age > (this.is("journal", name) ? foreignJournalAgeMs : foreignAgeMs);
    }
    const pid = Number.parseInt(name.slice(7, 13), 16);
    // Process id 0 would ask about our own group.
    if (pid === 0 || !isRunning(pid)) return true;
    const tag = startTag(pid);
    return tag !== 0 && hex(tag, 4) !== name.slice(17, 21);
  }
}
