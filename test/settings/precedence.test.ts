import { describe, expect, test } from "vitest";
import { settings, settingsTable, type SettingId } from "../../lib/settings/table.ts";
import type { ServerConfig } from "../../lib/host.ts";
import { config, type Given } from "./resolve.ts";

/** Per setting: how its value is read off the config, and for each source what is given and what must come of it. */
interface Row {
  read: (config: ServerConfig) => unknown;
  flag?: readonly [given: string[], expected: unknown];
  env?: readonly [given: string, expected: unknown];
  file?: readonly [given: object, expected: unknown];
  fallback: unknown;
}

const rows: Partial<Record<SettingId, Row>> = {
  host: {
    read: (c) => c.host,
    flag: [["--host", "0.0.0.0"], "0.0.0.0"],
    env: ["::1", "::1"],
    file: [{ host: "10.0.0.1" }, "10.0.0.1"],
    fallback: "127.0.0.1",
  },
  port: {
    read: (c) => c.port,
    flag: [["--port", "1"], 1],
    env: ["2", 2],
    file: [{ port: 3 }, 3],
    fallback: 8787,
  },
  token: {
    read: (c) => [c.clientToken, c.tokenSource.client],
    flag: [
      ["--token", "a"],
      ["a", "cli"],
    ],
    env: ["b", ["b", "env"]],
    file: [{ token: "c" }, ["c", "file"]],
    fallback: [expect.stringMatching(/^random-/), "generated"],
  },
  hostToken: {
    read: (c) => [c.hostToken, c.tokenSource.host],
    flag: [
      ["--host-token", "a"],
      ["a", "cli"],
    ],
    env: ["b", ["b", "env"]],
    file: [{ hostToken: "c" }, ["c", "file"]],
    fallback: [expect.stringMatching(/^random-/), "generated"],
  },
  approvalMode: {
    read: (c) => c.approval.mode,
    flag: [["--approval", "auto"], "auto"],
    env: ["manual", "manual"],
    file: [{ approval: { mode: "auto" } }, "auto"],
    fallback: "manual",
  },
  approvalTimeout: {
    read: (c) => c.approval.timeoutMs,
    flag: [["--approval-timeout", "-1"], -1],
    env: ["77.5", 77.5],
    file: [{ approval: { timeoutMs: 3 } }, 3],
    fallback: 30_000,
  },
  workspaces: {
    read: (c) => c.workspaces.map((w) => w.path),
    flag: [
      ["--workspace", "/a", "--workspace", "/b"],
      ["/a", "/b"],
    ],
    env: ["/c;/d", ["/c", "/d"]],
    file: [{ workspaces: [{ path: "/e" }] }, ["/e"]],
    fallback: [],
  },
  authorizedRoots: {
    read: (c) => c.authorizedRoots,
    file: [{ authorizedRoots: ["/r", "sub"] }, ["/r", "/home/u/.config/openwork/sub"]],
    fallback: [],
  },
  cors: {
    read: (c) => c.corsOrigins,
    flag: [
      ["--cors", "http://a,http://b"],
      ["http://a", "http://b"],
    ],
    env: ["http://c", ["http://c"]],
    file: [{ corsOrigins: ["http://d"] }, ["http://d"]],
    fallback: ["*"],
  },
  allowedHosts: {
    read: (c) => c.allowedHosts,
    flag: [
      ["--allowed-hosts", "a.example,*.b.example"],
      ["a.example", "*.b.example"],
    ],
    env: ["c.example:8443", ["c.example:8443"]],
    file: [{ allowedHosts: ["*"] }, ["*"]],
    fallback: null,
  },
  trustProxy: {
    read: (c) => c.trustProxy,
    flag: [["--trust-proxy"], true],
    env: ["no", false],
    file: [{ trustProxy: true }, true],
    fallback: false,
  },
  basePath: {
    read: (c) => c.basePath,
    flag: [["--base-path", "/agent/"], "/agent"],
    env: ["/a/b", "/a/b"],
    file: [{ basePath: "/" }, ""],
    fallback: "",
  },
  readOnly: {
    read: (c) => c.readOnly,
    flag: [["--read-only"], true],
    env: ["no", false],
    file: [{ readOnly: true }, true],
    fallback: false,
  },
  protectedPaths: {
    read: (c) => c.protectedPaths,
    env: ["*.secret", ["*.secret"]],
    file: [{ protectedPaths: ["a", "b"] }, ["a", "b"]],
    fallback: [".env", ".env.*", "*.pem", "*.key", "id_rsa*", "id_ed25519*", ".netrc", ".npmrc"],
  },
  routerPort: {
    read: (c) => c.routerPort,
    flag: [["--opencode-router-health-port", "1"], 1],
    env: ["2", 2],
    fallback: null,
  },
  engineStart: {
    read: (c) => c.engine.start,
    flag: [["--engine"], true],
    env: ["on", true],
    file: [{ engine: "yes" }, true],
    fallback: false,
  },
  engineTimeout: { read: (c) => c.engine.timeoutMs, env: ["1500.9", 1500], fallback: 1_800_000 },
  logFormat: {
    read: (c) => c.log.format,
    flag: [["--log-format", "json"], "json"],
    env: ["Human", "pretty"],
    file: [{ logFormat: "JSON" }, "json"],
    fallback: "pretty",
  },
  logRequests: {
    read: (c) => c.log.requests,
    flag: [["--no-log-requests"], false],
    env: ["on", true],
    file: [{ logRequests: false }, false],
    fallback: true,
  },
  runId: { read: (c) => c.log.runId, env: ["run-7", "run-7"], fallback: expect.stringMatching(/^random-/) },
  tokenStore: {
    read: (c) => c.tokenStorePath,
    env: ["store/t.json", "/work/store/t.json"],
    fallback: "/home/u/.config/openwork/tokens.json",
  },
  dataDir: {
    read: (c) => c.dataDir,
    env: ["~/data", "/home/u/data"],
    fallback: "/home/u/.openwork/openwork-server",
  },
  inbox: { read: (c) => c.inbox.enabled, env: ["off", false], fallback: true },
  inboxMaxBytes: { read: (c) => c.inbox.maxBytes, env: ["1000.9", 1000], fallback: 50_000_000 },
  outbox: { read: (c) => c.outbox.enabled, env: ["0", false], fallback: true },
  ui: { read: (c) => c.ui.enabled, env: ["NO", false], fallback: true },
  sandbox: { read: (c) => c.sandbox.enabled, env: ["yes", true], fallback: false },
  sandboxBackend: {
    read: (c) => c.sandbox,
    env: [" Docker ", { enabled: true, backend: "docker" }],
    fallback: { enabled: false, backend: "none" },
  },
  browser: {
    read: (c) => c.browser,
    env: ["Sandbox-Headless", { enabled: true, placement: "in-sandbox", mode: "headless" }],
    fallback: { enabled: false, placement: "external", mode: "none" },
  },
};

