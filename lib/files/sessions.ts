import type { Caller } from "../caller.ts";
import { ApiError } from "../errors.ts";
import type { Caps } from "../quota.ts";

/** A file session as clients see it (wire contract, 10.13). */
export interface FileSessionView {
  id: string;
  workspaceId: string;
  createdAt: number;
  expiresAt: number;
  /** Milliseconds left. */
  ttlMs: number;
  canWrite: boolean;
}

/** An open file session: it belongs to one workspace and to the token that opened it. */
export interface FileSession {
  readonly id: string;
  readonly workspaceId: string;
  readonly tokenHash: string;
  readonly createdAt: number;
  readonly canWrite: boolean;
  expiresAt: number;
}

const defaultTtlMs = 900_000;
const shortestTtlMs = 30_000;
const longestTtlMs = 86_400_000;

/** The file sessions of a server, in memory. Over a cap nobody is evicted: the newcomer is refused (I11). */
export class FileSessions {
  readonly #caps: Caps;
  readonly #sessions = new Map<string, FileSession>();

  constructor(caps: Caps) {
    this.#caps = caps;
  }

  /**
   * Opens a session. `isAlive` tells whether a token still counts: sessions die with theirs.
   * 429 with `Retry-After` over a cap.
   */
  async open(
    workspaceId: string,
    caller: Caller,
    options: { ttlSeconds: unknown; canWrite: boolean },
    isAlive: (tokenHash: string) => Promise<boolean>,
  ): Promise<FileSession> {
    const { tokenHash } = caller.actor;
    await this.#sweep(isAlive);
    const own = [...this.#sessions.values()].filter((session) => session.tokenHash === tokenHash);
    if (own.length >= this.#caps.perToken) throw this.#full(own, "this token", this.#caps.perToken);
    if (this.#sessions.size >= this.#caps.total) {
      throw this.#full([...this.#sessions.values()], "this server", this.#caps.total);
    }
    const createdAt = Date.now();
    const session: FileSession = {
      id: crypto.randomUUID(),
      workspaceId,
      tokenHash,
      createdAt,
      canWrite: options.canWrite,
      expiresAt: createdAt + ttlOf(options.ttlSeconds),
    };
    this.#sessions.set(session.id, session);
    return session;
  }

  /** The session of this id, which the caller opened: 404 when there is none (any more), 403 when it is another token's. */
  find(id: string, caller: Caller): FileSession {
    const session = this.#sessions.get(id);
    if (!session || session.expiresAt <= Date.now()) {
      this.#sessions.delete(id);
      throw notFound();
    }
    if (session.tokenHash !== caller.actor.tokenHash) {
      throw new ApiError(
        "forbidden",
        "This file session was opened with another token; open one of your own.",
      );
    }
    return session;
  }

  /** Lets a session live on, counted from now. */
  renew(session: FileSession, ttlSeconds: unknown): void {
    session.expiresAt = Date.now() + ttlOf(ttlSeconds);
  }

  /** Ends a session. */
  close(session: FileSession): void {
    this.#sessions.delete(session.id);
  }

  async #sweep(isAlive: (tokenHash: string) => Promise<boolean>): Promise<void> {
    const now = Date.now();
    const alive = new Map<string, boolean>();
    for (const { tokenHash } of this.#sessions.values()) {
      if (!alive.has(tokenHash)) alive.set(tokenHash, await isAlive(tokenHash));
    }
    for (const session of this.#sessions.values()) {
      if (session.expiresAt <= now || alive.get(session.tokenHash) === false)
        this.#sessions.delete(session.id);
    }
  }

  #full(sessions: readonly FileSession[], whose: string, most: number): ApiError {
    const soonest = Math.min(...sessions.map((session) => session.expiresAt));
    const seconds = Math.max(1, Math.ceil((soonest - Date.now()) / 1000));
    return new ApiError(
      "too_many_requests",
      `There are ${most} open file sessions of ${whose}, the most there may be; close or reuse one.`,
      { most },
      { headers: { "retry-after": String(seconds) } },
    );
  }
}

/** What a client is shown of a session. */
export function viewOf({ id, workspaceId, createdAt, expiresAt, canWrite }: FileSession): FileSessionView {
  return { id, workspaceId, createdAt, expiresAt, ttlMs: Math.max(0, expiresAt - Date.now()), canWrite };
}

/** The answer for a session that is unknown, closed or expired. */
export function notFound(): ApiError {
  return new ApiError(
    "file_session_not_found",
    "There is no such file session (any more); open one with POST /workspace/:id/files/sessions.",
  );
}

function ttlOf(seconds: unknown): number {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return defaultTtlMs;
  return Math.min(longestTtlMs, Math.max(shortestTtlMs, Math.floor(seconds * 1000)));
}
