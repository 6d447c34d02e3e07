import { describe, expect, test } from "vitest";
import { logFormatter } from "../../lib/log.ts";
import { serverUrl, startLines, verboseLines } from "../../lib/start-lines.ts";
import { config } from "./resolve.ts";

const identity = { runId: "run-7", version: "1.2.3", hostName: "box", pid: 42 };

describe("log records", () => {
  const json = logFormatter("json", identity);
  test.each([
    ["INFO", 9],
    ["WARN", 13],
    ["ERROR", 17],
  ] as const)("I97: JSON of %s has OpenTelemetry's shape and the one run id", (level, severityNumber) => {
    const line = json({
      level,
      body: "GET / 200 1ms",
      attributes: { status: 200, auth: "none" },
      time: 1_700_000_000_123.9,
    });
    expect(line.endsWith("}\n")).toBe(true);
    expect(JSON.parse(line)).toEqual({
      timeUnixNano: "1700000000123000000",
      severityText: level,
      severityNumber,
      body: "GET / 200 1ms",
      attributes: { "run.id": "run-7", "process.pid": 42, status: 200, auth: "none" },
      resource: {
        "service.name": "openwork-server",
        "service.version": "1.2.3",
        "service.instance.id": "run-7",
        "host.name": "box",
      },
    });
  });
  test("what JSON cannot hold does not make logging fail, and nothing overrides the run", () => {
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    const attributes = { loop, big: 1n, gone: undefined, "run.id": "forged", call: () => 1 };
    expect(JSON.parse(json({ level: "INFO", body: "x", attributes, time: 0 })).attributes).toEqual({
      "run.id": "run-7",
      "process.pid": 42,
      loop: "[object Object]",
      big: "1",
      call: null,
    });
  });
  test("one line each: control characters cannot forge lines or drive a terminal", () => {
    const pretty = logFormatter("pretty", identity);
    expect(pretty({ level: "INFO", body: "a\nb\u001b[2J", time: 0 })).toBe("a\\u000ab\\u001b[2J\n");
    expect(
      pretty({
        level: "ERROR",
        body: "x",
        attributes: { "exception.stacktrace": "E: y\n  at z\u001b" },
        time: 0,
      }),
    ).toBe("x\nE: y\n  at z\\u001b\n");
    expect(json({ level: "INFO", body: "a\nb", time: 0 }).split("\n")).toHaveLength(2);
  });
});

describe("start lines", () => {
  const noTokens = { OPENWORK_TOKEN: undefined, OPENWORK_HOST_TOKEN: undefined };
  const bound = { host: "127.0.0.1", port: 5 };
  test("configured tokens are not printed, nor the word", () => {
    const lines = startLines(config({ argv: ["--workspace", "/a"] }), bound);
    expect(lines).toEqual([
      "OpenWork server listening on http://127.0.0.1:5",
      "Workspaces: 1",
      expect.stringMatching(/^ {2}\/a \(ws_[0-9a-f]{12}\)$/),
      "Approve writes in a browser: http://127.0.0.1:5/ui",
      "Try next: curl http://127.0.0.1:5/health",
    ]);
    expect(lines.join("\n")).not.toMatch(/token/);
  });
  test("generated tokens are printed, each by itself", () => {
    const c = config({ env: { OPENWORK_HOST_TOKEN: undefined } });
    const lines = startLines(c, bound);
    expect(lines).toContain(`Host token: ${c.hostToken}`);
    expect(lines.join("\n")).not.toContain("Client token");
    const both = config({ env: noTokens });
    expect(startLines(both, bound).at(-1)).toContain(`Bearer ${both.clientToken}`);
  });
  test("without a workspace it is said that nothing is served, how to change that, and why not the current directory", () => {
    const nothing = expect.stringMatching(
      /^No workspace is configured, so nothing is served: start with --workspace PATH, .*\/home\/u\/\.config\/openwork\/server\.json\.$/,
    );
    expect(startLines(config(), bound).slice(1, 3)).toEqual([
      nothing,
      "The current directory is served by itself only where a token is generated; both are configured.",
    ]);
    const unnamed = config({ cwd: "/", env: { OPENWORK_HOST_TOKEN: undefined } });
    const lines = startLines(unnamed, bound);
    expect(lines).toContainEqual(nothing);
    expect(lines.join("\n")).not.toContain("both are configured");
  });
  test("the next step can be connected to, whatever is bound", () => {
    expect(startLines(config(), { host: "0.0.0.0", port: 1 }).at(-1)).toContain("http://127.0.0.1:1/");
    expect(startLines(config(), { host: "::", port: 1 }).at(-1)).toContain("http://[::1]:1/");
    expect(serverUrl("::1", 2)).toBe("http://[::1]:2");
  });
  test("the page is named where a browser of this machine finds it, unless it is switched off", () => {
    const wide = { host: "0.0.0.0", port: 1 };
    const page = (...argv: string[]): string | undefined =>
      startLines(config({ argv }), wide).find((line) => line.endsWith("/ui"));
    expect(page()).toBe("Approve writes in a browser: http://127.0.0.1:1/ui");
    expect(page("--base-path", "/agent/")).toBe("Approve writes in a browser: http://127.0.0.1:1/agent/ui");
    expect(page("--approval", "auto")).toBe("See its status in a browser: http://127.0.0.1:1/ui");
    expect(page("--read-only"), "no write waits").toBe("See its status in a browser: http://127.0.0.1:1/ui");
    const off = startLines(config({ env: { OPENWORK_TOY_UI: "off" } }), bound);
    expect(off.join("\n")).not.toContain("browser");
  });
  test("--verbose tells the settings in force", () => {
    expect(verboseLines(config({ argv: ["--workspace", "/a", "--approval", "auto"] }))).toEqual([
      "Config path: /home/u/.config/openwork/server.json",
      "Read-only: false",
      "Approval: auto (30000ms)",
      "CORS origins: *",
      "Authorized roots: /a",
      "Token source: env",
      "Host token source: env",
    ]);
  });
});
