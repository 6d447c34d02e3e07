import { describe, expect, test } from "vitest";
import { ConfigError } from "../../lib/config.ts";
import { settings, type SettingId } from "../../lib/settings/table.ts";
import { config, resolve, warnings } from "./resolve.ts";

describe("numbers", () => {
  test("--port that is no number is told and ignored: the next source applies", () => {
    const given = { argv: ["--port", "abc"], env: { OPENWORK_PORT: "9000" } };
    expect(config(given).port).toBe(9000);
    expect(warnings(given)).toContain('--port is no number and ignored: "abc"');
  });
  test("an OPENWORK_PORT that is no number means 8787, not the file", () => {
    const given = { env: { OPENWORK_PORT: "abc" }, file: { port: 9000 } };
    expect(config(given).port).toBe(8787);
    expect(warnings(given)).toContain("OPENWORK_PORT");
  });
  test.each([
    [{ argv: ["--port", "99999"] }, /^--port must be a port from 0 to 65535, got 99999/],
    [{ argv: ["--port", "-1"] }, /^--port /],
    [{ env: { OPENWORK_PORT: "80.5" } }, /^OPENWORK_PORT .* got 80\.5/],
    [{ file: { port: 70_000 } }, /^port in the settings file .* got 70000/],
  ])("a port that no socket can have stops the start and names its source: %j", (given, message) => {
    expect(() => config(given)).toThrow(message);
    expect(() => config(given)).toThrow(ConfigError);
  });
  test("I91: port 0 is a value", () => expect(config({ argv: ["--port", "0"] }).port).toBe(0));
  test("a timeout that is no number: flag ignored, variable means 30000", () => {
    const env = { OPENWORK_APPROVAL_TIMEOUT_MS: "5" };
    expect(config({ argv: ["--approval-timeout", "x"], env }).approval.timeoutMs).toBe(5);
    const bad = { env: { OPENWORK_APPROVAL_TIMEOUT_MS: "x" }, file: { approval: { timeoutMs: 5 } } };
    expect(config(bad).approval.timeoutMs).toBe(30_000);
    expect(warnings(bad)).toContain("OPENWORK_APPROVAL_TIMEOUT_MS");
  });
  test.each([
    ["250000001", 250_000_000],
    ["1", 1],
    ["0", 50_000_000],
    ["-5", 50_000_000],
    ["0.5", 50_000_000],
    ["Infinity", 50_000_000],
    ["many", 50_000_000],
  ])("inbox size %s is %i", (text, bytes) => {
    expect(config({ env: { OPENWORK_INBOX_MAX_BYTES: text } }).inbox.maxBytes).toBe(bytes);
  });
  test("I92: --opencode-router-health-port is understood; zero and nonsense mean none", () => {
    expect(config({ argv: ["--opencode-router-health-port", "3005"] }).routerPort).toBe(3005);
    expect(config({ env: { OPENCODE_ROUTER_HEALTH_PORT: "0" } }).routerPort).toBeNull();
    const bad = { argv: ["--opencode-router-health-port=x"], env: { OPENCODE_ROUTER_HEALTH_PORT: "70000" } };
    expect(config(bad).routerPort).toBeNull();
    expect(resolve(bad).warnings).toHaveLength(2);
  });
});

describe("words", () => {
  test("--approval with another word is told and ignored", () => {
    const given = { argv: ["--approval", "AUTO"], env: { OPENWORK_APPROVAL_MODE: "auto" } };
    expect(config(given).approval.mode).toBe("auto");
    expect(warnings(given)).toContain('"AUTO"');
  });
  test.each(["Auto", "auto ", "yes"])("in environment and file %j means manual", (word) => {
    expect(
      config({ env: { OPENWORK_APPROVAL_MODE: word }, file: { approval: { mode: "auto" } } }).approval.mode,
    ).toBe("manual");
    expect(config({ file: { approval: { mode: word } } }).approval.mode).toBe("manual");
  });
  test("the log format flag knows the exact word json alone", () => {
    expect(config({ argv: ["--log-format", "JSON"], env: { OPENWORK_LOG_FORMAT: "json" } }).log.format).toBe(
      "pretty",
    );
  });
  test.each(["json", "JSON", "Json"])("OPENWORK_LOG_FORMAT=%s is JSON", (word) => {
    expect(config({ env: { OPENWORK_LOG_FORMAT: word } }).log.format).toBe("json");
  });
  test("an unknown log format is passed over", () => {
    const given = { env: { OPENWORK_LOG_FORMAT: "xml" }, file: { logFormat: "json" } };
    expect(config(given).log.format).toBe("json");
    expect(warnings(given)).toContain("xml");
  });
  test("sandbox: advertised when a backend is set, unless told otherwise", () => {
    expect(config({ env: { OPENWORK_SANDBOX_BACKEND: "CONTAINER" } }).sandbox).toEqual({
      enabled: true,
      backend: "container",
    });
    const off = { OPENWORK_SANDBOX_BACKEND: "docker", OPENWORK_SANDBOX_ENABLED: "0" };
    expect(config({ env: off }).sandbox).toEqual({ enabled: false, backend: "docker" });
    expect(warnings({ env: { OPENWORK_SANDBOX_BACKEND: "vm" } })).toContain('"vm" counts as none');
  });
  test.each([
    ["host-interactive", { enabled: true, placement: "host-machine", mode: "interactive" }],
    ["client-interactive", { enabled: true, placement: "client-machine", mode: "interactive" }],
    ["netscape", { enabled: false, placement: "external", mode: "none" }],
  ])("browser provider %s", (word, expected) => {
    expect(config({ env: { OPENWORK_BROWSER_PROVIDER: word } }).browser).toEqual(expected);
  });
});

