import { StorageError } from "../../../lib/storage.ts";
import { inGroups, type KeyValue } from "./tree.ts";

/** Bytes per key; the platform's older backend takes 128 KiB with key and framing. */
const chunkSize = 96 * 1024;

/** How many pieces are looked at together when a blob is deleted: a listing holds their bytes in memory. */
const piecesTogether = 16;

/** Runs one piece of work after the other. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}

/** What anything that the platform threw means to users of the storage. */
export function asStorageError(error: unknown): StorageError {
  return error instanceof StorageError ? error : new StorageError("io", String(error), undefined, error);
}

/**
 * Bytes of files, cut into pieces of one size. While no name leads to a blob it is marked as unnamed: only such
 * ones are ever deleted, and a start finds what an earlier life left behind without looking at everything. A blob
 * that somebody reads outlives its name.
 */
export class Blobs {
  readonly #kv: KeyValue;
  readonly #pieces: string;
  readonly #marks: string;
  readonly #exclusive: Turns["run"];
  readonly #readers = new Map<string, number>();
  readonly #dropped = new Set<string>();

  /** Writes wait for their turn (`exclusive`): inside somebody's transaction they would be taken back with it. */
  constructor(kv: KeyValue, prefix: string, exclusive: Turns["run"]) {
    this.#kv = kv;
    this.#pieces = `${prefix}b/`;
    this.#marks = `${prefix}unnamed/`;
    this.#exclusive = exclusive;
  }

  /** A blob that can be filled piece by piece; unnamed until {@link name}. */
  writer(): BlobWriter {
    const id = crypto.randomUUID();
    return new BlobWriter(id, (index, bytes) => {
      const mark = index === 0 ? { [this.#marks + id]: true } : {};
      return this.#exclusive(() => this.#kv.put({ ...mark, [this.#key(id, index)]: bytes }));
    });
  }

  /** Says, in the transaction that makes it so, that names lead to these blobs. */
  async name(kv: KeyValue, blobs: readonly string[]): Promise<void> {
    await inGroups(blobs, (group) => kv.delete(group.map((blob) => this.#marks + blob)));
  }

  /** Says, in the transaction that makes it so, that no name leads to these blobs any more. */
  async unname(kv: KeyValue, blobs: readonly string[]): Promise<void> {
    await inGroups(blobs, (group) =>
      kv.put(Object.fromEntries(group.map((blob) => [this.#marks + blob, true]))),
    );
  }

  /** Writes behind the end of a blob, in a transaction with whatever else changes. Readers of the old length see the old bytes. */
  async extend(kv: KeyValue, blob: string, size: number, added: Uint8Array): Promise<void> {
    const first = Math.floor(size / chunkSize);
    const kept = size % chunkSize;
    const old = kept === 0 ? undefined : await kv.get<Uint8Array>(this.#key(blob, first));
    const bytes = new Uint8Array(kept + added.length);
    if (old) bytes.set(old.subarray(0, kept));
    bytes.set(added, kept);
    const chunks = cut(bytes).map((chunk, i) => [this.#key(blob, first + i), chunk] as const);
    await inGroups(chunks, (group) => kv.put(Object.fromEntries(group)));
  }

  /** Keeps a blob from vanishing until the returned function is called. */
  retain(blob: string): () => void {
    this.#readers.set(blob, (this.#readers.get(blob) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#readers.get(blob) ?? 1) - 1;
      if (left > 0) this.#readers.set(blob, left);
      else this.#readers.delete(blob);
      if (left === 0 && this.#dropped.delete(blob)) void this.drop([blob]);
    };
  }

  /** The bytes from `start` up to, not including, `end`, piece by piece. */
  async *read(blob: string, start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let at = start; at < end;) {
      const index = Math.floor(at / chunkSize);
      const chunk = await this.#kv.get<Uint8Array>(this.#key(blob, index)).catch((error: unknown) => {
        throw asStorageError(error);
      });
      if (!chunk) throw new StorageError("io", `A piece of ${blob} is missing.`);
      const offset = index * chunkSize;
      const until = Math.min(end, offset + chunk.length);
      yield chunk.slice(at - offset, until - offset);
      at = until;
    }
  }

  /** Lets unnamed blobs go, at once or when the last reader is done; what fails is left to the next {@link sweep}. */
  async drop(blobs: readonly string[]): Promise<void> {
    for (const blob of blobs) {
      if (this.#readers.has(blob)) this.#dropped.add(blob);
      else await this.#exclusive(() => this.#delete(blob)).catch(() => undefined);
    }
  }

  /** Removes what an earlier life left behind. */
  async sweep(): Promise<void> {
    const marks = await this.#exclusive(() => this.#kv.list({ prefix: this.#marks }));
    await this.drop([...marks.keys()].map((key) => key.slice(this.#marks.length)));
  }

  async #delete(blob: string): Promise<void> {
    const mark = this.#marks + blob;
    if ((await this.#kv.get(mark)) === undefined) return;
    const pieces = { prefix: `${this.#pieces}${blob}/`, limit: piecesTogether };
    for (;;) {
      const keys = [...(await this.#kv.list(pieces)).keys()];
      if (keys.length === 0) break;
      await this.#kv.delete(keys);
    }
    await this.#kv.delete([mark]);
  }

  #key(blob: string, index: number): string {
    return `${this.#pieces}${blob}/${index}`;
  }
}

function cut(bytes: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += chunkSize) chunks.push(bytes.slice(at, at + chunkSize));
  return chunks;
}

type PutPiece = (index: number, bytes: Uint8Array) => Promise<void>;

/** Fills a blob from a stream without holding more than one piece. */
export class BlobWriter {
  readonly id: string;
  size = 0;
  readonly #put: PutPiece;
  readonly #piece = new Uint8Array(chunkSize);

  constructor(id: string, put: PutPiece) {
    this.id = id;
    this.#put = put;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const filled = this.size % chunkSize;
      const part = bytes.subarray(at, at + chunkSize - filled);
      this.#piece.set(part, filled);
      this.size += part.length;
      at += part.length;
      if (this.size % chunkSize === 0) await this.#put(this.size / chunkSize - 1, this.#piece.slice());
    }
  }

  /** Writes what has gathered; the blob is complete then. */
  async end(): Promise<void> {
    const filled = this.size % chunkSize;
    if (filled > 0) await this.#put(Math.floor(this.size / chunkSize), this.#piece.slice(0, filled));
  }
}
