import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseJsonc } from "../../lib/jsonc/parse.ts";
import { jsonObjectValue, jsonValue, printerChoices, printJsonc } from "../jsonc/arbitrary.ts";
import { put, startMemoryServer, textOf } from "../support/memory-host.ts";

/** What may be on disk: JSONC of any shape, well formed settings, or noise. */
const onDisk = fc.oneof(
  fc.tuple(jsonValue, printerChoices).map(([value, choices]) => printJsonc(value, choices)),
  fc
    .tuple(
      fc.record(
        {
          plugin: fc.oneof(fc.array(fc.constantFrom("a@1", "b", 5)), jsonValue),
          mcp: fc.oneof(jsonObjectValue, jsonValue),
          permission: jsonValue,
          tools: jsonValue,
        },
        { requiredKeys: [] },
      ),
      printerChoices,
    )
    .map(([value, choices]) => printJsonc(value, choices)),
  fc.string(),
);

const request = fc.oneof(
  fc.record({
    method: fc.constant("PATCH"),
    path: fc.constant("config"),
    json: fc.oneof(
      jsonValue,
      fc.record({ opencode: jsonObjectValue, openwork: jsonObjectValue }, { requiredKeys: [] }),
    ),
  }),
  fc.record({
    method: fc.constant("PATCH"),
    path: fc.constant("config"),
    json: fc.record({ opencode: fc.record({ permission: jsonValue }) }),
  }),
  fc.record({
    method: fc.constant("POST"),
    path: fc.constant("plugins"),
    json: fc.oneof(jsonValue, fc.record({ spec: fc.oneof(fc.constantFrom("a@2", "c"), jsonValue) })),
  }),
  fc.record({
    method: fc.constant("POST"),
    path: fc.constant("mcp"),
    json: fc.oneof(
      jsonValue,
      fc.record({
        name: fc.constantFrom("a", "constructor", "1"),
        config: fc.constant({ type: "remote", url: "u" }),
      }),
    ),
  }),
  fc.record({
    method: fc.constant("DELETE"),
    path: fc.constantFrom("plugins/a", "mcp/a", "mcp/constructor", "plugins/b", "mcp/1"),
    json: fc.constant(undefined),
  }),
);

describe("any request on any file", () => {
  test("I26 I52 I53: is 200, 400 or 422; a file that is refused keeps its bytes, one that is written can be read", async () => {
    const server = await startMemoryServer();
    const root = `/workspace/${server.workspace}`;
    await fc.assert(
      fc.asyncProperty(onDisk, onDisk, request, async (opencode, openwork, { method, path, json }) => {
        await put(server.storage, "opencode.json", opencode);
        await put(server.storage, ".opencode/openwork.json", openwork);
        const stored = [
          await textOf(server.storage, "opencode.json"),
          await textOf(server.storage, ".opencode/openwork.json"),
        ];
        const answer = await server.client.send(
          method,
          `${root}/${path}`,
          json === undefined ? {} : { json },
        );
        expect([200, 400, 422], answer.text).toContain(answer.status);
        const after = await textOf(server.storage, "opencode.json");
        if (answer.status === 200) {
          if (after !== stored[0]) expect(parseJsonc(after ?? "").problems).toBeNull();
        } else {
          expect(answer.json.message.length).toBeGreaterThan(10);
          expect(after).toBe(stored[0]);
          expect(await textOf(server.storage, ".opencode/openwork.json")).toBe(stored[1]);
        }
        for (const list of ["config", "plugins", "mcp"]) {
          expect([200, 422]).toContain((await server.client.get(`${root}/${list}`)).status);
        }
      }),
      { numRuns: 600 },
    );
    await server.handler.close();
  });
});
