import { afterEach, describe, expect, test } from "vitest";
import { configOf, put, startMemoryServer, textOf } from "../support/memory-host.ts";

type Server = Awaited<ReturnType<typeof startMemoryServer>>;
let server: Server;
const openwork = ".opencode/openwork.json";

async function start(
  files: Record<string, string> = {},
  config?: Parameters<typeof startMemoryServer>[0],
): Promise<string> {
  server = await startMemoryServer(config);
  for (const [path, text] of Object.entries(files)) await put(server.storage, path, text);
  return `/workspace/${server.workspace}/config`;
}

async function viewerToken(): Promise<string> {
  const { json } = await server.client.post("/tokens", { scope: "viewer" }, { token: null, host: true });
  return json.token;
}

afterEach(() => server.handler.close());

describe("GET config", () => {
  test("nothing on disk", async () => {
    const path = await start();
    expect((await server.client.get(path)).text).toBe('{"opencode":{},"openwork":{},"updatedAt":null}');
  });

  test("opencode.jsonc before opencode.json; a change by anyone is seen", async () => {
    const path = await start({ "opencode.json": '{"from":"json"}' });
    expect((await server.client.get(path)).json.opencode).toEqual({ from: "json" });
    await put(server.storage, "opencode.jsonc", '{"from":"jsonc", /* c */}');
    await expect.poll(async () => (await server.client.get(path)).json.opencode).toEqual({ from: "jsonc" });
  });

  test("whatever the files hold is shown, __proto__ keys too", async () => {
    const path = await start({ "opencode.json": '[1,{"__proto__":{"a":1}}]', [openwork]: '"text"' });
    expect((await server.client.get(path)).text).toBe(
      '{"opencode":[1,{"__proto__":{"a":1}}],"openwork":"text","updatedAt":null}',
    );
  });

  test("I26: a broken opencode file is 422 with positions", async () => {
    const path = await start({ "opencode.jsonc": '{\n  "a" 1\n}\n' });
    const { status, json } = await server.client.get(path);
    expect(status).toBe(422);
    expect(json).toMatchObject({
      code: "invalid_jsonc",
      details: [{ code: "ColonExpected", offset: 8, length: 1 }],
    });
    expect(json.message).toContain("line 2, column 7");
  });

  test("a broken openwork.json is 422 without details, and quotes nothing of it", async () => {
    const path = await start({ [openwork]: '{"token": hunter2}' });
    const { status, json } = await server.client.get(path);
    expect(status).toBe(422);
    expect(json.code).toBe("invalid_json");
    expect(json).not.toHaveProperty("details");
    expect(json.message).toContain("line 1, column 11");
    expect(json.message).not.toContain("hunter2");
  });

  test("endless nesting and bytes that are no text are 422 as well", async () => {
    const path = await start({ "opencode.json": "[".repeat(50_000) });
    expect((await server.client.get(path)).json.code).toBe("invalid_jsonc");
    await put(server.storage, "opencode.json", "{}");
    await put(server.storage, openwork, "[".repeat(50_000) + "]".repeat(50_000));
    await expect.poll(async () => (await server.client.get(path)).json.code).toBe("invalid_json");
    await server.storage.commit([
      { op: "write", path: "opencode.json", body: new Uint8Array([0x22, 0xff, 0x22]) },
    ]);
    await expect
      .poll(async () => (await server.client.get(path)).json)
      .toMatchObject({
        code: "invalid_jsonc",
        details: [{ code: "InvalidCharacter", offset: 0, length: 0 }],
      });
  });

  test("I04: viewers see no secrets and are told; collaborators see all", async () => {
    const config = {
      mcp: { a: { type: "remote", url: "https://u:p@h", headers: { A: "hunter2" } } },
      model: "m",
    };
    const path = await start({ "opencode.json": JSON.stringify(config), [openwork]: '{"apiKey":"hunter2"}' });
    const token = await viewerToken();
    const seen = await server.client.get(path, { token });
    expect(seen.text).not.toContain("hunter2");
    expect(seen.json).toMatchObject({
      opencode: { mcp: { a: { type: "remote", url: "https://***@h", headers: { A: "***" } } }, model: "m" },
      openwork: { apiKey: "***" },
      redacted: true,
    });
    const all = await server.client.get(path);
    expect(all.json.opencode).toEqual(config);
    expect(all.json).not.toHaveProperty("redacted");
    await put(server.storage, "opencode.json", "{}");
    await put(server.storage, openwork, "{}");
    await expect
      .poll(async () => (await server.client.get(path, { token })).json)
      .toEqual({ opencode: {}, openwork: {}, updatedAt: null });
  });
});

