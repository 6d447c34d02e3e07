import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Change } from "../../lib/storage.ts";
import { contents, write } from "./contract.ts";
import { asDead, PowerCut } from "./power.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

const names = ["a", "b", "c"];

/** A root below another one, and files in it. */
interface Scene {
  outer: string;
  inner: string;
  attic: string;
  [Symbol.dispose](): void;
}

function scene(): Scene {
  const dir = temporaryDir();
  const [outer, attic] = [join(dir.path, "outer"), join(dir.path, "attic")];
  const inner = join(outer, "deep/inner");
  for (const made of [inner, attic]) fs.mkdirSync(made, { recursive: true });
  for (const name of names) fs.writeFileSync(join(inner, name), `old ${name}`);
  return { outer, inner, attic, [Symbol.dispose]: () => dir[Symbol.dispose]() };
}

async function start(root: string): Promise<void> {
  const storage = createDiskStorage(root);
  await storage.recover();
  await storage.swept;
}

const steps = (below: string): Change[] => [
  write(`${below}a`, "new a"),
  { op: "move", from: `${below}b`, to: `${below}moved` },
  { op: "remove", path: `${below}c` },
];
const undone = { a: "old a", b: "old b", c: "old c" };
const done = { a: "new a", moved: "old b" };

/** Servers may serve a directory and one below it: at a start each comes across what the other's commits left. */
describe("roots within each other", () => {
  it("leave an answered commit of the inner one to it", async () => {
    using here = scene();
    const { outer, inner } = here;
    const power = new PowerCut(here.attic, Infinity);
    await asDead(inner, power.fs).commit(names.map((name) => write(name, `new ${name}`)));
    power.lose("names");
    expect(await contents(createDiskStorage(inner))).toEqual({ a: "", b: "", c: "" });
    await start(outer);
    await start(inner);
    expect(await contents(createDiskStorage(inner))).toEqual({ a: "new a", b: "new b", c: "new c" });
    expect(leftovers(outer)).toEqual([]);
  });

  it.each(["inner", "outer"] as const)(
    "find a commit of the %s one all done or all undone, when the other one is started first",
    async (whose) => {
      const states = [];
      let calls = Infinity;
      for (let at = 0; at < calls; at += 1) {
        using here = scene();
        const { outer, inner } = here;
        const power = new PowerCut(here.attic, at);
        const storage = asDead(here[whose], power.fs);
        await storage.commit(steps(whose === "inner" ? "" : "deep/inner/")).catch(() => undefined);
        if (!power.off) calls = power.calls;
        await start(whose === "inner" ? outer : inner);
        await start(here[whose]);
        states.push(await contents(createDiskStorage(inner)));
        expect([at, leftovers(outer)]).toEqual([at, []]);
      }
      expect(states[0]).toEqual(undone);
      expect(states.at(-1)).toEqual(done);
      for (const state of states) expect([undone, done]).toContainEqual(state);
    },
  );
});
