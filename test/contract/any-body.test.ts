import * as fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createMemoryHost } from "../../adapters/memory-host.ts";
import { createHandler, routes, type Handler } from "../../handlers/index.ts";
import { errorStatus } from "../../lib/errors.ts";

let handler: Handler;
let id: string;

beforeAll(async () => {
  const settings = { token: "c", hostToken: "h", approval: { mode: "auto" } };
  const host = createMemoryHost({ settings, files: { "notes.md": "# Notes" } });
  id = host.config.workspaces[0]?.id ?? "";
  handler = await createHandler(host);
});
afterAll(() => handler?.close());

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
// The workspace has to stay, and streams do not end.
const spared = new Set(["DELETE /workspaces/:id", "GET /workspace/:id/files/events"]);
const targets = routes.flatMap((route) =>
  (route.method === "ALL" ? methods : [route.method]).map((method) => ({ method, path: route.path, route })),
);

const word = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("..", "%2e%2e", "__proto__", "\0", "a/b", " "),
);
const body = fc.oneof(
  fc.json(),
  fc.string(),
  fc.uint8Array().map((bytes) => new Uint8Array(bytes)),
  fc
    .record(
      {
        name: fc.anything(),
        path: word,
        content: fc.anything(),
        spec: word,
        config: fc.object(),
        opencode: fc.object(),
        template: word,
        description: fc.anything(),
        scope: word,
        files: fc.anything(),
        writes: fc.array(fc.anything()),
        operations: fc.array(fc.anything()),
      },
      { requiredKeys: [] },
    )
    .map((value) =>
      JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? String(one) : one)),
    ),
);

it("every route answers any body, parameter and query in order", async () => {
  const sample = fc.record({
    target: fc.constantFrom(...targets.filter(({ method, path }) => !spared.has(`${method} ${path}`))),
    params: fc.array(word, { minLength: 3, maxLength: 3 }),
    query: fc.dictionary(fc.constantFrom("path", "since", "limit", "q", "includeGlobal", "scope"), word),
    body,
  });
  await fc.assert(
    fc.asyncProperty(sample, async ({ target, params, query, body }) => {
      const { method, path, route } = target;
      const rest = [...params];
      const filled = path
        .replaceAll(/:(\w+)/g, (_, name: string) =>
          name === "id" ? id : encodeURIComponent((rest.pop() ?? "x").toWellFormed()) || "x",
        )
        .replace("*", "rest");
      const response = await handler(
        new Request(`http://server.test${filled}?${new URLSearchParams(query).toString()}`, {
          method,
          headers: { authorization: "Bearer c", "x-openwork-host-token": "h" },
          ...(method === "GET" ? {} : { body }),
        }),
      );
      const text = await response.text();
      if (response.ok || [202, 304].includes(response.status)) return;
      const { code, message } = JSON.parse(text) as { code: keyof typeof errorStatus; message: string };
      expect(code in errorStatus && message.length > 0, `${method} ${route.path}: ${text}`).toBe(true);
      // A client's mistake is never the server's.
      expect(code, `${method} ${route.path} ${JSON.stringify(params)}: ${text}`).not.toBe("internal_error");
    }),
    { numRuns: 1500 },
  );
}, 60_000);
