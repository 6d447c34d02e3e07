import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { describeChanges } from "../../lib/changes/diff.ts";
import type { ReadableStorage } from "../../lib/storage.ts";

/** A storage that counts how many of its files were read whole. */
function counting(storage: ReadableStorage): { storage: ReadableStorage; read(): number } {
  let read = 0;
  const readFile: ReadableStorage["readFile"] = (path, options) => {
    read += 1;
    return storage.readFile(path, options);
  };
  const counted: ReadableStorage = {
    location: storage.location,
    stat: (path) => storage.stat(path),
    list: (path, options) => storage.list(path, options),
    walk: (path, options) => storage.walk(path, options),
    read: (path, options) => storage.read(path, options),
    watch: (listener) => storage.watch(listener),
    readFile,
  };
  return { storage: counted, read: () => read };
}

describe("what a host is shown of a directory that goes", () => {
  it("is all of its files, as far as they fit", async () => {
    const storage = createMemoryStorage({ files: { "d/a": "one\n", "d/e/b": "two\n", other: "three\n" } });
    const diff = await describeChanges(storage, [{ op: "remove", path: "d", recursive: true }]);
    expect(diff).toMatch(/^remove directory d\n--- a\/d\/a\n\+\+\+ \/dev\/null\n[^]*-one\n[^]*-two\n$/);
    expect(diff).not.toContain("three");
  });

  it("costs no more than what is shown, however much there is", async () => {
    const text = "a line of text\n".repeat(10_000);
    const files = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`d/${i}`, text]));
    const { storage, read } = counting(createMemoryStorage({ files }));
    const diff = await describeChanges(storage, [{ op: "remove", path: "d", recursive: true }]);
    expect(diff).toMatch(/cut here: the whole diff is longer/);
    expect(read()).toBeLessThan(5);
  });
});