describe("PATCH config", () => {
  const file = '{\n\t// about model\n\t"model": "a/b", // tail\n\t"list": [1, 2],\n}\n';

  test("a setting is replaced in place, a new one added, null stored; updatedAt follows", async () => {
    const path = await start({ "opencode.jsonc": file });
    const { status, json } = await server.client.patch(path, { opencode: { model: "c/d", fresh: null } });
    expect(status).toBe(200);
    expect(Object.keys(json)).toEqual(["updatedAt"]);
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(
      '{\n\t// about model\n\t"model": "c/d", // tail\n\t"list": [1, 2],\n\t"fresh": null,\n}\n',
    );
    const after = await server.client.get(path);
    expect(after.json.opencode).toEqual({ model: "c/d", list: [1, 2], fresh: null });
    expect(after.json.updatedAt).toBeGreaterThan(Date.now() - 60_000);
  });

  test("missing files are made, with two spaces and a final newline; {} makes no opencode file", async () => {
    const path = await start();
    await server.client.patch(path, { opencode: {}, openwork: {} });
    expect(await textOf(server.storage, "opencode.jsonc")).toBeNull();
    expect(await textOf(server.storage, openwork)).toBe("{}\n");
    await server.client.patch(path, { opencode: { a: { b: 1 } }, openwork: { c: [1] } });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe('{\n  "a": {\n    "b": 1\n  }\n}\n');
    expect(await textOf(server.storage, openwork)).toBe('{\n  "c": [\n    1\n  ]\n}\n');
  });

  test.each([
    [
      { opencode: null, openwork: { a: 1 } },
      { opencode: {}, openwork: { a: 1 } },
    ],
    [
      { opencode: { a: 1 }, openwork: null },
      { opencode: { a: 1 }, openwork: {} },
    ],
  ])("a file that is null counts as not given: %j", async (body, both) => {
    const path = await start();
    expect((await server.client.patch(path, body)).status).toBe(200);
    expect((await server.client.get(path)).json).toMatchObject(both);
  });

  test("I27: one without effect leaves the bytes, is 200 and audited", async () => {
    const odd = '{"b" :2,   "a":[1 ]}';
    const path = await start({ "opencode.jsonc": file, [openwork]: odd });
    const { status } = await server.client.patch(path, { opencode: { list: [1, 2] }, openwork: { a: [1] } });
    expect(status).toBe(200);
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(file);
    expect(await textOf(server.storage, openwork)).toBe(odd);
    const audit = await server.client.get(`/workspace/${server.workspace}/audit`);
    expect(audit.json.items).toMatchObject([{ action: "config.patch", target: "opencode.json" }]);
  });

  test("I27: duplicate keys: what is read is what was patched", async () => {
    const path = await start({ "opencode.json": '{"a":1,"a":2}' });
    await server.client.patch(path, { opencode: { a: 3 } });
    expect((await server.client.get(path)).json.opencode).toEqual({ a: 3 });
    await server.client.patch(path, { opencode: { a: { $unset: true } } });
    expect((await server.client.get(path)).json.opencode).toEqual({});
  });

  test("I27: permission merges key by key, keeping order and comments", async () => {
    const before =
      '{\n  "permission": {\n    // careful\n    "edit": "ask",\n    "bash": { "*": "ask" }\n  }\n}\n';
    const path = await start({ "opencode.jsonc": before });
    await server.client.patch(path, {
      opencode: { permission: { bash: { "git *": "allow" }, webfetch: "deny" } },
    });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(
      '{\n  "permission": {\n    // careful\n    "edit": "ask",\n    "bash": { "git *": "allow" },\n    "webfetch": "deny"\n  }\n}\n',
    );
    await server.client.patch(path, { opencode: { permission: { edit: { $unset: true }, bash: null } } });
    expect((await server.client.get(path)).json.opencode.permission).toEqual({
      bash: null,
      webfetch: "deny",
    });
    await server.client.patch(path, {
      opencode: { permission: { external_directory: { "/n/*": "allow" } } },
    });
    expect((await server.client.get(path)).json.opencode.permission).toHaveProperty("external_directory");
    await server.client.patch(path, { opencode: { permission: { $unset: true } } });
    expect((await server.client.get(path)).json.opencode).toEqual({});
  });

  test("I27: one word for all permissions becomes its rule for *; unsetting where nothing is adds nothing", async () => {
    const path = await start({ "opencode.json": '{"permission":"ask"}' });
    await server.client.patch(path, { opencode: { permission: { edit: "allow" } } });
    expect((await server.client.get(path)).json.opencode).toEqual({
      permission: { "*": "ask", edit: "allow" },
    });
    await put(server.storage, "opencode.json", "{}");
    await server.client.patch(path, { opencode: { permission: { edit: { $unset: true } } } });
    expect(await textOf(server.storage, "opencode.json")).toBe("{}");
  });

  test("I27: a list of permissions is not merged into, nor overwritten", async () => {
    const path = await start({ "opencode.json": '{"permission":[1]}' });
    const { status, json } = await server.client.patch(path, { opencode: { permission: { edit: "allow" } } });
    expect([status, json.code]).toEqual([422, "invalid_jsonc"]);
    expect(json.details).toEqual([{ code: "ValueExpected", offset: 14, length: 3 }]);
    expect(await textOf(server.storage, "opencode.json")).toBe('{"permission":[1]}');
  });

  test("I27: keys are removed with $unset, in openwork.json too", async () => {
    const path = await start({ "opencode.jsonc": file, [openwork]: '{"a":1,"b":2}' });
    await server.client.patch(path, {
      opencode: { model: { $unset: true } },
      openwork: { a: { $unset: true }, c: { $unset: true } },
    });
    expect(await textOf(server.storage, "opencode.jsonc")).toBe(
      '{\n\t// about model\n\t// tail\n\t"list": [1, 2],\n}\n',
    );
    expect(await textOf(server.storage, openwork)).toBe('{\n  "b": 2\n}\n');
  });

  test.each(["", "{", "{oops}", '{"a":1}}', "// nothing"])(
    "I26: a broken file (%j) is 422 and stays as it is",
    async (text) => {
      const path = await start({ "opencode.jsonc": text });
      const { status, json } = await server.client.patch(path, { opencode: { a: 1 } });
      expect([status, json.code]).toEqual([422, "invalid_jsonc"]);
      expect(json.details.length).toBeGreaterThan(0);
      expect(await textOf(server.storage, "opencode.jsonc")).toBe(text);
    },
  );

  test.each(["[1]", '"text"', "5", "null"])(
    "I52: a file that holds %s cannot take settings",
    async (text) => {
      const path = await start({ "opencode.jsonc": text });
      const { status, json } = await server.client.patch(path, { opencode: { a: 1 } });
      expect([status, json.code]).toEqual([422, "invalid_jsonc"]);
      expect(json.message).toContain("must be an object");
      expect(await textOf(server.storage, "opencode.jsonc")).toBe(text);
      await put(server.storage, openwork, text);
      const other = await server.client.patch(path, { openwork: { a: 1 } });
      expect([other.status, other.json.code]).toEqual([422, "invalid_json"]);
      expect(await textOf(server.storage, openwork)).toBe(text);
    },
  );

  test("I28: when one file is broken the other is not written either", async () => {
    const path = await start({ [openwork]: "{oops" });
    const { status, json } = await server.client.patch(path, { opencode: { a: 1 }, openwork: { b: 1 } });
    expect([status, json.code]).toEqual([422, "invalid_json"]);
    expect(await textOf(server.storage, "opencode.jsonc")).toBeNull();
    expect((await server.client.get(`/workspace/${server.workspace}/audit`)).json.items).toEqual([]);
  });

  test.each([
    [{}, ""],
    [{ other: 1 }, ""],
    [{ opencode: null }, ""],
    [{ opencode: [] }, "opencode"],
    [{ opencode: "text" }, "opencode"],
    [{ opencode: { a: 1 }, openwork: [1] }, "openwork"],
    [{ openwork: 5 }, "openwork"],
  ])("I53: %j is 400 with the path of the field", async (body, field) => {
    const path = await start();
    const { status, json } = await server.client.patch(path, body);
    expect([status, json.code, json.details?.path]).toEqual([400, "invalid_payload", field]);
    expect(await server.storage.list("")).toEqual([]);
  });

  test("I53: a number that JSON cannot hold is refused instead of becoming null", async () => {
    const path = await start();
    const { status, json } = await server.client.send("PATCH", path, { body: '{"opencode":{"a":[1e999]}}' });
    expect([status, json.code]).toEqual([400, "invalid_payload"]);
  });

  test("I52: constructor and its like are keys as any other", async () => {
    const path = await start({ "opencode.jsonc": "{\n}\n" });
    const body = { constructor: 1, toString: { prototype: 2 }, hasOwnProperty: null };
    await server.client.patch(path, { opencode: body, openwork: body });
    const { json } = await server.client.get(path);
    expect(Object.entries(json.opencode)).toEqual(Object.entries(body));
    expect(Object.entries(json.openwork)).toEqual(Object.entries(body));
  });

  test("I32: what is wrong is refused before the host is asked; the host sees every path and the diff", async () => {
    const path = await start(
      { "opencode.json": '{\n  "a": 1\n}\n' },
      configOf({ approval: { mode: "manual", timeoutMs: 5000 } }),
    );
    expect((await server.client.patch(path, { opencode: [] })).status).toBe(400);
    const pending = server.client.patch(path, { opencode: { a: 2 }, openwork: { b: 1 } });
    const approvals = async (): Promise<{ id: string }[]> =>
      (await server.client.get("/approvals", { host: true })).json.items;
    await expect.poll(approvals).toHaveLength(1);
    const [question] = await approvals();
    expect(question).toMatchObject({
      action: "config.patch",
      summary: 'Change "a", "b" in opencode.json and .opencode/openwork.json',
      paths: ["/ws/opencode.json", "/ws/.opencode/openwork.json"],
    });
    expect(JSON.stringify(question)).toContain('\\"a\\": 2');
    // I30: what moved while the host thought is merged, not overwritten.
    await put(server.storage, "opencode.json", '{\n  "a": 1,\n  "mine": true\n}\n');
    await server.client.post(`/approvals/${question?.id}`, { reply: "allow" }, { host: true });
    expect((await pending).status).toBe(200);
    expect(await textOf(server.storage, "opencode.json")).toBe('{\n  "a": 2,\n  "mine": true\n}\n');
  });

  test("I20: fifty patches at once all take effect", async () => {
    const path = await start({ "opencode.jsonc": "{\n  // mine\n}\n" });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        server.client.patch(path, { opencode: { [`k${index}`]: index }, openwork: { [`w${index}`]: index } }),
      ),
    );
    expect(answers.every((answer) => answer.status === 200)).toBe(true);
    const { json } = await server.client.get(path);
    expect(Object.keys(json.opencode)).toHaveLength(50);
    expect(Object.keys(json.openwork)).toHaveLength(50);
    expect(await textOf(server.storage, "opencode.jsonc")).toContain("// mine");
  });
});
