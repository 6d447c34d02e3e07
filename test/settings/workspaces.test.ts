import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { config, resolve, warnings, type Given } from "./resolve.ts";

const idOf = (path: string): string => `ws_${createHash("sha256").update(path).digest("hex").slice(0, 12)}`;
const paths = (given: Given): string[] => config(given).workspaces.map((workspace) => workspace.path);

describe("paths", () => {
  test("I90: a relative --workspace and OPENWORK_WORKSPACES start at the current directory", () => {
    expect(paths({ argv: ["--workspace", "sub/../a"] })).toEqual(["/work/a"]);
    expect(paths({ argv: ["--workspace", "."] })).toEqual(["/work"]);
    expect(paths({ env: { OPENWORK_WORKSPACES: "b,../c" } })).toEqual(["/work/b", "/c"]);
  });
  test("I90: those of server.json start at its directory", () => {
    expect(paths({ file: { workspaces: [{ path: "../../ws" }, { path: "." }] } })).toEqual([
      "/home/u/ws",
      "/home/u/.config/openwork",
    ]);
  });
  test("I90: ~ is the home directory wherever a path is given", () => {
    expect(paths({ argv: ["--workspace=~/a", "--workspace", "~"] })).toEqual(["/home/u/a", "/home/u"]);
    const c = config({
      env: { OPENWORK_WORKSPACES: "~/v", OPENWORK_TOKEN_STORE: "~/t.json", OPENWORK_DATA_DIR: "~" },
      file: { authorizedRoots: ["~/r"] },
    });
    expect([c.workspaces[0]?.path, c.tokenStorePath, c.dataDir, c.authorizedRoots]).toEqual([
      "/home/u/v",
      "/home/u/t.json",
      "/home/u",
      ["/home/u/r"],
    ]);
    expect(paths({ argv: ["--workspace", "~other", "--workspace", "a~"] })).toEqual([
      "/work/~other",
      "/work/a~",
    ]);
  });
  test("resolution is lexical: no trailing, doubled or dot parts", () => {
    expect(paths({ argv: ["--workspace", "//a//b/./c/../d/", "--workspace", "/../.."] })).toEqual([
      "/a/b/d",
      "/",
    ]);
  });
  test("flags replace the variable, the variable replaces the file", () => {
    const file = { workspaces: [{ path: "/f" }] };
    const env = { OPENWORK_WORKSPACES: "/e" };
    expect(paths({ argv: ["--workspace", "/a"], env, file })).toEqual(["/a"]);
    expect(paths({ env, file })).toEqual(["/e"]);
    expect(paths({ argv: ["--workspace", ""], file })).toEqual(["/f"]);
  });
  test("an entry without path stops the start and is named", () => {
    expect(() => paths({ file: { workspaces: [{ path: "/a" }, { name: "x" }] } })).toThrow(
      /workspaces\.1\.path is missing/,
    );
    expect(() => paths({ file: { workspaces: [{ path: " " }] } })).toThrow(
      /workspaces\.0\.path must not be blank/,
    );
  });
  test("on Windows a directory has one spelling", () => {
    const windows = {
      cwd: "C:\\Users\\u\\proj",
      home: "C:\\Users\\u",
      configPath: "C:\\Users\\u\\.config\\openwork\\server.json",
    };
    expect(paths({ ...windows, argv: ["--workspace", "c:/x/y/", "--workspace", "C:\\x\\y"] })).toEqual([
      "C:\\x\\y",
    ]);
    expect(paths({ ...windows, argv: ["--workspace", ".", "--workspace", "~\\w"] })).toEqual([
      "C:\\Users\\u\\proj",
      "C:\\Users\\u\\w",
    ]);
    expect(paths({ ...windows, argv: ["--workspace", "D:\\", "--workspace", "\\root"] })).toEqual([
      "D:\\",
      "C:\\root",
    ]);
    expect(config(windows).tokenStorePath).toBe("C:\\Users\\u\\.config\\openwork\\tokens.json");
    const file = { workspaces: [{ path: "D:\\work\\app" }], authorizedRoots: ["d:/work"] };
    expect(warnings({ ...windows, file })).not.toContain("refused");
  });
});

const realPath = (path: string): string | null => (path === "/gone" ? null : path.replace("/link", "/real"));

describe("I95: one workspace per real directory", () => {
  test("duplicates and two spellings collapse to the first", () => {
    const given = { argv: ["--workspace", "/a", "--workspace", "/a/", "--workspace", "/b/../a"], realPath };
    expect(paths(given)).toEqual(["/a"]);
    expect(resolve(given).warnings).toHaveLength(2);
  });
  test("a link and its target are one, and the id is that of the path given first", () => {
    const given = { argv: ["--workspace", "/link/x", "--workspace", "/real/x"], realPath };
    expect(config(given).workspaces).toMatchObject([{ path: "/link/x", id: idOf("/link/x") }]);
    expect(warnings(given)).toContain("/real/x is the same directory as /link/x");
    expect(paths({ argv: ["--workspace", "/real/x", "--workspace", "/link/x"], realPath })).toEqual([
      "/real/x",
    ]);
  });
  test("a directory that is not there is kept", () => {
    expect(paths({ argv: ["--workspace", "/gone"], realPath })).toEqual(["/gone"]);
  });
  test("remote workspaces are not looked up on this disk", () => {
    const file = { workspaces: [{ path: "/gone", workspaceType: "remote" }] };
    expect(warnings({ file, realPath })).toBe("");
  });
});

