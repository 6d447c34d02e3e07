import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { put, startMemoryServer } from "../support/memory-host.ts";

const kibibyte = 1024;

/** Bytes of objects and texts when all garbage is gone. */
function heapInUse(): number {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") throw new Error("no gc");
  collect();
  return process.memoryUsage().heapUsed;
}

it("lists the heads of skills without keeping their texts", async () => {
  const { client, workspace, storage, handler } = await startMemoryServer();
  const text = "Letters of a text. ".repeat((100 * kibibyte) / 19);
  const [count, description] = [300, "A description that is as long as they usually are"];
  for (let i = 0; i < count; i += 1) {
    const head = `---\nname: s${i}\ndescription: ${description}\n---\n## When to use\n- whenever it fits\n`;
    await put(storage, `.opencode/skills/s${i}/SKILL.md`, head + text);
  }
  const list = async (): Promise<number> =>
    (await client.get(`/workspace/${workspace}/skills`)).json.items.length;
  const before = heapInUse();
  expect(await list()).toBe(count);
  // What is kept answers the next request too.
  expect(await list()).toBe(count);
  const kept = heapInUse() - before;
  // All texts together are five times as much.
  expect(kept).toBeLessThan(count * 100 * kibibyte * 0.2);
  await handler.close();
});
