import { describe, expect, test } from "vitest";
import {
  helpText,
  isVerbose,
  parseFlags,
  settingsMarkdown,
  settingsPath,
  settingsTable,
  mistypedKeyWarnings,
  unknownFlagWarnings,
} from "../../lib/config.ts";

describe("command line", () => {
  test("a leading -- is accepted", () => {
    expect(parseFlags(["--", "--port", "1"]).values).toEqual({ port: "1" });
  });
  test("I92: --flag=value, with further equal signs in the value", () => {
    expect(parseFlags(["--token=a=b", "--opencode-password="]).values).toEqual({
      token: "a=b",
      "opencode-password": "",
    });
  });
  test("the last one wins, workspaces add up", () => {
    const flags = parseFlags(["--port", "1", "--workspace", "a", "--port=2", "--workspace=b"]);
    expect([flags.values, flags.workspaces]).toEqual([{ port: "2" }, ["a", "b"]]);
  });
  test("--log-requests and --no-log-requests: the last one wins", () => {
    expect(parseFlags(["--log-requests", "--no-log-requests"]).values).toEqual({ "log-requests": "false" });
    expect(parseFlags(["--no-log-requests", "--log-requests"]).values).toEqual({ "log-requests": "true" });
    expect(parseFlags(["--no-log-requests=off"]).values).toEqual({ "log-requests": "true" });
    expect(() => parseFlags(["--no-log-requests=maybe"])).toThrow(/^--no-log-requests must be .*"maybe"/);
  });
  test("a value may look like a flag unless it is one", () => {
    expect(parseFlags(["--token", "--x", "--approval-timeout", "-5"]).values).toEqual({
      token: "--x",
      "approval-timeout": "-5",
    });
    const flags = parseFlags(["--token", "--read-only", "--host"]);
    expect(flags.values).toEqual({ "read-only": "true" });
    expect(flags.warnings).toEqual([
      "--token is ignored: its value is missing.",
      "--host is ignored: its value is missing.",
    ]);
  });
  test("I92: an unknown flag and its value are set aside", () => {
    const flags = parseFlags([
      "--new-thing",
      "auto",
      "--newer=x",
      "--port",
      "5",
      "-x",
      "7",
      "--newest",
      "--verbose",
    ]);
    expect(flags.values).toEqual({ port: "5", verbose: "true" });
    expect(flags.unknown).toEqual(["--new-thing", "--newer", "-x", "--newest"]);
    expect(flags.warnings).toEqual([]);
  });
  test("a lone word is told: it looks like a workspace", () => {
    expect(parseFlags(["."]).warnings).toEqual(['"." is ignored: a workspace is given as --workspace PATH.']);
  });
  test("names that objects have by themselves are unknown flags", () => {
    expect(parseFlags(["--__proto__=1", "--constructor", "--toString=2"]).unknown).toHaveLength(3);
  });
  test("--verbose is a switch like the others", () => {
    expect([["--verbose"], ["--verbose=no"], []].map((argv) => isVerbose(parseFlags(argv)))).toEqual([
      true,
      false,
      false,
    ]);
  });
});

test("I92: an unknown flag is told with the nearest name", async () => {
  expect(await unknownFlagWarnings(["--worksapce", "--readonly", "--opencode-bin"])).toEqual([
    "Unknown flag --worksapce is ignored; did you mean --workspace?",
    "Unknown flag --readonly is ignored; did you mean --read-only?",
    expect.stringMatching(/^Unknown flag --opencode-bin is ignored/),
  ]);
  expect(await unknownFlagWarnings(["--zzzzzzzz"])).toEqual(["Unknown flag --zzzzzzzz is ignored."]);
  expect((await unknownFlagWarnings([`--${"x".repeat(100_000)}`]))[0]?.length).toBeLessThan(120);
});

const at = (argv: string[], env: Record<string, string> = {}): unknown =>
  settingsPath({ flags: parseFlags(argv), env, cwd: "/work", home: "/home/u" });

describe("where the settings file is", () => {
  test("flag, then variable, then home", () => {
    const env = { OPENWORK_SERVER_CONFIG: "~/e.json" };
    expect(at(["--config", "f.json"], env)).toEqual({ path: "/work/f.json", named: true });
    expect(at([], env)).toEqual({ path: "/home/u/e.json", named: true });
    expect(at(["--config", ""], { OPENWORK_SERVER_CONFIG: " " })).toEqual({
      path: "/home/u/.config/openwork/server.json",
      named: false,
    });
  });
});

describe("help and table", () => {
  test("help names every flag and every variable", () => {
    for (const { flag, variable } of settingsTable) {
      if (flag) expect(helpText()).toContain(`--${flag.name}`);
      if (variable) expect(helpText()).toContain(variable);
    }
  });
  test("the markdown table has one row of six cells per setting", () => {
    const rows = settingsMarkdown().trimEnd().split("\n").slice(2);
    expect(rows).toHaveLength(settingsTable.length);
    for (const row of rows) expect(row.split(/(?<!\\)\|/)).toHaveLength(8);
  });
});

test("a key of the settings file that looks mistyped is told; what may be another program's is not", async () => {
  const file = { readonly: true, prot: 1, port: 2, "other-program": {}, workspaces: [] };
  expect(await mistypedKeyWarnings(file, "/c/server.json")).toEqual([
    '/c/server.json: the key "readonly" is ignored; did you mean "readOnly"?',
    '/c/server.json: the key "prot" is ignored; did you mean "port"?',
  ]);
  for (const none of [null, undefined, [], ["prot"], 1, "prot", {}]) {
    expect(await mistypedKeyWarnings(none, "f")).toEqual([]);
  }
});