describe("names and paths under which others see the server", () => {
  test.each(["https://a.example", "a.example/x", "*.", "a b", "*a.example", "[::1]"])(
    "%j is no allowed host, and that is told",
    (entry) => {
      const given = { file: { allowedHosts: ["b.example", entry] } };
      expect(warnings(given)).toContain(`The allowed host ${JSON.stringify(entry)} matches none`);
    },
  );
  test.each(["*", "a", "a.example:8443", "*.a.example", "localhost"])("%j is one", (entry) => {
    expect(warnings({ file: { allowedHosts: [entry] } })).toBe("");
  });
  test("no names at all is a value", () => {
    expect(config({ argv: ["--allowed-hosts", ""] }).allowedHosts).toEqual([]);
  });
  test.each(["agent", "/a//b", "/../a", "/a?b", "http://a/b"])("the base path cannot be %j", (value) => {
    expect(() => config({ env: { OPENWORK_BASE_PATH: value } })).toThrow(
      new ConfigError(`OPENWORK_BASE_PATH must be a path such as /agent, got ${JSON.stringify(value)}.`),
    );
  });
});

const switches: [SettingId, (c: ReturnType<typeof config>) => boolean][] = [
  ["readOnly", (c) => c.readOnly],
  ["trustProxy", (c) => c.trustProxy],
  ["logRequests", (c) => c.log.requests],
  ["inbox", (c) => c.inbox.enabled],
  ["outbox", (c) => c.outbox.enabled],
  ["ui", (c) => c.ui.enabled],
  ["sandbox", (c) => c.sandbox.enabled],
];

describe.each(switches)("I94: the switch %s", (id, read) => {
  const { variable = "", flag, key } = settings[id];
  const words: [string, boolean][] = [
    ["1", true],
    ["true", true],
    ["yes", true],
    [" ON ", true],
    ["0", false],
    ["False", false],
    ["no", false],
    ["off", false],
  ];
  test.each(words)("takes %j from every source", (word, expected) => {
    expect(read(config({ env: { [variable]: word } }))).toBe(expected);
    if (flag) expect(read(config({ argv: [`--${flag.name}=${word}`] }))).toBe(expected);
    if (key) expect(read(config({ file: { [key]: word } }))).toBe(expected);
  });
  test("an unknown word stops the start and names its source", () => {
    expect(() => config({ env: { [variable]: "maybe" } })).toThrow(new RegExp(`^${variable} .*got "maybe"`));
    if (flag)
      expect(() => config({ argv: [`--${flag.name}=maybe`] })).toThrow(new RegExp(`^--${flag.name} `));
    if (key)
      expect(() => config({ file: { [key]: "maybe" } })).toThrow(new RegExp(`^${key} in the settings file`));
  });
});

describe("lists", () => {
  test.each([
    ["/a, /b;/c,,", ["/a", "/b", "/c"]],
    ['["/a", " /b ", "", 7, null]', ["/a", "/b"]],
    ["[broken", []],
    ["[]", []],
    ['  ["/x,y;z"]', ["/x,y;z"]],
  ])("OPENWORK_WORKSPACES=%s", (text, paths) => {
    expect(config({ env: { OPENWORK_WORKSPACES: text } }).workspaces.map((w) => w.path)).toEqual(paths);
  });
  test("an array that does not parse is told", () => {
    expect(warnings({ env: { OPENWORK_CORS_ORIGINS: "[" } })).toContain("OPENWORK_CORS_ORIGINS");
    expect(config({ env: { OPENWORK_CORS_ORIGINS: "[" } }).corsOrigins).toEqual([]);
  });
  test('--cors "" switches CORS off', () => expect(config({ argv: ["--cors", ""] }).corsOrigins).toEqual([]));
  test("an origin that can match no page is told", () => {
    expect(warnings({ argv: ["--cors", "https://a.example/,https://b.example"] })).toContain(
      "https://a.example/",
    );
    expect(resolve({ argv: ["--cors", "https://b.example:8080,*"] }).warnings).toEqual([]);
  });
  test("an empty list of protected paths protects nothing", () => {
    expect(config({ file: { protectedPaths: [] } }).protectedPaths).toEqual([]);
  });
});

describe("tokens", () => {
  test("I93: an empty variable is unset, and an empty flag too", () => {
    const c = config({ argv: ["--token", ""], env: { OPENWORK_TOKEN: "", OPENWORK_HOST_TOKEN: " " } });
    expect(c.tokenSource).toEqual({ client: "generated", host: "generated" });
    expect(c.clientToken).not.toBe(c.hostToken);
  });
  test("I93: an empty variable lets the file speak", () => {
    const c = config({ env: { OPENWORK_TOKEN: "" }, file: { token: "filed" } });
    expect([c.clientToken, c.tokenSource.client]).toEqual(["filed", "file"]);
  });
  test("a stray newline around a token is not part of it", () => {
    expect(config({ env: { OPENWORK_TOKEN: "secret\n" } }).clientToken).toBe("secret");
  });
  test("one token for both roles is told", () => {
    expect(warnings({ env: { OPENWORK_TOKEN: "x", OPENWORK_HOST_TOKEN: "x" } })).toContain(
      "every client can answer",
    );
  });
});

/** What is told at start about an engine URL. */
const toldOf = (url: string): string =>
  warnings({ env: { OPENWORK_WORKSPACES: "/ws", OPENWORK_OPENCODE_BASE_URL: url } });

describe("addresses", () => {
  test("an engine URL that is no address is told at start, without the URL, which may hold a password", () => {
    expect(toldOf("not:a-secret@url")).toMatch(/engine URL for \/ws is not an http or https address/);
    expect(toldOf("not:a-secret@url")).not.toContain("secret");
    expect(toldOf("http://127.0.0.1:4096")).not.toContain("engine URL");
  });
});
