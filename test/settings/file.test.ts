import { describe, expect, test } from "vitest";
import { ConfigError, parseSettings } from "../../lib/config.ts";
import { config } from "./resolve.ts";

describe("I23: the settings file", () => {
  test("may hold comments, trailing commas and a byte order mark", () => {
    const text = '\uFEFF// mine\n{ "port": 9, /* soon */ "workspaces": [{ "path": "/a", },], }';
    expect(config({ file: text })).toMatchObject({ port: 9, workspaces: [{ path: "/a" }] });
  });
  test.each([
    ["", /line 1, column 1: value expected/],
    ['{\n  "port": 1,\n  readOnly: true\n}', /line 3, column 3/],
    ['{ "readOnly": true', /line 1, column \d+: close brace expected/],
    ['{"a": 1}}', /line 1, column 9/],
  ])("that does not parse stops the start with line and column: %j", (text, message) => {
    expect(() => parseSettings(text, "/c/server.json")).toThrow(message);
    expect(() => parseSettings(text, "/c/server.json")).toThrow(/^\/c\/server\.json is not JSON/);
    expect(() => parseSettings(text)).toThrow(ConfigError);
  });
  test("nested without end stops the start", () => {
    expect(() => parseSettings("[".repeat(200_000))).toThrow(ConfigError);
  });
  test.each([
    [{ approval: { timeoutMs: "x" } }, 'approval.timeoutMs must be a number, got "x"'],
    [{ approval: "auto" }, 'approval must be an object, got "auto"'],
    [{ port: "80" }, 'port must be a number, got "80"'],
    [{ corsOrigins: "*" }, 'corsOrigins must be a list of texts, got "*"'],
    [{ authorizedRoots: ["/a", 7] }, "authorizedRoots.1 must be a text, got 7"],
    [{ readOnly: {} }, "readOnly must be true or false, got {}"],
    [{ workspaces: ["/a"] }, 'workspaces.0 must be an object, got "/a"'],
    [
      { workspaces: [{ path: "/a", workspaceType: "cloud" }] },
      'workspaces.0.workspaceType must be "local" or "remote", got "cloud"',
    ],
  ])("of a wrong shape names the key: %j", (file, message) => {
    expect(() => config({ file })).toThrow(`/home/u/.config/openwork/server.json: ${message}.`);
  });
  test.each([[[]], ["text"], [7], [true]])("that is no object stops the start: %j", (file) => {
    expect(() => config({ file: JSON.stringify(file) })).toThrow(ConfigError);
  });
  test("secrets of a wrong type are not repeated", () => {
    expect(() => config({ file: { hostToken: 918_273 } })).toThrow(/: hostToken must be a text\.$/);
    expect(() => config({ file: { workspaces: [{ path: "/a", opencodePassword: 918_273 }] } })).toThrow(
      /opencodePassword must be a text\.$/,
    );
  });
  test("unknown keys are ignored", () => {
    expect(
      config({ file: { theme: "dark", workspaces: [{ path: "/a", color: 1 }] } }).workspaces,
    ).toHaveLength(1);
  });
  test("a key that poisons prototypes changes nothing", () => {
    const c = config({ file: '{"__proto__": {"readOnly": true, "port": 1}}' });
    expect([c.readOnly, c.port]).toEqual([false, 8787]);
  });
});
