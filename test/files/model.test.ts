import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  b64,
  eventually,
  find,
  replay,
  SessionClient,
  shape,
  sorted,
  startDiskServer,
  type DiskServer,
  type Event,
} from "./support.ts";

const names = [
  "a",
  "b",
  "b-c",
  "sub",
  "Über",
  "a b",
  " blank ",
  "back\\slash",
  "日本",
  "😀",
  "workspace",
  ".hidden",
];
const name = fc.constantFrom(...names);
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));

type Step =
  | { by: "api" | "disk"; do: "write"; path: string; text: string }
  | { by: "api" | "disk"; do: "mkdir" | "delete"; path: string }
  | { by: "api" | "disk"; do: "rename"; path: string; to: string }
  | { by: "disk"; do: "link"; path: string; to: string }
  | { by: "disk"; do: "tree"; path: string }
  | { by: "settle"; do: "settle" };

const by = fc.constantFrom("api" as const, "disk" as const);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      by,
      do: fc.constant("write" as const),
      path,
      text: fc.constantFrom("", "x", "longer text"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ by, do: fc.constantFrom("mkdir" as const, "delete" as const), path }) },
  { weight: 3, arbitrary: fc.record({ by, do: fc.constant("rename" as const), path, to: path }) },
  {
    weight: 1,
    arbitrary: fc.record({
      by: fc.constant("disk" as const),
      do: fc.constant("link" as const),
      path,
      to: path,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ by: fc.constant("disk" as const), do: fc.constant("tree" as const), path }),
  },
  { weight: 2, arbitrary: fc.constant({ by: "settle" as const, do: "settle" as const }) },
);

/** What another program would do; a system that refuses is none of our business. */
function onDisk(dir: string, step: Exclude<Step, { by: "settle" }>): void {
  const at = join(dir, step.path);
  try {
    if (step.do === "write") {
      mkdirSync(dirname(at), { recursive: true });
      if (existsSync(at) && step.text === "x") appendFileSync(at, step.text);
      else writeFileSync(at, step.text);
    } else if (step.do === "mkdir") mkdirSync(at, { recursive: true });
    else if (step.do === "delete") rmSync(at, { recursive: true });
    else if (step.do === "rename") renameSync(at, join(dir, step.to));
    else if (step.do === "link") symlinkSync(join(dir, step.to), at);
    else {
      mkdirSync(join(at, "deep/er"), { recursive: true });
      writeFileSync(join(at, "deep/er/leaf"), "1");
      writeFileSync(join(at, "deep/leaf"), "2");
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

async function throughApi(session: SessionClient, step: Step): Promise<void> {
  if (step.do === "write") await session.write({ path: step.path, contentBase64: b64(step.text) });
  else if (step.do === "mkdir") await session.ops({ type: "mkdir", path: step.path });
  else if (step.do === "delete") await session.ops({ type: "delete", path: step.path, recursive: true });
  else if (step.do === "rename") await session.ops({ type: "rename", from: step.path, to: step.to });
}

/** Catalog, replayed events and disk agree, and every file is shown with its size and time. */
async function agree(
  server: DiskServer,
  session: SessionClient,
  tree: Map<string, boolean>,
  from: number,
): Promise<void> {
  await eventually(async () => {
    const items = await session.all("", 7);
    const found = find(server.dir);
    expect(sorted(shape(items))).toEqual(sorted(found));
    const replayed = new Map(tree);
    const events = await session.allEvents(from);
    replay(replayed, events);
    expect(sorted(replayed)).toEqual(sorted(found));
    for (const item of items) {
      const stats = lstatSync(join(server.dir, item.path));
      expect([item.path, item.size, item.mtimeMs]).toEqual([
        item.path,
        stats.isDirectory() ? 0 : stats.size,
        stats.mtimeMs,
      ]);
    }
    expect(lastRevisions(events)).toEqual(pick(items, lastRevisions(events)));
    expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => from + 1 + index));
  });
}

/** The revision that the last write of each file told, as far as no rename or deletion came later. */
function lastRevisions(events: readonly Event[]): Record<string, string | undefined> {
  const last = new Map<string, string | undefined>();
  for (const event of events) {
    if (event.type === "write") last.set(event.path, event.revision);
    else if (event.type !== "mkdir") {
      for (const path of last.keys()) {
        for (const gone of [event.path, event.toPath])
          if (path === gone || path.startsWith(`${gone}/`)) last.delete(path);
      }
    }
  }
  return Object.fromEntries(last);
}

function pick(
  items: readonly { path: string; revision: string }[],
  wanted: Record<string, unknown>,
): Record<string, string> {
  return Object.fromEntries(
    items.filter((item) => item.path in wanted).map((item) => [item.path, item.revision]),
  );
}

async function play(server: DiskServer, steps: readonly Step[]): Promise<void> {
  const session = await SessionClient.open(server.client, server.workspace);
  const { json } = await session.snapshot();
  const start = new Map(find(server.dir));
  for (const one of steps) {
    if (one.by === "settle") await agree(server, session, start, json.cursor);
    else if (one.by === "disk") onDisk(server.dir, one);
    else await throughApi(session, one);
  }
  await agree(server, session, start, json.cursor);
}

async function playFresh(steps: readonly Step[], watch: boolean): Promise<void> {
  const server = await startDiskServer({ watch });
  try {
    await play(server, steps);
  } finally {
    await server.stop();
  }
}

describe("random work through the API and on the disk at once", () => {
  test("catalog, events replayed from the start, and find agree (I40, I42, I44)", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => playFresh(steps, true)),
      { numRuns: Number(process.env["MODEL_RUNS"] ?? 25) },
    );
  }, 240_000);

  test("they agree just so where nothing can be watched", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), (steps) => playFresh(steps, false)),
      { numRuns: Number(process.env["MODEL_RUNS"] ?? 8) },
    );
  }, 240_000);
});
