import pLimit from "p-limit";
import type { Awaitable } from "./awaitable.ts";
import type { Actor } from "./caller.ts";
import type { Entry, ReadableStorage, Storage } from "./storage.ts";
import { compareCodePoints, StorageError } from "./storage.ts";

/** One line of an audit log (wire contract, section 8). */
export interface AuditEntry {
  id: string;
  workspaceId: string;
  actor: Actor;
  action: string;
  target: string;
  summary: string;
  /** Milliseconds since the epoch. */
  timestamp: number;
  /** Only when it did not happen: how the request ended. */
  outcome?: "denied" | "timeout" | "withdrawn" | "revoked" | "failed";
  /** Only when a host was asked: which request it answered, and who did. */
  approval?: { id: string; by?: Actor };
}

/** What is recorded; id, workspace and time are added. */
export type AuditRecord = Omit<AuditEntry, "id" | "workspaceId" | "timestamp">;

/** A log is rotated when it reaches this size, bytes; old parts stay readable. */
const rotateBytes = 32 * 1024 * 1024;
/** How much of a log is read at a time from its end, bytes. */
const chunkBytes = 64 * 1024;
/** How far back a file is read at most, bytes: a legacy log lies in the workspace and may be of any size. */
const mostReadBytes = 2 * rotateBytes;
/** A longer line is none that this server writes, bytes: what stands before it is not looked for. */
const longestLine = 1024 * 1024;
/** The log of what belongs to no workspace, as tokens. */
export const serverLog: string = "server";
/** How long the newest time is trusted without a look, milliseconds: only another server appends to our logs unseen. */
const trustMs = 200;
const legacyPath = ".opencode/openwork/audit.jsonl";

/** A log and where it may also be found: the workspace holds a legacy log from before the data directory. */
interface LogOwner {
  readonly id: string;
  readonly storage?: ReadableStorage;
}

/** The time of a log's newest entry, and of which revision of the log that was said when. */
interface Newest {
  revision: string | null;
  timestamp: number | null;
  checkedAt: number;
}

/**
 * Append-only audit logs, one file of JSON lines per workspace in the data directory. An entry is durable
 * when `record` returns. Logs are read from their end, so a page costs a page whatever the size of the log.
 */
export class AuditLog {
  readonly #data: Storage;
  readonly #rotating = new Map<string, ReturnType<typeof pLimit>>();
  readonly #last = new Map<string, Newest>();

  /** @param data the data directory's storage */
  constructor(data: Storage) {
    this.#data = data;
  }

  /** Appends entries to the log of a workspace, or of the server, and returns once they are durable. */
  async record(workspaceId: string, records: readonly AuditRecord[]): Promise<void> {
    if (records.length === 0) return;
    const lines = records.map(({ actor, action, target, summary, ...rest }) =>
      JSON.stringify({
        id: crypto.randomUUID(),
        workspaceId,
        actor,
        action,
        target,
        summary,
        timestamp: Date.now(),
        ...rest,
      } satisfies AuditEntry),
    );
    const path = logPath(workspaceId);
    await this.#rotateIfFull(workspaceId, path);
    await this.#data.append(path, lines);
    this.#last.delete(workspaceId);
  }

  /** The newest entries, newest first. Lines that are not JSON objects are skipped but count for the limit. */
  async read(owner: LogOwner, limit: number): Promise<Record<string, unknown>[]> {
    const items: Record<string, unknown>[] = [];
    let left = limit;
    for await (const { storage, path } of this.#parts(owner)) {
      for await (const line of linesFromEnd(storage, path)) {
        if (left <= 0) return items;
        left -= 1;
        const entry = parseLine(line);
        if (entry) items.push(entry);
      }
    }
    return items;
  }

  /** The time of the newest entry, or null: what the contract calls `updatedAt` of the configuration. */
  lastTimestamp(owner: LogOwner): Awaitable<number | null> {
    const known = this.#last.get(owner.id);
    const isTrusted = known !== undefined && performance.now() - known.checkedAt < trustMs;
    return isTrusted ? known.timestamp : this.#lookForTimestamp(owner, known);
  }

