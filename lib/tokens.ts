import pLimit from "p-limit";
import type { Awaitable } from "./awaitable.ts";
import { ApiError } from "./errors.ts";
import { sha256Hex } from "./hash.ts";
import type { StoreFile } from "./host.ts";
import { isScope, type Scope } from "./scopes.ts";
import { StorageError } from "./storage.ts";

/** An issued token as stored: never the token itself (wire contract, section 11). */
export interface IssuedToken {
  id: string;
  /** Lowercase hex SHA-256 of the token. */
  hash: string;
  scope: Scope;
  createdAt: number;
  label?: string;
}

interface Loaded {
  revision: string | null;
  /** All rows of the file, also those that are no tokens: rewriting loses none of them. */
  rows: readonly unknown[];
  tokens: readonly IssuedToken[];
  byHash: ReadonlyMap<string, IssuedToken>;
}

/** How long the file is trusted before its revision is looked at again: other processes may edit it (I22). */
const trustMs = 100;
/** While a token holds something open, other processes' edits are looked for this often. */
const lookMs = 1000;
const longestStore = 16 * 1024 * 1024;
/** Most characters of a label. */
export const longestLabel: number = 200;

/** The issued tokens: one JSON file, serialised and atomic, durable before any answer, and never overwritten when damaged. */
export class TokenStore {
  readonly #file: StoreFile;
  readonly #lock = pLimit(1);
  #loaded: Loaded = { revision: null, rows: [], tokens: [], byHash: new Map() };
  #checkedAt = Number.NEGATIVE_INFINITY;
  /** Whom to tell that a token is gone, by its hash. */
  readonly #holders = new Map<string, Set<() => void>>();
  #looking: ReturnType<typeof setInterval> | undefined;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  /** Reads the store; a damaged one is an `ApiError` `token_store_damaged` that names file and position. */
  async load(): Promise<void> {
    this.#take(await this.#read());
    this.#checkedAt = performance.now();
  }

  /** The token with this hash, or undefined. Who asks may be a stranger: what is wrong with the store is told to the log alone. */
  find(hash: string): Awaitable<IssuedToken | undefined> {
    return this.#isTrusted() ? this.#loaded.byHash.get(hash) : this.#findAnew(hash);
  }

