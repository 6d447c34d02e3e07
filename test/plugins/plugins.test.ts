import * as fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { pluginName } from "../../lib/opencode/plugins.ts";
import type { Storage } from "../../lib/storage.ts";
import { put, startMemoryServer, textOf } from "../support/memory-host.ts";

let server: Awaited<ReturnType<typeof startMemoryServer>>;

async function start(files: Record<string, string> = {}): Promise<string> {
  server = await startMemoryServer();
  for (const [path, text] of Object.entries(files)) await put(server.storage, path, text);
  return `/workspace/${server.workspace}/plugins`;
}

/** The user's storage, which the tests may write though the server may not. */
const user = (): Storage => server.host.user.opencode as Storage;
const specs = (json: { items: { spec: string }[] }): string[] => json.items.map((item) => item.spec);

afterEach(() => server?.handler.close());

describe("names of plugins", () => {
  test.each([
    ["a", "a"],
    ["a@1.0.0", "a"],
    [" a@latest ", "a"],
    ["@s/b", "@s/b"],
    ["@s/b@2", "@s/b"],
    ["a@npm:b@2", "a"],
    ["file:///x@1/y.js", "file:///x@1/y.js"],
    ["file:x@1", "file:x@1"],
    ["http://h/a@1", "http://h/a@1"],
    ["https://h/a@1", "https://h/a@1"],
    ["git:h/a@1", "git:h/a@1"],
    ["/abs/a@1.js", "/abs/a@1.js"],
    ["git+ssh://git@h/a", "git+ssh://git@h/a"],
    ["@", "@"],
    ["", ""],
  ])("%j is called %j", (spec, name) => {
    expect(pluginName(spec)).toBe(name);
  });

  test("a name is its own name", () => {
    fc.assert(
      fc.property(fc.string(), (spec) => {
        expect(pluginName(pluginName(spec))).toBe(pluginName(spec).trim());
      }),
    );
  });
});

describe("GET plugins", () => {
  test("nothing", async () => {
    const path = await start();
    expect((await server.client.get(path)).json).toEqual({
      items: [],
      loadOrder: ["config.global", "config.project", "dir.global", "dir.project"],
    });
  });

  test("I54: specs in the order of the file, then plugin files by name; the user's only on request", async () => {
    const path = await start({
      "opencode.json": '{"plugin":["z@1", 5, null, "a"]}',
      ".opencode/plugins/b.ts": "",
      ".opencode/plugins/a.js": "",
      ".opencode/plugins/c.mjs": "",
      ".opencode/plugins/readme.md": "",
      ".opencode/plugins/deep/d.js": "",
    });
    await put(user(), "plugins/u.js", "");
    const own = [
      { spec: "z@1", source: "config", scope: "project" },
      { spec: "a", source: "config", scope: "project" },
      {
        spec: "file:///ws/.opencode/plugins/a.js",
        source: "dir.project",
        scope: "project",
        path: ".opencode/plugins/a.js",
      },
      {
        spec: "file:///ws/.opencode/plugins/b.ts",
        source: "dir.project",
        scope: "project",
        path: ".opencode/plugins/b.ts",
      },
    ];
    expect((await server.client.get(path)).json.items).toEqual(own);
    expect((await server.client.get(`${path}?includeGlobal=TRUE`)).json.items).toEqual(own);
    const { location } = server.host.user.opencode;
    expect((await server.client.get(`${path}?includeGlobal=true`)).json.items).toEqual([
      ...own,
      {
        spec: `file://${location}/plugins/u.js`,
        source: "dir.global",
        scope: "global",
        path: `${location}/plugins/u.js`,
      },
    ]);
  });

  test.each(["{}", "5", "null", "true"])("a plugin value of %s lists nothing", async (value) => {
    const path = await start({ "opencode.json": `{"plugin":${value}}` });
    expect((await server.client.get(path)).json.items).toEqual([]);
  });

  test("I04: viewers see no credentials in specs", async () => {
    const path = await start({ "opencode.json": '{"plugin":["p@git+https://tok:hunter2@h/r.git"]}' });
    const { json } = await server.client.post("/tokens", { scope: "viewer" }, { token: null, host: true });
    const seen = await server.client.get(path, { token: json.token });
    expect(specs(seen.json)).toEqual(["p@git+https://***@h/r.git"]);
    expect(seen.json.redacted).toBe(true);
    expect((await server.client.get(path)).json).not.toHaveProperty("redacted");
  });

  test("a broken file is 422, of a plugin file nothing is read", async () => {
    const path = await start({ "opencode.json": "{" });
    expect((await server.client.get(path)).json.code).toBe("invalid_jsonc");
  });
});

