import { describe, expect, test } from "vitest";
import { engineCall } from "../../lib/engine/access.ts";
import { grantsPermission, withoutGrants } from "../../lib/engine/grants.ts";
import { engineRoutes, placeCall, type EngineClass } from "../../lib/engine/rules.ts";
import { pinDirectory, type PinnedDirectory } from "../../lib/proxy/directory.ts";
import { addressRewriter } from "../../lib/proxy/headers.ts";
import { insistOnAllowedOrigin, offeredProtocols } from "../../lib/http/websocket.ts";

const classOf = (method: string, path: string): EngineClass => placeCall(method, path).class;

describe("the rules for calls of the engine (I07, I08)", () => {
  test("no route stands in two classes", () => {
    const lines = Object.values(engineRoutes).flat();
    expect(new Set(lines).size).toBe(lines.length);
  });

  test.each([
    ["GET", "/session", "read"],
    ["HEAD", "/session/ses_1/message", "read"],
    ["POST", "/session/ses_1/message", "prompt"],
    ["POST", "/session/ses_1/shell", "command"],
    ["POST", "/session/ses_1/command", "command"],
    ["POST", "/pty", "command"],
    ["GET", "/pty/pty_1/connect", "command"],
    ["GET", "/api/pty/pty_1/connect", "command"],
    ["PATCH", "/config", "change"],
    ["PUT", "/auth/openai", "change"],
    ["POST", "/instance/dispose", "change"],
    ["POST", "/mcp/x/connect", "change"],
    ["POST", "/session/ses_1/share", "change"],
    ["POST", "/permission/per_1/reply", "permission"],
    ["POST", "/session/ses_1/permissions/per_1", "permission"],
    ["POST", "/api/session/ses_1/permission/per_1/reply", "permission"],
    ["POST", "/session/ses_1/permission/per_1/reply", "permission"],
    ["PUT", "/of/tomorrow/permission/per_1/Reply/", "permission"],
    ["POST", "/permission/reply", "change"],
    ["GET", "/of/tomorrow", "read"],
    ["POST", "/of/tomorrow", "change"],
    ["TRACE", "/session", "change"],
    ["PROPFIND", "/", "change"],
  ] as const)("%s %s is %s", (method, path, expected) => {
    expect(classOf(method, path)).toBe(expected);
  });

  test.each([
    "/permission/per_1/%72eply",
    "/permission/per_1/reply/",
    "//permission///per_1/reply",
    "/PERMISSION/per_1/Reply",
    "/%70ermission/per_1/reply",
    "/permission%2fper_1%2freply",
    "/permission/per_1%2freply",
    "/x%2f..%2fpermission/per_1/reply",
    "/permission%5cper_1%5creply",
  ])("however it is spelled, %s answers a permission request", (path) => {
    expect(classOf("POST", path)).toBe("permission");
  });

  test("a malformed escape is the caller's mistake (I15)", () => {
    expect(() => placeCall("POST", "/permission/%zz/reply")).toThrow(
      expect.objectContaining({ code: "invalid_path" }),
    );
  });

  test("a WebSocket is no reading, whatever it is called", () => {
    expect(engineCall("GET", "/pty/p/connect", true)).toMatchObject({ class: "command", acts: true });
    expect(engineCall("GET", "/event", true)).toMatchObject({ class: "command", acts: true });
    expect(engineCall("GET", "/event", false)).toMatchObject({ class: "read", acts: false });
  });
});

const pin = (
  part: { header?: string; search?: string; workspaceHeader?: string },
  own: string | null = "/ws",
): string | null => pinned(part, own).directory;

const served = ["/ws", "/other", "/a%20b"].map((directory) => ({
  directory,
  aliases: () => (directory === "/ws" ? ["/ws", "/real/ws"] : []),
}));

function pinned(
  part: { header?: string; search?: string; workspaceHeader?: string },
  own: string | null = "/ws",
): PinnedDirectory {
  return pinDirectory({ header: null, search: "", workspaceHeader: null, ...part }, own, served);
}

