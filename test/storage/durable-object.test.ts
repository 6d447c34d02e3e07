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

it("has a root from the first, and says so when it is made", async () => {
  const storage = durableObjectStorages(lentStorage(freshObject()))("files");
  const [made] = await storage.commit([{ op: "mkdir", path: "" }]);
  expect(made).toMatchObject({ path: "", kind: "dir" });
});

/** The same storage, of which some calls fail. */
function failing(kv: DurableObjectStorage, fails: (method: string) => boolean): DurableObjectStorage {
  const insist = (method: string): void => {
    if (fails(method)) throw new Error("the platform has a bad day");
  };
  return {
    ...kv,
    get: (async (key: string) => (insist("get"), kv.get(key))) as KeyValue["get"],
    put: async (entries) => (insist("put"), kv.put(entries)),
    delete: async (keys) => (insist("delete"), kv.delete(keys)),
  };
}

it("keeps what was committed when the old bytes cannot be deleted, and deletes those at the next start", async () => {
  const kv = lentStorage(freshObject());
  let down = false;
  const storage = durableObjectStorages(failing(kv, (method) => down && method === "delete"))("files");
  await storage.commit([write("f", "old")]);
  down = true;
  await storage.commit([write("f", "new")]);
  expect(await read(storage, "f")).toBe("new");
  const open = await storage.read("f");
  await storage.commit([write("f", "newer")]);
  // The reader is the last to need those bytes: that they stay is nobody's unhandled failure.
  expect(await new Response(open?.body).text()).toBe("new");
  expect((await kv.list({ prefix: "files/b/" })).size).toBe(3);
  const next = durableObjectStorages(kv)("files");
  await next.recover();
  expect((await kv.list({ prefix: "files/b/" })).size).toBe(1);
  expect(await read(next, "f")).toBe("newer");
});

it("starts and deletes without listing the bytes of all files at once", async () => {
  const kv = lentStorage(freshObject());
  const large = "x".repeat(20 * 96 * 1024);
  await durableObjectStorages(kv)("files").commit([write("a", large), write("b", "small")]);
  const listed: { prefix: string; found: number }[] = [];
  const list: typeof kv.list = async (options) => {
    const found = await kv.list<never>(options);
    listed.push({ prefix: options.prefix, found: found.size });
    return found;
  };
  const next = durableObjectStorages({ ...kv, list })("files");
  await next.recover();
  expect(listed.filter(({ prefix }) => prefix.startsWith("files/b/"))).toEqual([]);
  await next.commit([{ op: "remove", path: "a" }]);
  expect(Math.max(...listed.map(({ found }) => found))).toBeLessThanOrEqual(16);
  expect([...(await kv.list({ prefix: "files/b/" })).values()]).toHaveLength(1);
});

it("says that the platform failed, also of bytes on their way", async () => {
  const kv = lentStorage(freshObject());
  const storage = durableObjectStorages(failing(kv, (method) => method === "put"))("files");
  await expect(storage.commit([write("f", "x")])).rejects.toMatchObject({ code: "io" });
  await expect(storage.stage("f", new Blob(["x"]).stream())).rejects.toMatchObject({ code: "io" });
});

it("lets the bytes go of a reader that met a failure", async () => {
  const kv = lentStorage(freshObject());
  let down = false;
  const storage = durableObjectStorages(failing(kv, (method) => down && method === "get"))("files");
  await storage.commit([write("f", "x".repeat(300_000))]);
  const open = await storage.read("f");
  down = true;
  await expect(new Response(open?.body).text()).rejects.toThrow();
  down = false;
  await storage.commit([write("f", "new")]);
  expect((await kv.list({ prefix: "files/b/" })).size).toBe(1);
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