describe("POST plugins", () => {
  test("inserts one element: comments in the list stay", async () => {
    const path = await start({
      "opencode.jsonc": '{\n  "plugin": [\n    // first\n    "a@1" // why\n  ]\n}\n',
    });
    const { status, json } = await server.client.post(path, { spec: "b@2" });
    expect(status).toBe(200);
    expect(specs(json)).toEqual(["a@1", "b@2"]);
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(
      '{\n  "plugin": [\n    // first\n    "a@1", // why\n    "b@2"\n  ]\n}\n',
    );
  });

  test("makes the file, makes one text a list, takes null for none, keeps what is no text", async () => {
    const path = await start();
    await server.client.post(path, { spec: " @s/a@1 " });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe('{\n  "plugin": [\n    " @s/a@1 "\n  ]\n}\n');
    await put(server.storage, "opencode.jsonc", '{"plugin":"old"}');
    await server.client.post(path, { spec: "new" });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe('{"plugin":["old","new"]}\n');
    await put(server.storage, "opencode.jsonc", '{"plugin":null}');
    await server.client.post(path, { spec: "new" });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe('{"plugin":["new"]}\n');
    await put(server.storage, "opencode.jsonc", '{"plugin":[5,["x"]]}');
    await server.client.post(path, { spec: "new" });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe('{"plugin":[5,["x"],"new"]}\n');
  });

  test("one that is there by name changes nothing, and is audited", async () => {
    const text = '{"plugin":["a@1"]}';
    const path = await start({ "opencode.json": text });
    const { status, json } = await server.client.post(path, { spec: "a@2" });
    expect([status, specs(json)]).toEqual([200, ["a@1"]]);
    expect(await textOf(server.storage, "opencode.json")).toBe(text);
    const audit = await server.client.get(`/workspace/${server.workspace}/audit`);
    expect(audit.json.items).toMatchObject([{ action: "plugins.add", target: "opencode.json" }]);
  });

  test.each([["{}"], ["5"], ["true"]])("I52: a plugin value of %s is 422 and stays", async (value) => {
    const text = `{"plugin":${value}}`;
    const path = await start({ "opencode.json": text });
    const { status, json } = await server.client.post(path, { spec: "a" });
    expect([status, json.code]).toEqual([422, "invalid_jsonc"]);
    expect(json.message).toContain('"plugin" in opencode.json must be a list of plugins or one plugin');
    expect(await textOf(server.storage, "opencode.json")).toBe(text);
  });

  test.each([[{}], [{ spec: null }], [{ spec: "" }], [{ spec: " \n" }]])(
    "%j is invalid_plugin_spec",
    async (body) => {
      const path = await start();
      const { status, json } = await server.client.post(path, body);
      expect([status, json.code]).toEqual([400, "invalid_plugin_spec"]);
    },
  );

  test.each([[{ spec: 5 }], [{ spec: ["a"] }], [{ spec: { a: 1 } }], [{ spec: true }]])(
    "I53: %j is invalid_payload",
    async (body) => {
      const path = await start();
      const { status, json } = await server.client.post(path, body);
      expect([status, json.code, json.details.path]).toEqual([400, "invalid_payload", "spec"]);
      expect(await textOf(server.storage, "opencode.jsonc")).toBeNull();
    },
  );

  test("I20: fifty at once are all there", async () => {
    const path = await start({ "opencode.jsonc": '{\n  // mine\n  "plugin": [],\n}\n' });
    const all = Array.from({ length: 50 }, (_, index) => `p${index}@1`);
    const answers = await Promise.all(all.map((spec) => server.client.post(path, { spec })));
    expect(answers.every((answer) => answer.status === 200)).toBe(true);
    expect(specs((await server.client.get(path)).json).toSorted()).toEqual(all.toSorted());
    expect(await textOf(server.storage, "opencode.jsonc")).toContain("// mine");
  });
});

describe("DELETE plugins", () => {
  test("removes all of that name; comments of the others stay; unknown names are fine", async () => {
    const path = await start({
      "opencode.jsonc": '{\n  "plugin": [\n    "a@1",\n    "@s/b@2", // why\n    "a@2",\n    "c"\n  ]\n}\n',
    });
    expect(specs((await server.client.delete(`${path}/a`)).json)).toEqual(["@s/b@2", "c"]);
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(
      '{\n  "plugin": [\n    "@s/b@2", // why\n    "c"\n  ]\n}\n',
    );
    expect(specs((await server.client.delete(`${path}/%40s%2Fb%409`)).json)).toEqual(["c"]);
    expect((await server.client.delete(`${path}/nope`)).status).toBe(200);
    expect(specs((await server.client.delete(`${path}/c`)).json)).toEqual([]);
    const audit = await server.client.get(`/workspace/${server.workspace}/audit`);
    expect(audit.json.items.map((entry: { action: string }) => entry.action)).toEqual(
      Array(4).fill("plugins.remove"),
    );
  });

  test("a file spec is removed as it is listed", async () => {
    const spec = "file:///x/y@1/p.js";
    const path = await start({ "opencode.json": JSON.stringify({ plugin: [spec, "b"] }) });
    expect(specs((await server.client.delete(`${path}/${encodeURIComponent(spec)}`)).json)).toEqual(["b"]);
  });

  test("what is no list is left alone", async () => {
    const path = await start({ "opencode.json": '{"plugin":{}}' });
    expect((await server.client.delete(`${path}/a`)).status).toBe(200);
    expect(await textOf(server.storage, "opencode.json")).toBe('{"plugin":{}}');
    await put(server.storage, "opencode.json", '{"plugin":"a@1"}');
    await server.client.delete(`${path}/a`);
    expect(await textOf(server.storage, "opencode.json")).toBe('{"plugin":[]}\n');
  });
});
