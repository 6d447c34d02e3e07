import { afterAll, beforeAll, expect, it } from "vitest";
import type { KeyValue } from "../../adapters/storage/durable-object/tree.ts";
import { durableObjectStorages, type DurableObjectStorage } from "../../adapters/storage/durable-object.ts";
import { startWorker } from "../support/worker.ts";
import { contents, read, storageContract, write } from "./contract.ts";
import { pack, unpack, type Call } from "./durable-object-worker.ts";

let worker: Awaited<ReturnType<typeof startWorker>>;
let url: URL;
let objects = 0;

beforeAll(async () => {
  worker = await startWorker({
    entry: "test/storage/durable-object-worker.ts",
    className: "LentStorage",
    bindingName: "LENT",
  });
  url = await worker.ready;
});
afterAll(() => worker?.dispose());

/**
 * The storage of a real Durable Object in workerd, call by call. A transaction there cannot wait for the next
 * request, so its writes gather here and go there at its end, as one transaction.
 */
function lentStorage(object: string): DurableObjectStorage {
  async function call(method: Call["method"], argument: unknown): Promise<unknown> {
    const body = JSON.stringify(pack({ method, argument }));
    const response = await fetch(new URL(object, url), { method: "POST", body });
    if (!response.ok) throw new Error(await response.text());
    const result = unpack(((await response.json()) as { result: unknown }).result);
    return method === "get" ? (result ?? undefined) : result;
  }
  const kv: KeyValue = {
    get: ((key: unknown) => call("get", key)) as KeyValue["get"],
    put: async (entries) => void (await call("put", entries)),
    delete: (keys) => call("delete", keys) as Promise<number>,
    list: ((options: unknown) => call("list", options)) as KeyValue["list"],
  };
  return {
    ...kv,
    async transaction(closure) {
      const written = new Map<string, unknown>();
      const result = await closure(overlay(kv, written));
      const puts = Object.fromEntries([...written].filter(([, value]) => value !== undefined));
      const deletions = [...written].filter(([, value]) => value === undefined).map(([key]) => key);
      await call("commit", { puts, deletions });
      return result;
    },
  };
}

/** Reads through what was written, undefined standing for a deletion. */
function overlay(kv: KeyValue, written: Map<string, unknown>): KeyValue {
  return {
    get: (async (key: string) => (written.has(key) ? written.get(key) : kv.get(key))) as KeyValue["get"],
    async put(entries) {
      for (const [key, value] of Object.entries(entries)) written.set(key, structuredClone(value));
    },
    async delete(keys) {
      for (const key of keys) written.set(key, undefined);
      return keys.length;
    },
    list: (async ({ prefix }: { prefix: string }) => {
      const all = new Map(await kv.list({ prefix }));
      for (const [key, value] of written) if (key.startsWith(prefix)) all.set(key, value);
      return new Map([...all].filter(([, value]) => value !== undefined));
    }) as KeyValue["list"],
  };
}

const freshObject = (): string => `object-${(objects += 1)}`;

storageContract("durable object", async () => ({
  storage: durableObjectStorages(lentStorage(freshObject()))("files"),
  dispose: async () => undefined,
}));

it("keeps several names apart, and everything over a restart", async () => {
  const kv = lentStorage(freshObject());
  const make = durableObjectStorages(kv);
  await make("one").commit([write("a/f", "first")]);
  await make("two").commit([write("a/f", "second")]);
  const again = durableObjectStorages(kv);
  await again("one").recover();
  expect(await contents(again("one"))).toEqual({ a: "/", "a/f": "first" });
  expect(await contents(again("two"))).toEqual({ a: "/", "a/f": "second" });
});

it("leaves no bytes behind that no name leads to", async () => {
  const kv = lentStorage(freshObject());
  const storage = durableObjectStorages(kv)("files");
  await storage.commit([write("f", "1")]);
  await storage.commit([write("f", "2"), write("g", "3")]);
  await storage.commit([{ op: "remove", path: "g" }]);
  const blobs = async (): Promise<number> => (await kv.list({ prefix: "files/b/" })).size;
  expect(await blobs()).toBe(1);
  // Staged by a life that ended before it was committed.
  await storage.stage("h", new Blob(["lost"]).stream());
  expect(await blobs()).toBe(2);
  const next = durableObjectStorages(kv)("files");
  await next.recover();
  expect(await blobs()).toBe(1);
  expect(await read(next, "f")).toBe("2");
});

it("lets a reader finish with a file that is replaced meanwhile", async () => {
  const storage = durableObjectStorages(lentStorage(freshObject()))("files");
  const old = "x".repeat(300_000);
  await storage.commit([write("f", old)]);
  const open = await storage.read("f");
  await storage.commit([write("f", "new")]);
  expect(await new Response(open?.body).text()).toBe(old);
  expect(await read(storage, "f")).toBe("new");
});
