import { expect, test } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { CatalogKeeper, type FileChange } from "../../lib/catalog/keeper.ts";
import { StorageError, type Change } from "../../lib/storage.ts";

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

test("what is known to have changed is not kept waiting by a look at everything, nor that by a busy writer", async () => {
  const storage = createMemoryStorage();
  const files = Array.from({ length: 300 }, (_, n) => `d${String(n).padStart(3, "0")}/f`);
  const writeAll = (paths: readonly string[], text: string): Promise<unknown> =>
    storage.commit(paths.map((path): Change => ({ op: "write", path, body: bytes(text) })));
  await writeAll([...files, "known/f"], "old");
  const raised: FileChange[] = [];
  const keeper = new CatalogKeeper(storage, (change) => raised.push(change));
  await keeper.build();
  await writeAll([...files, "known/f"], "newer");
  keeper.reportAll();
  keeper.report(["known/f"]);
  await keeper.settled();
  const paths = raised.map(({ path }) => path);
  expect(paths.indexOf("known/f")).toBeLessThan(3);
  // Each is told once.
  expect(paths.toSorted()).toEqual([...files, "known/f"].toSorted());

  raised.length = 0;
  await writeAll(files, "newest");
  keeper.reportAll();
  keeper.report(files.slice(0, 200));
  await keeper.settled();
  expect(raised.map(({ path }) => path).toSorted()).toEqual(files);
  const others = new Set(files.slice(200));
  // The two kinds take turns.
  expect(raised.findIndex(({ path }) => others.has(path))).toBeLessThan(200);
});

test("files below a root that may not be read any more are not told as gone", async () => {
  const storage = createMemoryStorage();
  await storage.commit([{ op: "write", path: "d/f", body: bytes("text") }]);
  let shut = "none";
  const source: ConstructorParameters<typeof CatalogKeeper>[0] = {
    stat: (path) => storage.stat(path),
    walk: (path) => storage.walk(path),
    list(path, options) {
      if (path === shut) throw new StorageError("denied", "shut");
      return storage.list(path, options);
    },
  };
  const raised: FileChange[] = [];
  const keeper = new CatalogKeeper(source, (change) => raised.push(change));
  await keeper.build();
  shut = "";
  keeper.reportAll();
  await keeper.settled();
  expect([raised, keeper.index.get("d/f")?.size]).toEqual([[], 4]);
  shut = "d";
  keeper.reportAll();
  await keeper.settled();
  expect(raised).toEqual([{ type: "delete", path: "d/f" }]);
});

test("a closed one looks no further, whatever was to be looked at", async () => {
  const storage = createMemoryStorage();
  const files = Array.from({ length: 300 }, (_, n) => `d${n}/f`);
  await storage.commit(files.map((path): Change => ({ op: "write", path, body: bytes("text") })));
  let looks = 0;
  const keeper: CatalogKeeper = new CatalogKeeper(
    {
      stat: (path) => storage.stat(path),
      walk: (path) => storage.walk(path),
      list(path, options) {
        looks += 1;
        if (looks === 3) keeper.close();
        return storage.list(path, options);
      },
    },
    () => undefined,
  );
  await keeper.build();
  keeper.reportAll();
  await keeper.settled();
  expect(looks).toBe(3);
  keeper.report(["d1/f"]);
  await keeper.settled();
  expect(looks).toBe(3);
});
