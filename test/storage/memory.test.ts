import { expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { contents, storageContract } from "./contract.ts";

storageContract("memory", async () => ({ storage: createMemoryStorage(), dispose: async () => undefined }));

it("starts with given files and its own name", async () => {
  const storage = createMemoryStorage({ name: "demo", files: { "a/b": "text", c: new Uint8Array([65]) } });
  expect(storage.location).toBe("memory:/demo");
  expect(await contents(storage)).toEqual({ a: "/", "a/b": "text", c: "A" });
});

it("does not share bytes with its callers", async () => {
  const mine = new Uint8Array([65]);
  const storage = createMemoryStorage();
  await storage.commit([{ op: "write", path: "f", body: mine }]);
  mine[0] = 66;
  const read = await storage.readFile("f");
  if (read) read.bytes[0] = 67;
  expect(await contents(storage)).toEqual({ f: "A" });
});