/** The same four for an engine setting, read off a workspace without its own. */
const engine = (part: "baseUrl" | "directory" | "username" | "password", fallback: unknown): Row["read"] => {
  return (c) => c.workspaces[0]?.opencode[part] ?? fallback;
};
rows.engineUrl = {
  read: engine("baseUrl", null),
  flag: [["--opencode-base-url", "http://f"], "http://f"],
  env: ["http://e", "http://e"],
  fallback: null,
};
rows.engineDirectory = {
  read: engine("directory", null),
  flag: [["--opencode-directory", "/f"], "/f"],
  env: ["~/e", "/home/u/e"],
  fallback: "/w",
};
rows.engineUser = {
  read: engine("username", null),
  flag: [["--opencode-username", "f"], "f"],
  env: ["e", "e"],
  file: [{ opencodeUsername: "c" }, "c"],
  fallback: null,
};
rows.enginePassword = {
  read: engine("password", null),
  flag: [["--opencode-password", "f"], "f"],
  env: ["e", "e"],
  file: [{ opencodePassword: "c" }, "c"],
  fallback: null,
};

const elsewhere = new Set<SettingId>(["config", "verbose"]);

describe.each(Object.keys(settings) as SettingId[])(
  "%s: flag, then environment, then file, then default",
  (id) => {
    const row = rows[id];
    const setting = settings[id];
    if (elsewhere.has(id)) {
      test("has its own test", () => expect(row).toBeUndefined());
      return;
    }
    if (!row) throw new Error(`no precedence row for ${id}`);
    const { read, flag, env, file, fallback } = row;
    const base: Given = id.startsWith("engine") ? { argv: ["--workspace", "/w"] } : {};
    // For tokens the helper sets both variables; here they must be absent.
    const bare: Record<string, string | undefined> =
      id === "token"
        ? { OPENWORK_TOKEN: undefined }
        : id === "hostToken"
          ? { OPENWORK_HOST_TOKEN: undefined }
          : {};
    const of = (flags: string[], variable: string | undefined, settingsFile: object | null): unknown =>
      read(
        config({
          argv: [...(base.argv ?? []), ...flags],
          env: {
            ...bare,
            ...(variable !== undefined && setting.variable && { [setting.variable]: variable }),
          },
          file: settingsFile,
          ...(id === "token" || id === "hostToken" ? { cwd: "/" } : {}),
        }),
      );

    test("the table names the sources that the reader knows", () => {
      expect([!!setting.flag, !!setting.variable, !!setting.key]).toEqual([!!flag, !!env, !!file]);
    });
    test("default", () => expect(of([], undefined, null)).toEqual(fallback));
    test("a blank variable is unset", () => expect(of([], "  ", null)).toEqual(fallback));
    test("null in the file is absent", () => {
      const [outer = "", inner] = (setting.key ?? "x").split(".");
      expect(of([], undefined, { [outer]: inner ? { [inner]: null } : null })).toEqual(fallback);
    });
    if (file) test("file", () => expect(of([], undefined, file[0])).toEqual(file[1]));
    if (env) test("environment over file", () => expect(of([], env[0], file?.[0] ?? null)).toEqual(env[1]));
    if (flag) {
      test("flag over all", () => expect(of(flag[0], env?.[0], file?.[0] ?? null)).toEqual(flag[1]));
      const [name = "", value] = flag[0];
      if (flag[0].length === 2) {
        test("I92: --flag=value is the same", () =>
          expect(of([`${name}=${value}`], env?.[0], null)).toEqual(flag[1]));
        test("the last one wins", () => {
          if (id === "workspaces") return;
          expect(of([name, "1", name, String(value)], env?.[0], null)).toEqual(flag[1]);
        });
      }
    }
  },
);

test("the settings are frozen through and through", () => {
  const c = config({ argv: ["--workspace", "/w"] });
  expect(Object.isFrozen(c) && Object.isFrozen(c.workspaces[0]?.opencode) && Object.isFrozen(c.log)).toBe(
    true,
  );
});

test("every setting has a sentence and a default", () => {
  for (const row of settingsTable) {
    expect(row.about).toMatch(/^[A-Za-z][^\n]*\.$/);
    expect(row.default).not.toBe("");
  }
});