describe("the current directory is served when nobody names a workspace", () => {
  const noTokens = { OPENWORK_TOKEN: undefined, OPENWORK_HOST_TOKEN: undefined };
  test("by a person: a token was generated", () => {
    expect(paths({ env: noTokens })).toEqual(["/work"]);
    expect(paths({ env: { OPENWORK_TOKEN: undefined } })).toEqual(["/work"]);
    expect(config({ env: noTokens }).authorizedRoots).toEqual(["/work"]);
  });
  test("not by a launcher, which sets both tokens [core-05]", () => {
    expect(paths({})).toEqual([]);
    expect(paths({ env: noTokens, argv: ["--token", "a", "--host-token", "b"] })).toEqual([]);
    expect(paths({ env: noTokens, file: { token: "a", hostToken: "b" } })).toEqual([]);
  });
  test("not when a source names an empty list", () => {
    expect(paths({ env: noTokens, file: { workspaces: [] } })).toEqual([]);
    expect(paths({ env: { ...noTokens, OPENWORK_WORKSPACES: "[]" } })).toEqual([]);
  });
  test("never the root of the file system", () => {
    expect(paths({ env: noTokens, cwd: "/" })).toEqual([]);
    expect(paths({ env: noTokens, cwd: "C:\\", home: "C:\\u" })).toEqual([]);
  });
});

describe("authorised roots", () => {
  const workspaces = [{ path: "/a" }, { path: "/b" }];
  test("absent, they are the workspaces", () => {
    expect(config({ file: { workspaces } }).authorizedRoots).toEqual(["/a", "/b"]);
  });
  test("I10: an empty list authorises nothing", () => {
    expect(config({ file: { workspaces, authorizedRoots: [] } }).authorizedRoots).toEqual([]);
    const blank = { file: { workspaces, authorizedRoots: [" "] } };
    expect(config(blank).authorizedRoots).toEqual([]);
    expect(warnings(blank)).toContain("authorizedRoots");
  });
  test("what they refuse is told, in one line when that is everything", () => {
    expect(warnings({ file: { workspaces, authorizedRoots: [] } })).toBe(
      "authorizedRoots in the settings file is empty: every workspace is refused. List their directories, or remove the key to serve all.",
    );
    expect(warnings({ file: { workspaces, authorizedRoots: ["/a"] } })).toBe(
      "Workspace /b lies outside authorizedRoots of the settings file and is refused.",
    );
    expect(warnings({ file: { workspaces, authorizedRoots: ["/"] } })).toBe("");
    expect(warnings({ file: { authorizedRoots: [] } })).toBe("");
  });
});

/** What one workspace of the file comes to: its directory as told, and as used. */
function directories(entry: object): unknown {
  const [w] = config({ file: { workspaces: [{ path: "/a", ...entry }] } }).workspaces;
  return [w?.directory, w?.opencode.directory];
}

describe("engine", () => {
  const shared = [
    "--opencode-base-url",
    "http://e:1",
    "--opencode-username",
    "u",
    "--opencode-password",
    "p",
  ];
  test("shared settings fill in what a workspace has not, part by part", () => {
    const workspaces = [
      { path: "/a", baseUrl: "http://own", opencodeUsername: "own" },
      { path: "/b", baseUrl: " ", opencodePassword: "own" },
    ];
    expect(config({ argv: shared, file: { workspaces } }).workspaces).toMatchObject([
      {
        baseUrl: "http://own",
        opencode: { baseUrl: "http://own", directory: "/a", username: "own", password: "p" },
      },
      {
        baseUrl: "http://e:1",
        opencode: { baseUrl: "http://e:1", directory: "/b", username: "u", password: "own" },
      },
    ]);
  });
  test("user and password are taken to the letter wherever they come from", () => {
    const own = { opencodeUsername: " u", opencodePassword: "p " };
    const expected = { opencode: { username: " u", password: "p " } };
    const variables = { OPENWORK_OPENCODE_USERNAME: " u", OPENWORK_OPENCODE_PASSWORD: "p " };
    const workspaces = [{ path: "/a" }];
    for (const given of [
      { file: { workspaces: [{ path: "/a", ...own }] } },
      { file: { workspaces, ...own } },
      { file: { workspaces }, env: variables },
      { file: { workspaces }, argv: ["--opencode-username", " u", "--opencode-password", "p "] },
    ]) {
      expect(config(given).workspaces).toMatchObject([expected]);
    }
  });
  test("the shared directory counts only for a single workspace", () => {
    const argv = ["--opencode-directory", "/d"];
    expect(config({ argv: [...argv, "--workspace", "/a"] }).workspaces[0]).toMatchObject({
      directory: "/d",
      opencode: { directory: "/d" },
    });
    const two = config({ argv: [...argv, "--workspace", "/a", "--workspace", "/b"] }).workspaces;
    expect(two.map((w) => [w.directory, w.opencode.directory])).toEqual([
      [undefined, "/a"],
      [undefined, "/b"],
    ]);
  });
  test("a directory is told as configured and used trimmed; a blank one counts for nothing", () => {
    expect(directories({ directory: " /d " })).toEqual([" /d ", "/d"]);
    expect(directories({ directory: "  " })).toEqual(["  ", "/a"]);
    expect(directories({ workspaceType: "remote" })).toEqual([undefined, undefined]);
    expect(directories({ workspaceType: "remote", directory: "/r" })).toEqual(["/r", "/r"]);
  });
  test("absent parts are absent, not undefined", () => {
    const [w] = config({ argv: ["--workspace", "/a"] }).workspaces;
    expect(w).toStrictEqual({
      id: idOf("/a"),
      name: "a",
      path: "/a",
      workspaceType: "local",
      opencode: { directory: "/a" },
    });
  });
  test("a name is the given one, else the last part of the path", () => {
    const workspaces = [{ path: "/x/a", name: "Mine" }, { path: "/x/b", name: "" }, { path: "/" }];
    expect(config({ file: { workspaces } }).workspaces.map((w) => w.name)).toEqual(["Mine", "b", "/"]);
  });
});