  async #lookForTimestamp(owner: LogOwner, known: Newest | undefined): Promise<number | null> {
    const now = performance.now();
    const revision =
      ((await this.#data.stat(logPath(owner.id))) ?? (await statLegacy(owner)))?.revision ?? null;
    const unchanged = known !== undefined && known.revision === revision;
    const timestamp = unchanged ? known.timestamp : await this.#newestTimestamp(owner);
    this.#last.set(owner.id, { revision, timestamp, checkedAt: now });
    return timestamp;
  }

  async #newestTimestamp(owner: LogOwner): Promise<number | null> {
    for await (const { storage, path } of this.#parts(owner)) {
      for await (const line of linesFromEnd(storage, path)) {
        const timestamp = parseLine(line)?.["timestamp"];
        if (typeof timestamp === "number") return timestamp;
      }
    }
    return null;
  }

  /** The files of a log, newest first; the legacy one only while there is no other. */
  async *#parts(owner: LogOwner): AsyncGenerator<{ storage: ReadableStorage; path: string }> {
    const names = (await this.#data.list("audit")) ?? [];
    const rotated = new RegExp(`^audit/${owner.id}\\.\\d{13,}\\.jsonl$`);
    const parts = names.filter((entry) => rotated.test(entry.path)).map((entry) => entry.path);
    parts.sort((a, b) => compareCodePoints(b, a));
    const current = names.some((entry) => entry.path === logPath(owner.id));
    if (current) parts.unshift(logPath(owner.id));
    if (parts.length === 0 && owner.storage && (await statLegacy(owner))) {
      yield { storage: owner.storage, path: legacyPath };
    }
    for (const path of parts) yield { storage: this.#data, path };
  }

  #rotateIfFull(workspaceId: string, path: string): Promise<void> {
    let lock = this.#rotating.get(path);
    if (!lock) this.#rotating.set(path, (lock = pLimit(1)));
    return lock(async () => {
      const current = await this.#data.stat(path);
      if (!current || current.size < rotateBytes) return;
      const to = `audit/${workspaceId}.${Date.now()}.jsonl`;
      await this.#data.commit([{ op: "move", from: path, to }]).catch((error: unknown) => {
        // Another server on this data directory was faster.
        if (!(error instanceof StorageError && error.code === "not_found")) throw error;
      });
    });
  }
}

function logPath(workspaceId: string): string {
  return `audit/${workspaceId}.jsonl`;
}

async function statLegacy(owner: LogOwner): Promise<Entry | null> {
  const entry = await owner.storage?.stat(legacyPath).catch(() => null);
  return entry?.kind === "file" ? entry : null;
}

function parseLine(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    // A checked boundary: any JSON object is shown as it stands.
    return value !== null && typeof value === "object" && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** The lines of a file from the last to the first, blank ones left out, reading only as far as asked. */
async function* linesFromEnd(storage: ReadableStorage, path: string): AsyncGenerator<string> {
  const entry = await storage.stat(path);
  if (entry?.kind !== "file") return;
  const decoder = new TextDecoder();
  let end = entry.size;
  const farthest = Math.max(0, end - mostReadBytes);
  let carried = new Uint8Array(0);
  while (end > farthest && carried.length <= longestLine) {
    const start = Math.max(0, end - chunkBytes);
    const read = await readRange(storage, path, start, end - 1);
    // A file that is rotated while it is read ends here; the next page finds its new name.
    if (read?.length !== end - start) return;
    const bytes = concat(read, carried);
    // The first line of the chunk may begin before it: it waits for the next one.
    const firstBreak = start === 0 ? -1 : bytes.indexOf(10);
    if (start > 0 && firstBreak < 0) {
      carried = bytes;
    } else {
      carried = bytes.slice(0, firstBreak + 1);
      const lines = decoder.decode(bytes.subarray(firstBreak + 1)).split("\n");
      for (const line of lines.toReversed()) if (line.trim() !== "") yield line;
    }
    end = start;
  }
}

async function readRange(
  storage: ReadableStorage,
  path: string,
  start: number,
  end: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const file = await storage.read(path, { range: { start, end } });
  return file && new Uint8Array(await new Response(file.body).arrayBuffer());
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
