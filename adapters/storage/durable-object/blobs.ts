import { inGroups, type KeyValue } from "./tree.ts";

/** Bytes per key; the platform's older backend takes 128 KiB with key and framing. */
const chunkSize = 96 * 1024;

/** Runs one piece of work after the other. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}

/** Bytes of files, cut into pieces of one size. A blob that somebody reads outlives its name. */
export class Blobs {
  readonly #kv: KeyValue;
  readonly #prefix: string;
  readonly #turns: Turns;
  readonly #readers = new Map<string, number>();
  readonly #dropped = new Set<string>();

  /** Writes wait for their turn: inside somebody's transaction they would be taken back with it. */
  constructor(kv: KeyValue, prefix: string, turns: Turns) {
    this.#kv = kv;
    this.#prefix = `${prefix}b/`;
    this.#turns = turns;
  }

  /** A blob that can be filled piece by piece. */
  writer(): BlobWriter {
    const id = crypto.randomUUID();
    return new BlobWriter(id, (index, bytes) =>
      this.#turns.run(() => this.#kv.put({ [this.#key(id, index)]: bytes })),
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
      if (left === 0 && this.#dropped.delete(blob)) void this.#delete(blob);
    };
  }

  /** The bytes from `start` up to, not including, `end`, piece by piece. */
  async *read(blob: string, start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let at = start; at < end;) {
      const index = Math.floor(at / chunkSize);
      const chunk = await this.#kv.get<Uint8Array>(this.#key(blob, index));
      if (!chunk) throw new Error(`a piece of ${blob} is missing`);
      const offset = index * chunkSize;
      const until = Math.min(end, offset + chunk.length);
      yield chunk.slice(at - offset, until - offset);
      at = until;
    }
  }

  /** Lets a blob go that no name leads to, at once or when its last reader is done. */
  async drop(blob: string): Promise<void> {
    if (this.#readers.has(blob)) this.#dropped.add(blob);
    else await this.#delete(blob);
  }

  /** Removes every blob but those; the caller has the turn. */
  async sweep(used: ReadonlySet<string>): Promise<void> {
    const keys = [...(await this.#kv.list({ prefix: this.#prefix })).keys()];
    const orphans = keys.filter((key) => !used.has(key.slice(this.#prefix.length).split("/", 1)[0] ?? ""));
    await inGroups(orphans, (group) => this.#kv.delete(group));
  }

  async #delete(blob: string): Promise<void> {
    await this.#turns.run(async () => {
      const keys = [...(await this.#kv.list({ prefix: `${this.#prefix}${blob}/` })).keys()];
      await inGroups(keys, (group) => this.#kv.delete(group));
    });
  }

  #key(blob: string, index: number): string {
    return `${this.#prefix}${blob}/${index}`;
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
