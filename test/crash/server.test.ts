import { once } from "node:events";
import { appendFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse, type ParseError } from "jsonc-parser";
import { expect, test } from "vitest";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";
import {
  commandWriter,
  configWriter,
  importWriter,
  mcpWriter,
  pluginWriter,
  skillWriter,
  tokenWriter,
  type Writer,
} from "./server-writers.ts";

const lanes = 2;
const killsPerLane = 100;

/** Numbers below one that a seed determines, so that a failure can be told by its seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

interface Lane {
  home: string;
  workspace: string;
  writers: readonly Writer[];
  random: () => number;
  /** Torn lines that were put into the audit log by hand. */
  torn: number;
}

/** Lets every writer write until the process is killed, at a moment that nobody expects: some answers later and a bit. */
async function writeUntilKilled(server: TestServer, lane: Lane): Promise<void> {
  const state: { killed: boolean; failure?: Error } = { killed: false };
  // Counted in answers, because a busy machine may not give the first one for a long time.
  let answers = Math.floor(lane.random() * 16);
  const enough = new EventTarget();
  const isEnough = once(enough, "enough");
  const writing = lane.writers.map(async (writer) => {
    while (!state.killed && !state.failure) {
      try {
        await writer.write(server);
        answers -= 1;
        if (answers <= 0) enough.dispatchEvent(new Event("enough"));
      } catch (cause) {
        // A request that the kill cut is what this test is about; any other failure is not.
        if (!state.killed) state.failure = new Error(`${writer.name} failed before the kill`, { cause });
        enough.dispatchEvent(new Event("enough"));
      }
    }
  });
  if (answers > 0) await isEnough;
  await sleep(lane.random() * 60);
  state.killed = true;
  await server.stop("SIGKILL");
  await Promise.all(writing);
  if (state.failure) throw state.failure;
}

async function temporariesBelow(dir: string): Promise<string[]> {
  const names = await readdir(dir, { recursive: true }).catch(() => []);
  return names.filter((name) => name.includes(".owtmp-"));
}

/** Swept at start, but a large tree may take its time: what must not happen is that they stay. */
async function expectSwept(lane: Lane): Promise<void> {
  const places = [lane.workspace, lane.home];
  for (const last = Date.now() + 5000; ;) {
    const left = (await Promise.all(places.map(temporariesBelow))).flat();
    if (left.length === 0) return;
    if (Date.now() > last) expect(left).toEqual([]);
    await sleep(20);
  }
}

async function expectConfigWhole(lane: Lane): Promise<void> {
  const text = await readFile(join(lane.workspace, "opencode.jsonc"), "utf8");
  const errors: ParseError[] = [];
  parse(text, errors, { allowTrailingComma: true });
  expect(errors).toEqual([]);
  expect(text).toContain("// Stays, whatever happens.");
}

const auditLog = (lane: Lane, id: string): string =>
  join(lane.home, `.openwork/openwork-server/audit/${id}.jsonl`);

async function expectAudit(server: TestServer, lane: Lane): Promise<void> {
  const text = await readFile(auditLog(lane, server.id), "utf8").catch(() => "");
  const counts = new Map<string, number>();
  let torn = 0;
  for (const line of text.split("\n").filter((line) => line !== "")) {
    try {
      const { action } = JSON.parse(line) as { action: string };
      counts.set(action, (counts.get(action) ?? 0) + 1);
    } catch {
      torn += 1;
    }
  }
  expect(torn).toBeLessThanOrEqual(lane.torn);
  const wanted = new Map<string, number>();
  for (const { audited } of lane.writers) {
    for (const [action, count] of audited) wanted.set(action, (wanted.get(action) ?? 0) + count);
  }
  for (const [action, count] of wanted) {
    expect(counts.get(action) ?? 0, `entries of ${action}`).toBeGreaterThanOrEqual(count);
  }
  const page = await server.request<{ items: unknown[] }>("GET", "~/audit?limit=10");
  expect(page.status).toBe(200);
}

async function expectNothingStrange(server: TestServer): Promise<void> {
  const { json, text } = await server.request<{ problems?: unknown }>("GET", "~/skills");
  expect(json.problems ?? []).toEqual([]);
  expect(text).not.toContain(".owtmp-");
}

async function runLane(seed: number): Promise<void> {
  const lane: Lane = {
    home: await freshDirectory("home"),
    workspace: await freshDirectory("workspace"),
    writers: [
      pluginWriter(),
      mcpWriter(),
      tokenWriter(),
      skillWriter("story"),
      commandWriter("tell"),
      configWriter(),
      importWriter(),
    ],
    random: randomFrom(seed),
    torn: 0,
  };
  await writeFile(join(lane.workspace, "opencode.jsonc"), "{\n  // Stays, whatever happens.\n}\n");
  try {
    for (let kill = 0; kill <= killsPerLane; kill += 1) {
      try {
        await oneRound(lane, kill === killsPerLane);
      } catch (cause) {
        throw new Error(`seed ${seed}, after ${kill} kills: ${String(cause)}`, { cause });
      }
    }
    // Kills that always come before the first write would prove nothing.
    const answered = lane.writers.flatMap(({ audited }) => [...audited.values()]);
    expect(answered.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(killsPerLane);
  } finally {
    await rm(lane.home, { recursive: true, force: true });
    await rm(lane.workspace, { recursive: true, force: true });
  }
}

/** Starts on what the last kill left, checks it, writes, and kills; the last round only checks. */
async function oneRound(lane: Lane, last: boolean): Promise<void> {
  const server = await startServer({ ...lane, flags: ["--no-log-requests"] });
  try {
    await expectConfigWhole(lane);
    for (const writer of lane.writers) await writer.check(server);
    await expectNothingStrange(server);
    await expectAudit(server, lane);
    await expectSwept(lane);
    if (last) return;
    await writeUntilKilled(server, lane);
    if (lane.random() < 0.1) {
      // A kill seldom cuts a write as short as a line; a power cut does. The kill may have come before any entry.
      await mkdir(dirname(auditLog(lane, server.id)), { recursive: true });
      await appendFile(auditLog(lane, server.id), '{"id":"torn","workspa');
      lane.torn += 1;
    }
  } finally {
    await server.stop("SIGKILL");
  }
}

test("killed 200 times while it writes, the server loses nothing that it answered and leaves nothing half done", async () => {
  const seed = Date.now() % 1_000_000;
  const results = await Promise.allSettled(Array.from({ length: lanes }, (_, lane) => runLane(seed + lane)));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}, 400_000);