  async #findAnew(hash: string): Promise<IssuedToken | undefined> {
    try {
      await this.#refresh();
    } catch (cause) {
      throw new ApiError(
        "token_store_damaged",
        "Issued tokens cannot be checked now; the log of the server says why.",
        undefined,
        { cause },
      );
    }
    return this.#loaded.byHash.get(hash);
  }

  /** All tokens, newest first. */
  async list(): Promise<readonly IssuedToken[]> {
    await this.#refresh();
    return this.#loaded.tokens;
  }

  /** Makes a token; the plain text is returned here and nowhere else. */
  async create(scope: Scope, label: string | undefined): Promise<{ token: string; issued: IssuedToken }> {
    const token = `owt_${crypto.randomUUID().replaceAll("-", "")}`;
    const issued: IssuedToken = {
      id: crypto.randomUUID(),
      hash: sha256Hex(token),
      scope,
      createdAt: Date.now(),
      ...(label === undefined ? {} : { label }),
    };
    await this.#change((rows) => [issued, ...rows]);
    return { token, issued };
  }

  /** Revokes a token; the one it was, or null when there is none of this id. */
  async revoke(id: string): Promise<IssuedToken | null> {
    let revoked: IssuedToken | null = null;
    await this.#change((rows) => {
      revoked = this.#loaded.tokens.find((token) => token.id === id) ?? null;
      return revoked === null ? null : rows.filter((row) => toToken(row)?.id !== id);
    });
    return revoked;
  }

  /**
   * Calls `tell` once the token with this hash is gone, whoever took it out; at once when it is already. What is
   * returned ends that, and has to be called when nothing is held open any more.
   */
  onGone(hash: string, tell: () => void): () => void {
    const holders = this.#holders.get(hash) ?? new Set();
    this.#holders.set(hash, holders.add(tell));
    if (!this.#file.isPrivate) this.#looking ??= this.#lookNowAndThen();
    if (!this.#loaded.byHash.has(hash)) tell();
    return () => {
      holders.delete(tell);
      if (holders.size === 0 && this.#holders.get(hash) === holders) this.#holders.delete(hash);
      if (this.#holders.size > 0) return;
      clearInterval(this.#looking);
      this.#looking = undefined;
    };
  }

  #lookNowAndThen(): ReturnType<typeof setInterval> {
    // A store that cannot be read says of no token that it is gone.
    const timer = setInterval(() => void this.#refresh().catch(() => undefined), lookMs);
    // A waiting timer must not keep a process alive; runtimes without processes have no unref.
    (timer as { unref?: () => void }).unref?.();
    return timer;
  }

  #take(loaded: Loaded): void {
    this.#loaded = loaded;
    for (const [hash, holders] of this.#holders) {
      if (!loaded.byHash.has(hash)) for (const tell of holders) tell();
    }
  }

  #isTrusted(): boolean {
    return performance.now() - this.#checkedAt < trustMs;
  }

  async #refresh(): Promise<void> {
    if (this.#isTrusted()) return;
    await this.#lock(() => this.#reloadIfChanged());
  }

  async #reloadIfChanged(): Promise<void> {
    if (this.#isTrusted()) return;
    const entry = await this.#file.storage.stat(this.#file.path);
    if ((entry?.revision ?? null) !== this.#loaded.revision) this.#take(await this.#read());
    this.#checkedAt = performance.now();
  }

  /** Applies a change to the rows as they are on disk now; null leaves them. Another process that was faster is read again. */
  #change(edit: (rows: readonly unknown[]) => readonly unknown[] | null): Promise<void> {
    return this.#lock(async () => {
      for (let attempt = 0; ; attempt += 1) {
        await this.load();
        const rows = edit(this.#loaded.rows);
        if (rows === null) return;
        const text = `${JSON.stringify({ schemaVersion: 1, updatedAt: Date.now(), tokens: rows }, null, 2)}\n`;
        const body = new TextEncoder().encode(text);
        // A larger one could not be read again.
        if (body.length > longestStore && rows.length > this.#loaded.rows.length) throw full();
        try {
          const [entry] = await this.#file.storage.commit([
            {
              op: "write",
              path: this.#file.path,
              body,
              ifRevision: this.#loaded.revision,
            },
          ]);
          this.#take(index(entry?.revision ?? null, rows));
          return;
        } catch (error) {
          if (!(error instanceof StorageError && error.code === "conflict") || attempt >= 20) throw error;
        }
      }
    });
  }

  async #read(): Promise<Loaded> {
    const file = await this.#file.storage.readFile(this.#file.path, { maxBytes: longestStore });
    if (!file) return index(null, []);
    return index(file.entry.revision, parseRows(this.#file, file.bytes));
  }
}

function parseRows(file: StoreFile, bytes: Uint8Array): unknown[] {
  const where = `${file.storage.location}/${file.path}`;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ApiError(
      "token_store_damaged",
      `The token store ${where} is damaged: ${reason}. Repair it, or move it away to start without issued tokens; nothing was overwritten.`,
      { path: where, error: reason },
      { cause },
    );
  }
  const rows = value !== null && typeof value === "object" && "tokens" in value ? value.tokens : undefined;
  if (!Array.isArray(rows)) {
    throw new ApiError(
      "token_store_damaged",
      `The token store ${where} holds no list "tokens"; nothing was overwritten.`,
      { path: where },
    );
  }
  return rows;
}

function full(): ApiError {
  return new ApiError("insufficient_storage", "The token store is full; revoke tokens that nobody uses.");
}

function index(revision: string | null, rows: readonly unknown[]): Loaded {
  const tokens = rows.map(toToken).filter((token) => token !== null);
  return { revision, rows, tokens, byHash: new Map(tokens.map((token) => [token.hash, token])) };
}

function toToken(row: unknown): IssuedToken | null {
  if (row === null || typeof row !== "object") return null;
  const { id, hash, scope, createdAt, label } = row as Record<string, unknown>;
  if (typeof id !== "string" || id === "" || typeof hash !== "string" || hash === "" || !isScope(scope))
    return null;
  return {
    id,
    hash: hash.toLowerCase(),
    scope,
    createdAt: typeof createdAt === "number" ? createdAt : Date.now(),
    ...(typeof label === "string" && label !== "" ? { label } : {}),
  };
}
