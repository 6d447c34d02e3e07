import { writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { engineCommand } from "../support/engine.ts";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";

/** Breaks off in the third line. */
const broken = '{\n  "provider": { "x": { "options": { "apiKey": "a-very-secret-key" } } },\n  "model": ';

describe("an engine that cannot read its configuration", () => {
  let server: TestServer;
  let viewer: string;

  beforeAll(async () => {
    const workspace = await freshDirectory("broken-config");
    await writeFile(join(workspace, "opencode.json"), broken);
    server = await startServer({
      workspace,
      flags: ["--engine"],
      env: {
        PATH: `${dirname(engineCommand)}${delimiter}${process.env["PATH"] ?? ""}`,
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_PURE: "1",
        npm_config_registry: "http://127.0.0.1:9",
      },
    });
    const made = await server.request<{ token: string }>("POST", "/tokens", {
      host: true,
      json: { scope: "viewer" },
    });
    viewer = made.json.token;
    const answers = async (): Promise<void> => {
      const { status } = await server.request("GET", "/opencode/global/health", { token: viewer });
      if (status !== 200) throw new Error(`The engine answered ${status}`);
    };
    await vi.waitFor(answers, { timeout: 80_000, interval: 300 });
  }, 100_000);
  afterAll(async () => void (await server?.stop("SIGKILL")));

  test("tells viewers where it is broken, and nothing of what stands there (I04)", async () => {
    for (const path of ["session", "path", "config", "agent", "find/file?query=a"]) {
      const { status, text } = await server.request("GET", `/opencode/${path}`, { token: viewer });
      expect(status, path).toBe(400);
      expect(text, path).not.toContain("a-very-secret-key");
      expect(JSON.parse(text), path).toMatchObject({
        name: "ConfigJsonError",
        data: { path: join(server.workspace, "opencode.json"), message: expect.stringContaining("line 3") },
      });
    }
    // Whoever may read the file is shown what the engine says.
    const { text } = await server.request("GET", "/opencode/session");
    expect(text).toContain("a-very-secret-key");
  });

  test("is not called usable: the status names the file and the place", async () => {
    const { json, text } = await server.request("GET", "~/engine", { token: viewer });
    expect(json).toMatchObject({ ok: false, reachable: true, problem: { code: "misconfigured" } });
    expect(text).toContain(join(server.workspace, "opencode.json"));
    expect(text).toContain("line 3");
    expect(text).not.toContain("a-very-secret-key");
  });

  test("is usable after a reload once the file is right, and not before", async () => {
    const still = await server.request("POST", "~/engine/reload");
    expect(still.status).toBe(502);
    expect(still.json).toMatchObject({ code: "opencode_reload_failed", details: { status: 400 } });
    expect(still.json["message"]).toMatch(/opencode\.json \(ConfigJsonError, \w+ at line 3/);

    await writeFile(join(server.workspace, "opencode.json"), "{}");
    const reloaded = await server.request("POST", "~/engine/reload");
    expect(reloaded.text).toContain('"ok":true');
    expect((await server.request("GET", "/opencode/session")).status).toBe(200);
    expect((await server.request("GET", "~/engine")).json).toMatchObject({ ok: true, problem: null });
  }, 90_000);
});
