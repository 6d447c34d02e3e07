import * as fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { matchesGlob } from "../../lib/glob.ts";
import type { Storage } from "../../lib/storage.ts";
import { configOf, put, startMemoryServer, textOf } from "../support/memory-host.ts";
import { processorTime } from "../support/processor-time.ts";

let server: Awaited<ReturnType<typeof startMemoryServer>>;
const remote = (url: string): object => ({ type: "remote", url });

async function start(
  files: Record<string, string> = {},
  global: Record<string, string> = {},
): Promise<string> {
  server = await startMemoryServer(configOf());
  for (const [path, text] of Object.entries(files)) await put(server.storage, path, text);
  for (const [path, text] of Object.entries(global))
    await put(server.host.user.opencode as Storage, path, text);
  return `/workspace/${server.workspace}/mcp`;
}

afterEach(() => server?.handler.close());

describe("globs", () => {
  test.each([
    ["mcp.a", "mcp.a", true],
    ["mcp.*", "mcp.a", true],
    ["*", "", true],
    ["mcp.?", "mcp.a", true],
    ["mcp.?", "mcp.", false],
    ["*a*b", "xxaxxbxb", true],
    ["*a*b", "xxaxxbx", false],
    ["a.c", "abc", false],
    ["[a]", "a", false],
    ["", "a", false],
    ["mcp.pd.*", "mcp.pd.*", true],
  ])("%j on %j: %j", (pattern, text, matches) => {
    expect(matchesGlob(pattern, text)).toBe(matches);
  });

  test("as the regular expression that it stands for", () => {
    const piece = fc
      .array(fc.constantFrom("a", "b", "*", "?", "."), { maxLength: 8 })
      .map((parts) => parts.join(""));
    const plain = fc.array(fc.constantFrom("a", "b", "."), { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(piece, plain, (pattern, text) => {
        const source = pattern.replace(/[.]/g, "\\.").replace(/\*/g, ".*").replace(/\?/g, ".");
        expect(matchesGlob(pattern, text)).toBe(new RegExp(`^${source}$`).test(text));
      }),
      { numRuns: 2000 },
    );
  });

  test("hostile patterns take no time", () => {
    const started = processorTime();
    for (const n of [900, 100_000]) {
      matchesGlob("*a".repeat(n / 2), "a".repeat(n));
      matchesGlob(`${"a*".repeat(n / 2)}b`, "a".repeat(n));
      matchesGlob(`${"*".repeat(n)}b`, "a".repeat(n));
    }
    expect(processorTime() - started).toBeLessThan(300);
  });
});

describe("GET mcp", () => {
  test("the user's servers that the project does not name, then the project's, in the order of their files", async () => {
    const path = await start(
      { "opencode.json": JSON.stringify({ mcp: { z: remote("z"), both: remote("project") } }) },
      { "opencode.json": JSON.stringify({ mcp: { both: remote("user"), g: remote("g") } }) },
    );
    expect((await server.client.get(path)).json).toEqual({
      items: [
        { name: "g", config: remote("g"), source: "config.global" },
        { name: "z", config: remote("z"), source: "config.project" },
        { name: "both", config: remote("project"), source: "config.project" },
      ],
    });
  });

  test.each([
    ["mcp.one", true],
    ["mcp.one.*", true],
    ["mcp:one", true],
    ["mcp:one:*", true],
    ["mcp.*", true],
    ["mcp:*", true],
    ["*", true],
    ["m?p.on?", true],
    ["mcp.on", false],
    ["mcp.one.tool", false],
    ["one", false],
    ["MCP.ONE", false],
  ])("tools.deny %j: disabledByTools %j", async (rule, denied) => {
    const path = await start({
      "opencode.json": JSON.stringify({ mcp: { one: remote("u") }, tools: { deny: [5, rule] } }),
    });
    const [item] = (await server.client.get(path)).json.items;
    expect(item.disabledByTools).toBe(denied ? true : undefined);
  });

  test("rules of the user concern only the user's servers, those of the project both", async () => {
    const path = await start(
      { "opencode.json": JSON.stringify({ mcp: { p: remote("u") }, tools: { deny: ["mcp.g1"] } }) },
      {
        "opencode.jsonc": JSON.stringify({
          mcp: { g1: remote("u"), g2: remote("u") },
          tools: { deny: ["mcp.p", "mcp.g2"] },
        }),
      },
    );
    const { items } = (await server.client.get(path)).json;
    expect(
      items.map((item: { name: string; disabledByTools?: true }) => [item.name, item.disabledByTools]),
    ).toEqual([
      ["g1", true],
      ["g2", true],
      ["p", undefined],
    ]);
  });

  test("I52: a broken file of the user is a problem; a broken one of the project 422", async () => {
    const path = await start(
      { "opencode.json": JSON.stringify({ mcp: { p: remote("u") } }) },
      { "opencode.json": "{" },
    );
    const { status, json } = await server.client.get(path);
    expect(status).toBe(200);
    expect(json.items).toHaveLength(1);
    expect(json.problems).toEqual([
      {
        path: `${server.host.user.opencode.location}/opencode.json`,
        code: "invalid_jsonc",
        message: expect.stringContaining("line 1"),
      },
    ]);
    const added = await server.client.post(path, { name: "x", config: remote("u") });
    expect([added.status, added.json.items.length, added.json.problems.length]).toEqual([200, 2, 1]);
    await put(server.storage, "opencode.json", "{");
    await expect.poll(async () => (await server.client.get(path)).status).toBe(422);
  });

  test("I04: viewers see no secrets", async () => {
    const config = {
      type: "local",
      command: ["npx", "--token", "hunter2"],
      environment: { A: "hunter2" },
      headers: { B: "hunter2" },
    };
    const path = await start({ "opencode.json": JSON.stringify({ mcp: { token: config } }) });
    const { json } = await server.client.post("/tokens", { scope: "viewer" }, { token: null, host: true });
    const seen = await server.client.get(path, { token: json.token });
    expect(seen.json).toEqual({
      items: [
        {
          name: "token",
          config: {
            type: "local",
            command: ["npx", "--token", "***"],
            environment: { A: "***" },
            headers: { B: "***" },
          },
          source: "config.project",
        },
      ],
      redacted: true,
    });
    expect((await server.client.get(path)).json.items[0].config).toEqual(config);
  });

  test.each(["[1]", '"x"', "null", "5"])("an mcp value of %s lists nothing", async (value) => {
    const path = await start(
      { "opencode.json": `{"mcp":${value}}` },
      { "opencode.json": `{"mcp":${value},"tools":{"deny":"x"}}` },
    );
    expect((await server.client.get(path)).json).toEqual({ items: [] });
  });
});

describe("POST mcp", () => {
  const before =
    '{\n  "mcp": {\n    // search\n    "a": { "type": "remote", "url": "u" },\n    "b": { "type": "remote", "url": "v" } // last\n  }\n}\n';

  test("adds one entry; the others keep bytes and comments", async () => {
    const path = await start({ "opencode.jsonc": before });
    const { status, json } = await server.client.post(path, { name: "c", config: remote("w") });
    expect([status, json.items.length]).toEqual([200, 3]);
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(
      before.replace(
        "} // last\n",
        '}, // last\n    "c": {\n      "type": "remote",\n      "url": "w"\n    }\n',
      ),
    );
  });

  test("replaces one entry in its place", async () => {
    const path = await start({ "opencode.jsonc": before });
    await server.client.post(path, {
      name: "a",
      config: { ...remote("new"), enabled: false, extra: { k: null } },
    });
    const text = await textOf(server.storage, "opencode.jsonc");
    expect(text).toContain(
      '    // search\n    "a": { "type": "remote", "url": "new", "enabled": false, "extra": { "k": null } },\n',
    );
    expect(text).toContain('    "b": { "type": "remote", "url": "v" } // last\n');
  });

  test.each(["", "-x", "a b", "a.b", "a/b", "é", "__proto__", "a\n", "x".repeat(10) + "!"])(
    "the name %j is invalid_mcp_name",
    async (name) => {
      const path = await start();
      const { status, json } = await server.client.post(path, { name, config: remote("u") });
      expect([status, json.code]).toEqual([400, "invalid_mcp_name"]);
      expect(await textOf(server.storage, "opencode.jsonc")).toBeNull();
    },
  );

  test.each(["constructor", "toString", "prototype", "_", "0", "hasOwnProperty"])(
    "I52: the name %s is a name as any other",
    async (name) => {
      const path = await start();
      const { json } = await server.client.post(path, { name, config: remote("u") });
      expect(json.items).toEqual([{ name, config: remote("u"), source: "config.project" }]);
      expect((await server.client.delete(`${path}/${name}`)).json.items).toEqual([]);
    },
  );

  test.each([
    [{ name: "x" }, "config"],
    [{ name: "x", config: null }, "config"],
    [{ name: "x", config: [] }, "config"],
    [{ name: "x", config: "npx" }, "config"],
    [{ name: 5, config: {} }, "name"],
  ])("I53: %j is invalid_payload", async (body, field) => {
    const path = await start();
    const { status, json } = await server.client.post(path, body);
    expect([status, json.code, json.details.path]).toEqual([400, "invalid_payload", field]);
  });

  test.each([
    [{}],
    [{ type: "other" }],
    [{ type: "local" }],
    [{ type: "local", command: [] }],
    [{ type: "local", command: "npx" }],
    [{ type: "local", command: ["npx", 5] }],
    [{ type: "remote" }],
    [{ type: "remote", url: "" }],
    [{ type: "remote", url: 5 }],
  ])("%j is invalid_mcp_config", async (config) => {
    const path = await start();
    const { status, json } = await server.client.post(path, { name: "x", config });
    expect([status, json.code]).toEqual([400, "invalid_mcp_config"]);
  });

  test.each(["[1]", '"x"', "5", "false"])("I52: an mcp value of %s is 422 and stays", async (value) => {
    const text = `{"mcp":${value}}`;
    const path = await start({ "opencode.json": text });
    const { status, json } = await server.client.post(path, { name: "x", config: remote("u") });
    expect([status, json.code]).toEqual([422, "invalid_jsonc"]);
    expect(json.message).toContain('"mcp" in opencode.json must be an object');
    expect(json.details).toEqual([{ code: "ValueExpected", offset: 7, length: value.length }]);
    expect(await textOf(server.storage, "opencode.json")).toBe(text);
  });

  test("I20: adding and removing at once, with plugins and settings, loses nothing", async () => {
    const path = await start({ "opencode.jsonc": '{\n  "mcp": {\n    "gone": {}\n  }\n}\n' });
    const root = `/workspace/${server.workspace}`;
    const numbers = Array.from({ length: 15 }, (_, index) => index);
    await Promise.all([
      ...numbers.map((n) => server.client.post(path, { name: `m${n}`, config: remote(`u${n}`) })),
      ...numbers.map((n) => server.client.post(`${root}/plugins`, { spec: `p${n}` })),
      ...numbers.map((n) => server.client.patch(`${root}/config`, { opencode: { [`k${n}`]: n } })),
      server.client.delete(`${path}/gone`),
    ]);
    const { opencode } = (await server.client.get(`${root}/config`)).json;
    expect(Object.keys(opencode.mcp)).toHaveLength(15);
    expect(opencode.plugin).toHaveLength(15);
    expect(Object.keys(opencode)).toHaveLength(17);
  });
});

describe("DELETE mcp", () => {
  test("removes one entry; unknown and odd names are fine", async () => {
    const text = '{\n  "mcp": {\n    // a\n    "a": {},\n    "b": {}\n  }\n}\n';
    const path = await start({ "opencode.jsonc": text });
    expect((await server.client.delete(`${path}/b`)).status).toBe(200);
    const after = '{\n  "mcp": {\n    // a\n    "a": {}\n  }\n}\n';
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(after);
    for (const name of ["nope", "bad%20name", "constructor", "__proto__"]) {
      expect((await server.client.delete(`${path}/${name}`)).status).toBe(200);
    }
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(after);
    await server.client.delete(`${path}/a`);
    expect(await textOf(server.storage, "opencode.jsonc")).toBe('{\n  "mcp": {\n    // a\n  }\n}\n');
  });

  test("a server called __proto__ that somebody wrote can be removed", async () => {
    const path = await start({ "opencode.json": '{"mcp":{"__proto__":{"a":1},"b":{}}}' });
    expect((await server.client.get(path)).json.items.map((item: { name: string }) => item.name)).toEqual([
      "__proto__",
      "b",
    ]);
    await server.client.delete(`${path}/__proto__`);
    expect(await textOf(server.storage, "opencode.json")).toBe('{"mcp":{"b":{}}}\n');
  });
});
