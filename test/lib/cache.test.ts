import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { FileCache } from "../../lib/cache.ts";
import { readText, type Storage } from "../../lib/storage.ts";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Makes a call take a moment, before and behind it. */
const around = async <T>(call: () => Promise<T>): Promise<T> => {
  await pause(Math.random() * 3);
  const result = await call();
  await pause(Math.random() * 3);
  return result;
};

/** A storage whose every call takes a moment, so that calls overlap. */
function slow(storage: Storage): Storage {
  return Object.assign(Object.create(storage) as Storage, {
    stat: (path: string) => around(() => storage.stat(path)),
    readFile: (path: string) => around(() => storage.readFile(path)),
  });
}

function setUp(live: boolean): {
  get: () => Promise<number>;
  put: (value: number) => Promise<void>;
  cache: FileCache;
  loads: () => number;
} {
  const storage = createMemoryStorage({ files: { n: "0" } });
  const cache = new FileCache(slow(storage));
  cache.setLive(live);
  let loads = 0;
  return {
    cache,
    loads: () => loads,
    get: async () =>
      cache.get("n", async (view) => {
        loads += 1;
        return Number((await readText(view.files, "n"))?.text);
      }),
    put: async (value) => {
      const body = new TextEncoder().encode(String(value));
      await storage.commit([{ op: "write", path: "n", body }]);
      if (live) cache.invalidate(["n"]);
    },
  };
}

describe.each([false, true])("a cache of parsed files, live %s", (live) => {
  it("never answers what is older than the last change before the question, however calls overlap", async () => {
    const { get, put, loads } = setUp(live);
    let written = 0;
    const until = performance.now() + 600;
    const asked: Promise<void>[] = [];
    const ask = async (least: number): Promise<void> => expect(await get()).toBeGreaterThanOrEqual(least);
    // Nobody waits for an answer before asking again: questions come at every moment of a load.
    const reader = async (): Promise<void> => {
      for (; performance.now() < until; await pause(1)) asked.push(ask(written));
    };
    const writer = async (): Promise<void> => {
      for (; performance.now() < until; written += 1) {
        await pause(Math.random() * 12);
        await put(written + 1);
      }
    };
    await Promise.all([reader(), writer()]);
    await Promise.all(asked);
    expect(written).toBeGreaterThan(10);
    expect(loads()).toBeLessThan(asked.length);
  });

  it("loads once for all who ask after a change", async () => {
    const { get, put, cache, loads } = setUp(live);
    await get();
    const before = loads();
    await put(1);
    expect(await Promise.all(Array.from({ length: 50 }, get))).toEqual(Array(50).fill(1));
    expect(loads() - before).toBe(1);
    cache.invalidateAll();
    await Promise.all(Array.from({ length: 50 }, get));
    expect(loads() - before).toBe(2);
  });

  it("tells all who wait that a load failed, and tries again for who asks later", async () => {
    const cache = new FileCache(createMemoryStorage({ files: { n: "1" } }));
    cache.setLive(live);
    let fails = true;
    const get = async (): Promise<string> =>
      cache.get("n", async (view) => {
        await view.files.readFile("n");
        await pause(5);
        if (fails) throw new Error("broken");
        return "fine";
      });
    const results = await Promise.allSettled([get(), get(), get()]);
    expect(results.map((result) => result.status)).toEqual(["rejected", "rejected", "rejected"]);
    fails = false;
    expect(await get()).toBe("fine");
  });
});

it("loads once for all when another program's change is found out by a check while a watch is live", async () => {
  const storage = createMemoryStorage({ files: { n: "0" } });
  const cache = new FileCache(slow(storage));
  cache.setLive(true);
  let loads = 0;
  const get = async (): Promise<string | undefined> =>
    cache.get("n", async (view) => {
      loads += 1;
      return (await readText(view.files, "n"))?.text;
    });
  await get();
  await storage.commit([{ op: "write", path: "n", body: new TextEncoder().encode("1") }]);
  await pause(60);
  expect(new Set(await Promise.all(Array.from({ length: 50 }, get)))).toEqual(new Set(["1"]));
  expect(loads).toBe(2);
});