describe("the directory that a call works in (I06)", () => {
  test("unnamed, it is the workspace's own", () => {
    expect(pin({})).toBe("/ws");
    expect(pin({ search: "?directory=" })).toBe("/ws");
    expect(pin({}, null)).toBe(null);
  });

  test("a configured one may be named, once, read as the engine reads it", () => {
    expect(pin({ header: "/other" })).toBe("/other");
    expect(pin({ header: "%2Fother" })).toBe("/other");
    expect(pin({ header: "/other/" })).toBe("/other");
    expect(pin({ search: "?x=1&directory=%2Fother" })).toBe("/other");
    expect(pin({ search: "?directory=%252Fother" })).toBe("/other");
    expect(pin({ search: "?location%5Bdirectory%5D=/other" })).toBe("/other");
    expect(pin({ search: "?directory=%2Fws", header: "%2Fws" })).toBe("/ws");
    // The engine would take this one for "/a b".
    expect(() => pin({ search: "?directory=/a%2520b" })).toThrow();
    expect(pin({ search: "?directory=/a%252520b" })).toBe("/a%20b");
  });

  test("where it really is may be named too; the engine is told the configured name, all else as sent", () => {
    expect(pinned({ header: "/real/ws", search: "?x=%20" })).toEqual({ directory: "/ws", search: "?x=%20" });
    expect(pin({ header: "/real/ws/" }, "/other")).toBe("/ws");
    expect(pinned({ search: "?x=a%20b+c&directory=%2Freal%2Fws&&y" })).toEqual({
      directory: "/ws",
      search: "?x=a%20b+c&directory=%2Fws&&y",
    });
    expect(pinned({ search: "?location%5Bdirectory%5D=/real/ws" }).search).toBe(
      "?location%5Bdirectory%5D=%2Fws",
    );
    expect(pinned({ search: "?directory=/real/ws", header: "/ws" })).toEqual({
      directory: "/ws",
      search: "?directory=%2Fws",
    });
    expect(pinned({ search: "?%64irectory=/ws", header: "/real/ws" }).search).toBe("?directory=%2Fws");
    expect(pinned({ search: "?%64irectory=/ws/" }).search).toBe("?%64irectory=/ws/");
  });

  test.each([
    { header: "/real" },
    { header: "/real/ws/below" },
    { header: "/real/ws/../ws" },
    { search: "?directory=/real/ws", header: "/other" },
    { search: "?directory=/real/ws&location[directory]=/real" },
    { header: "/etc" },
    { header: "/ws, /etc" },
    { header: "/ws/../etc" },
    { header: "/ws-evil" },
    { search: "?directory=/etc" },
    { search: "?%64irectory=/etc" },
    { search: "?directory=/ws&directory=/etc" },
    { search: "?directory=/ws&directory=/ws" },
    { search: "?directory=/ws&location[directory]=/etc" },
    { search: "?location[directory]=%252Fws" },
    { search: "?directory=/ws", header: "/other" },
    { search: "?workspace=wrk_1" },
    { search: "?location[workspace]=wrk_1" },
    { workspaceHeader: "wrk_1" },
  ])("%j is refused", (part) => {
    expect(() => pin(part)).toThrow(expect.objectContaining({ code: "forbidden", status: 403 }));
  });
});

describe("addresses in answers (I62)", () => {
  const rewrite = addressRewriter(new URL("http://127.0.0.1:4096/engine/"), () => "/w/ws_1/opencode");
  test.each([
    ["/engine/landed?x=1#f", "/w/ws_1/opencode/landed?x=1#f"],
    ["http://127.0.0.1:4096/engine/landed", "/w/ws_1/opencode/landed"],
    ["HTTP://127.0.0.1:4096/engine", "/w/ws_1/opencode"],
    ["/elsewhere", "/elsewhere"],
    ["/engine-evil/x", "/engine-evil/x"],
    ["landed", "landed"],
    ["../up", "../up"],
    ["//evil.example/engine/x", "//evil.example/engine/x"],
    ["https://example.com/engine/x", "https://example.com/engine/x"],
    ["http://127.0.0.1:4097/engine/x", "http://127.0.0.1:4097/engine/x"],
  ])("%s becomes %s", (given, expected) => {
    expect(rewrite(given)).toBe(expected);
  });
});

describe("browsers and WebSockets (I64)", () => {
  test("the token is found among the subprotocols", () => {
    expect(offeredProtocols("openwork, openwork.bearer.abc , v2")).toEqual({
      token: "abc",
      forwarded: ["v2"],
      own: "openwork",
    });
    expect(offeredProtocols("openwork.bearer.abc")).toMatchObject({
      token: "abc",
      own: "openwork.bearer.abc",
    });
    expect(offeredProtocols(null)).toEqual({ token: null, forwarded: [], own: null });
  });

  test("origins of other schemes are compared as they are", () => {
    const allowed = ["tauri://localhost", "https://app.example"];
    expect(() => insistOnAllowedOrigin("tauri://localhost", allowed, "h")).not.toThrow();
    expect(() => insistOnAllowedOrigin("evil://localhost", allowed, "h")).toThrow();
    expect(() => insistOnAllowedOrigin("null", allowed, "h")).toThrow();
    expect(() => insistOnAllowedOrigin(null, allowed, "h")).not.toThrow();
    expect(() => insistOnAllowedOrigin("https://evil.example", ["*"], "h")).not.toThrow();
  });
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const passes = async (text: string, size: number): Promise<boolean> => {
  const all = bytes(text);
  const pieces = Array.from({ length: Math.ceil(all.length / size) }, (_, i) =>
    all.slice(i * size, (i + 1) * size),
  );
  const passed = new Response(
    withoutGrants(new Response(new Blob(pieces)).body as ReadableStream<Uint8Array>),
  );
  return passed.text().then(
    (result) => result === text,
    () => false,
  );
};

describe("permissions that a body brings along (I07)", () => {
  const allow = JSON.stringify({
    title: "x",
    permission: [{ permission: "*", pattern: "*", action: "allow" }],
  });

  test.each([
    [allow, true],
    ['{"tools":{"bash":true}}', true],
    ['{"to\\u006fls":{"bash":true}}', true],
    ['{"permission":{"bash":"allow"}}', true],
    ["no json", true],
    ['{"permission":[{"permission":"question","pattern":"*","action":"deny"}]}', false],
    ['{"tools":{"bash":false}}', false],
    ['{"parts":[{"tools":{"bash":true}}]}', false],
    ["", false],
    ["[]", false],
  ])("%s", (text, expected) => {
    expect(grantsPermission(bytes(text))).toBe(expected);
  });

  test.each([1, 2, 7, 1000])(
    "long bodies are broken off at such a field, in pieces of %i bytes",
    async (size) => {
      expect(await passes(allow, size)).toBe(false);
      expect(await passes('{"a":"\\"","to\\u006fls" : {}}', size)).toBe(false);
      expect(
        await passes('{"parts":[{"tools":{}}],"text":"tools","x":["permission"],"y":{"permission":1}}', size),
      ).toBe(true);
      expect(await passes('{"a":"x\\\\","b":"\\"tools\\":"}', size)).toBe(true);
    },
  );
});
