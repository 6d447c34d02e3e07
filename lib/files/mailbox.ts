import { resolveClientPath } from "../client-paths.ts";
import { ApiError, type ErrorCode } from "../errors.ts";
import { compareCodePoints, type Entry, type Storage } from "../storage.ts";

/** An inbox or outbox: a folder through which files are handed over, and what its requests are refused with. */
export interface Mailbox {
  /** Path in the workspace. */
  readonly base: string;
  readonly invalid: ErrorCode;
  readonly missing: ErrorCode;
}

/** Files handed to the workspace (wire contract, 10.10). */
export const inbox: Mailbox = {
  base: ".opencode/openwork/inbox",
  invalid: "invalid_inbox_item",
  missing: "inbox_item_not_found",
};

/** Files the workspace offers (10.11). */
export const outbox: Mailbox = {
  base: ".opencode/openwork/outbox",
  invalid: "invalid_artifact",
  missing: "artifact_not_found",
};

/** A file in a mailbox, as lists show it. */
export interface MailboxItem {
  id: string;
  /** Relative to the folder. */
  path: string;
  size: number;
  /** Milliseconds since the epoch. */
  updatedAt: number;
}

/** All files below the folder, newest first; links and special files are left out. */
export async function listMailbox(storage: Storage, { base }: Mailbox): Promise<MailboxItem[]> {
  const items: MailboxItem[] = [];
  for await (const batch of storage.walk(base)) {
    for (const entry of batch) if (entry.kind === "file") items.push(itemOf(entry, base));
  }
  return items.toSorted((a, b) => b.updatedAt - a.updatedAt || compareCodePoints(a.path, b.path));
}

function itemOf(entry: Entry, base: string): MailboxItem {
  const path = entry.path.slice(base.length + 1);
  return { id: encodeId(path), path, size: entry.size, updatedAt: entry.mtimeMs };
}

/** The workspace path of the listed file that an id names; only what is listed is found (I02). */
export async function findInMailbox(storage: Storage, mailbox: Mailbox, id: string): Promise<string> {
  const { base } = mailbox;
  const relative = await resolveInMailbox(storage, mailbox, decodeId(id)).catch((cause: unknown) => {
    throw new ApiError(mailbox.invalid, "The id does not stand for a path in this folder.", undefined, {
      cause,
    });
  });
  const path = `${base}/${relative}`;
  if (!(await isListed(storage, base, relative))) throw notInMailbox(mailbox);
  return path;
}

/** The 404 of a folder. */
export function notInMailbox({ missing }: Mailbox): ApiError {
  return new ApiError(
    missing,
    "There is no such file in this folder; the list has the ids of those there are.",
  );
}

/** The path, relative to the folder, that a client means by `input`; `invalid_path` when none. */
export function resolveInMailbox(storage: Storage, { base }: Mailbox, input: string): Promise<string> {
  return resolveClientPath({ stat: (path) => storage.stat(`${base}/${path}`) }, input);
}

/** Whether every name on the way is one that lists show: a link is found by the look at a path, but not in a list. */
async function isListed(storage: Storage, base: string, relative: string): Promise<boolean> {
  let dir = base;
  for (const part of relative.split("/")) {
    const path = `${dir}/${part}`;
    const entries = await storage.list(dir, { names: new Set([part]) });
    if (!entries?.some((entry) => entry.path === path)) return false;
    dir = path;
  }
  return true;
}

/** Base64url without padding of the path in UTF-8. */
function encodeId(path: string): string {
  let binary = "";
  for (const byte of new TextEncoder().encode(path)) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Decodes leniently: either alphabet, whatever else is in the id is skipped. */
function decodeId(id: string): string {
  const digits = id
    .replaceAll("-", "+")
    .replaceAll("_", "/")
    .replaceAll(/[^A-Za-z0-9+/]/g, "");
  // One digit left over holds no whole byte.
  const whole = digits.length % 4 === 1 ? digits.slice(0, -1) : digits;
  const bytes = Uint8Array.from(atob(whole), (character) => character.charCodeAt(0));
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}
