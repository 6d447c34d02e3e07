import { expect, it, vi } from "vitest";
import { OpenWorkServer, type DurableObjectStorage } from "../../adapters/cloudflare.ts";
import { createMemoryHost } from "../../adapters/memory-host.ts";
import { durableObjectStorages } from "../../adapters/storage/durable-object.ts";

/** A key-value store in a Map, as far as the storage needs one that never takes anything back. */
function keyValues(): DurableObjectStorage {
  const values = new Map<string, unknown>();
  const kv: DurableObjectStorage = {
    get: (async (key: string) => structuredClone(values.get(key))) as DurableObjectStorage["get"],
    async put(entries) {
      for (const [key, value] of Object.entries(entries)) values.set(key, structuredClone(value));
    },
    async delete(keys) {
      return keys.filter((key) => values.delete(key)).length;
    },
    list: (async ({ prefix }: { prefix: string }) =>
      new Map([...values].filter(([key]) => key.startsWith(prefix)))) as DurableObjectStorage["list"],
    transaction: (closure) => closure(kv),
  };
  return kv;
}

it("tells strangers nothing of why an object cannot start, and starts once it can", async () => {
  const storage = keyValues();
  const settings = durableObjectStorages(storage)("settings");
  const text = new TextEncoder().encode('{"tokens": [{"hash": "secret-hash"');
  await settings.commit([{ op: "write", path: "tokens.json", body: text }]);
  const logged = vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(console, "log").mockImplementation(() => {});
  const server = new OpenWorkServer({ storage }, { OPENWORK_TOKEN: "c", OPENWORK_HOST_TOKEN: "h" });
  const health = (): Promise<Response> => server.fetch(new Request("https://x.test/health"));
  const refused = await health();
  expect(refused.status).toBe(500);
  expect(await refused.json()).toMatchObject({ code: "internal_error" });
  expect(String(logged.mock.calls[0]?.[0])).toContain("tokens.json");
  await settings.commit([{ op: "remove", path: "tokens.json" }]);
  expect((await health()).status).toBe(200);
  vi.restoreAllMocks();
});

it("tells what is odd about the settings of a host in memory", () => {
  const logged: string[] = [];
  createMemoryHost({
    env: { OPENWORK_WORKSPACES: "/a,/a" },
    log: (level, body) => logged.push(`${level} ${body}`),
  });
  expect(logged).toEqual([expect.stringMatching(/^WARN /)]);
});
