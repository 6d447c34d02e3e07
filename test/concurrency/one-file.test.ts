import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, type ParseError } from "jsonc-parser";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { freshDirectory, startServer, type Answer, type TestServer } from "../support/server.ts";

const clients = 50;
const numbers: readonly number[] = Array.from({ length: clients }, (_, index) => index);
const original = `{
  // What this project is about.
  "$schema": "https://opencode.ai/config.json", /* beside the schema */
  "username": "before",
  // Kept, whoever writes.
  "instructions": ["AGENTS.md"],
}
`;

interface Config {
  plugin?: string[];
  mcp?: Record<string, unknown>;
  instructions?: string[];
  [key: string]: unknown;
}

let server: TestServer;

beforeEach(async () => {
  const workspace = await freshDirectory("workspace");
  await writeFile(join(workspace, "opencode.jsonc"), original);
  server = await startServer({ workspace });
});

afterEach(async () => {
  await server.stop();
});

async function config(): Promise<Config> {
  const text = await readFile(join(server.workspace, "opencode.jsonc"), "utf8");
  for (const comment of [
    "// What this project is about.",
    "/* beside the schema */",
    "// Kept, whoever writes.",
  ]) {
    expect(text).toContain(comment);
  }
  const errors: ParseError[] = [];
  const value: unknown = parse(text, errors, { allowTrailingComma: true });
  expect(errors).toEqual([]);
  return value as Config;
}

function expectAll(answers: readonly Answer<unknown>[], status: number): void {
  expect(answers.filter((answer) => answer.status !== status).map((answer) => answer.text)).toEqual([]);
}

const addPlugin = (n: number): Promise<Answer> =>
  server.request("POST", "~/plugins", { json: { spec: `plugin-${n}@1.0.${n}` } });
const addMcp = (n: number): Promise<Answer> =>
  server.request("POST", "~/mcp", { json: { name: `server-${n}`, config: remote(n) } });
const addToken = (n: number): Promise<Answer> =>
  server.request("POST", "/tokens", { host: true, json: { scope: "viewer", label: `reader ${n}` } });
const patch = (n: number): Promise<Answer> =>
  server.request("PATCH", "~/config", { json: { opencode: { [`x-key-${n}`]: { value: n } } } });

function remote(n: number): Record<string, unknown> {
  return { type: "remote", url: `https://mcp.example/${n}`, enabled: false };
}

const sorted = (list: readonly string[]): string[] => list.toSorted();

describe("many writers of one file lose nothing (I20)", () => {
  test("plugins", async () => {
    expectAll(await Promise.all(numbers.map(addPlugin)), 200);
    const { plugin } = await config();
    expect(sorted(plugin ?? [])).toEqual(sorted(numbers.map((n) => `plugin-${n}@1.0.${n}`)));
  });

  test("MCP entries", async () => {
    expectAll(await Promise.all(numbers.map(addMcp)), 200);
    expect((await config()).mcp).toEqual(Object.fromEntries(numbers.map((n) => [`server-${n}`, remote(n)])));
  });

  test("plugins, MCP entries, configuration keys and tokens at once, with removals in between", async () => {
    expectAll(await Promise.all(numbers.map((n) => addPlugin(n + 1000))), 200);
    const [kept, created] = await Promise.all([
      Promise.all(
        numbers.flatMap((n) => [
          addPlugin(n),
          addMcp(n),
          patch(n),
          server.request("DELETE", `~/plugins/plugin-${n + 1000}`),
        ]),
      ),
      Promise.all(numbers.map(addToken)),
    ]);
    expectAll(kept, 200);
    expectAll(created, 201);

    const { plugin, mcp, instructions, ...rest } = await config();
    expect(sorted(plugin ?? [])).toEqual(sorted(numbers.map((n) => `plugin-${n}@1.0.${n}`)));
    expect(Object.keys(mcp ?? {})).toHaveLength(clients);
    expect(instructions).toEqual(["AGENTS.md"]);
    for (const n of numbers) expect(rest[`x-key-${n}`]).toEqual({ value: n });
    const listed = await server.request<{ items: unknown[] }>("GET", "~/plugins");
    expect(listed.json.items).toHaveLength(clients);
  });

  test("every answered write is in the audit log, once", async () => {
    expectAll(await Promise.all(numbers.flatMap((n) => [addPlugin(n), addMcp(n)])), 200);
    const { json } = await server.request<{ items: { id: string; action: string }[] }>(
      "GET",
      "~/audit?limit=200",
    );
    const actions = json.items.map(({ action }) => action).toSorted();
    expect(actions).toEqual([...numbers.map(() => "mcp.add"), ...numbers.map(() => "plugins.add")]);
    expect(new Set(json.items.map(({ id }) => id)).size).toBe(2 * clients);
  });
});
