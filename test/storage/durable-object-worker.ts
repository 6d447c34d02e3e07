/** A Durable Object that lends its real storage to the tests, one call per request. */

/** One call of the storage; `writes` are applied in one transaction, undefined values being deletions. */
export interface Call {
  method: "get" | "put" | "delete" | "list" | "commit";
  argument?: unknown;
}

interface KeyValue {
  get(key: unknown): Promise<unknown>;
  put(entries: unknown): Promise<unknown>;
  delete(keys: unknown): Promise<unknown>;
  list(options: unknown): Promise<unknown>;
}

/** Bytes as JSON can carry them, Maps as lists of pairs. */
export function pack(value: unknown): unknown {
  if (value instanceof Map) return { pairs: [...value].map(([key, one]) => [key, pack(one)]) };
  if (value instanceof Uint8Array)
    return { bytes: btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join("")) };
  if (Array.isArray(value)) return value.map(pack);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, pack(one)]));
}

/** The reverse of {@link pack}. */
export function unpack(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unpack);
  if (typeof value !== "object" || value === null) return value;
  if ("bytes" in value) return Uint8Array.from(atob(String(value.bytes)), (c) => c.charCodeAt(0));
  if ("pairs" in value) return new Map((unpack(value.pairs) as [string, unknown][]).values());
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, unpack(one)]));
}

/** The object: passes calls on to its storage. */
export class LentStorage {
  readonly #storage: KeyValue & { transaction<T>(closure: (kv: KeyValue) => Promise<T>): Promise<T> };

  constructor(context: { storage: never }) {
    this.#storage = context.storage;
  }

  async fetch(request: Request): Promise<Response> {
    const { method, argument } = unpack(await request.json()) as Call;
    if (method !== "commit") return Response.json({ result: pack(await this.#storage[method](argument)) });
    const { puts, deletions } = argument as { puts: Record<string, unknown>; deletions: string[] };
    await this.#storage.transaction(async (kv) => {
      for (const [key, value] of Object.entries(puts)) await kv.put({ [key]: value });
      for (const key of deletions) await kv.delete([key]);
    });
    return Response.json({ result: null });
  }
}

interface Env {
  LENT: {
    idFromName(name: string): unknown;
    get(id: unknown): { fetch(request: Request): Promise<Response> };
  };
}

const worker: { fetch(request: Request, env: Env): Promise<Response> } = {
  fetch: (request, env) => env.LENT.get(env.LENT.idFromName(new URL(request.url).pathname)).fetch(request),
};

export default worker;
