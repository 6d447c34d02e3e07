import { execFileSync } from "node:child_process";
import { rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Engine, startEngine } from "../support/engine.ts";
import { type ModelStub, startModelStub, stubConfig } from "../support/model-stub.ts";
import { freshDirectory, startServer, type Answer, type TestServer } from "../support/server.ts";

const canary = /canary-[a-z-]+/g;

/** Secrets in every place of an engine's configuration that may hold one. */
function configWithSecrets(stub: ModelStub): object {
  const config = stubConfig(stub) as { provider: { stub: { options: object } } };
  Object.assign(config.provider.stub.options, {
    apiKey: "canary-key",
    headers: { "x-auth": "canary-header" },
  });
  return {
    ...config,
    mcp: {
      far: {
        type: "remote",
        url: "http://127.0.0.1:9/",
        enabled: false,
        headers: { auth: "canary-mcp-header" },
      },
      near: { type: "local", command: ["x"], enabled: false, environment: { KEY: "canary-mcp-env" } },
    },
    agent: { build: { options: { apiKey: "canary-agent" } } },
  };
}

describe("what viewers meet of the real engine (I04, I05)", () => {
  let stub: ModelStub;
  let engine: Engine;
  let server: TestServer;
  let viewer: string;
  let session: string;

  beforeAll(async () => {
    const workspace = await freshDirectory("viewer");
    const git = (...args: string[]): unknown =>
      execFileSync("git", ["-c", "user.name=n", "-c", "user.email=e@x", ...args], { cwd: workspace });
    stub = await startModelStub(null, "Fine.");
    await writeFile(join(workspace, ".env"), "SECRET=canary-old\n");
    await writeFile(join(workspace, "open.txt"), "for everybody\n");
    await symlink(".env", join(workspace, "innocent.txt"));
    git("init", "-q");
    git("add", "-A");
    git("commit", "-q", "-m", "first");
    await writeFile(join(workspace, ".env"), "SECRET=canary-new\n");
    await writeFile(join(workspace, "opencode.json"), JSON.stringify(configWithSecrets(stub)));
    engine = await startEngine({ directory: workspace, password: "pw" });
    server = await startServer({
      workspace,
      flags: ["--opencode-base-url", engine.url],
      env: { OPENWORK_OPENCODE_USERNAME: "opencode", OPENWORK_OPENCODE_PASSWORD: "pw" },
    });
    const json = { scope: "viewer" };
    viewer = (await server.request<{ token: string }>("POST", "/tokens", { host: true, json })).json.token;
    session = (await server.request<{ id: string }>("POST", proxied("/session"), { json: {} })).json.id;
    const parts = [{ type: "text", text: "Say it." }];
    await server.request("POST", proxied(`/session/${session}/message`), { json: { parts } });
  }, 120_000);

  afterAll(async () => {
    await server?.stop();
    await Promise.all([engine?.stop(), stub?.stop()]);
    if (server) await rm(server.workspace, { recursive: true, force: true, maxRetries: 3 });
  });

  test("sessions of directories that are not served are none of theirs (I06)", async () => {
    const elsewhere = await freshDirectory("viewer-elsewhere");
    const made = await fetch(`${engine.url}/session?directory=${encodeURIComponent(elsewhere)}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Basic ${btoa("opencode:pw")}` },
      body: JSON.stringify({ title: "private-elsewhere" }),
    });
    const foreign = ((await made.json()) as { id: string }).id;
    const told: string[] = [];
    for (const path of [
      "/experimental/session",
      "/api/session",
      "/session",
      `/session/${foreign}`,
      `/session/${foreign}/message`,
      `/Session//${foreign.replace("s", "%73")}/todo`,
      `/api/session/${foreign}/message`,
    ]) {
      const { status, text } = await server.request("GET", proxied(path), { token: viewer });
      if (text.includes("private-elsewhere") || (path.includes(foreign) && status !== 403))
        told.push(`${status} ${path}`);
    }
    expect(told).toEqual([]);
    for (const path of ["/session", "/api/session"]) {
      const { text } = await server.request("GET", proxied(path), { token: viewer });
      expect(text, path).toContain(session);
    }
    const own = await server.request("GET", proxied(`/session/${session}/message`), { token: viewer });
    expect(own.text).toContain("Say it.");
    await rm(elsewhere, { recursive: true, force: true });
  });

  const proxied = (path: string): string => `/w/${server.id}/opencode${path}`;
  const asViewer = (path: string): Promise<Answer> =>
    server.request("GET", proxied(path), { token: viewer, headers: { "accept-encoding": "identity" } });

  test.each([
    ["/file/content?path=.env", "canary-new"],
    ["/file/content?path=./x/../.env", "canary-new"],
    ["/file/content?path=innocent.txt", "canary-new"],
    ["/file/content?path=x/../innocent.txt", "canary-new"],
    ["/api/fs/read/.env", "canary-new"],
    ["/api/fs/read/innocent.txt", "canary-new"],
    ["/find?pattern=SECRET", "canary-new"],
    ["/vcs/diff?mode=git", "canary-old"],
    ["/vcs/diff/raw?mode=git", "canary-old"],
  ])("%s shows a protected file to collaborators alone", async (path, content) => {
    expect((await server.request("GET", proxied(path))).text).toContain(content);
    const refused = await asViewer(path);
    expect(refused.status).toBe(403);
    expect(refused.json).toMatchObject({
      code: "forbidden",
      details: { reason: "protected", required: "collaborator", scope: "viewer" },
    });
    expect(refused.text).not.toMatch(canary);
  });

  test("so does a link that is named by its whole path, and the changes of a session", async () => {
    const whole = encodeURIComponent(join(server.workspace, "innocent.txt"));
    expect((await server.request("GET", proxied(`/file/content?path=${whole}`))).text).toContain(
      "canary-new",
    );
    expect((await asViewer(`/file/content?path=${whole}`)).status).toBe(403);
    expect((await server.request("GET", proxied(`/session/${session}/diff`))).status).toBe(200);
    expect((await asViewer(`/session/${session}/diff`)).status).toBe(403);
    expect((await asViewer(`/session/${session}%2fdiff`)).status).not.toBe(200);
  });

  test("names, open files and the conversation are theirs to see", async () => {
    expect((await asViewer("/file/content?path=open.txt")).text).toContain("for everybody");
    expect((await asViewer("/find/file?query=env")).text).toContain(".env");
    expect((await asViewer("/file?path=.")).text).toContain(".env");
    expect((await asViewer(`/session/${session}/message`)).text).toContain("Fine.");
  });

  test("no read of the engine's description shows them a secret, and lists stay lists", async () => {
    const { paths } = (await (
      await fetch(server.url + proxied("/doc"), { headers: { authorization: `Bearer ${viewer}` } })
    ).json()) as { paths: Record<string, Record<string, unknown>> };
    const values: Readonly<Record<string, string>> = { sessionID: session, providerID: "stub" };
    const shown: string[] = [];
    let asked = 0;
    const seen = new Set<string>();
    for (const [path, operations] of Object.entries(paths)) {
      // Streams never end, and the terminal interface's next request is waited for.
      if (!("get" in operations) || /event|\/tui\//.test(path)) continue;
      const filled = path
        .replace("*", ".env")
        .replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "x");
      for (const query of ["", "?pattern=SECRET&path=.env&mode=git&provider=stub&model=stub&query=env"]) {
        const { text } = await asViewer(filled + query);
        shown.push(...(text.match(canary) ?? []).map((found) => `${filled}${query}: ${found}`));
        const whole = await server.request("GET", proxied(filled + query));
        for (const found of whole.text.match(canary) ?? []) seen.add(found);
        if (whole.text.startsWith("[") && text !== "" && !text.includes('"forbidden"'))
          expect(text[0]).toBe("[");
        asked += 1;
      }
    }
    expect(shown).toEqual([]);
    expect(asked).toBeGreaterThan(100);
    // Otherwise nothing was there to be hidden.
    expect([...seen].toSorted()).toEqual(
      ["agent", "header", "key", "mcp-env", "mcp-header", "new", "old"].map((name) => `canary-${name}`),
    );
  }, 60_000);

  test("where no name is protected they may search", async () => {
    const open = await startServer({
      workspace: server.workspace,
      flags: ["--opencode-base-url", engine.url],
      env: {
        OPENWORK_OPENCODE_USERNAME: "opencode",
        OPENWORK_OPENCODE_PASSWORD: "pw",
        OPENWORK_PROTECTED_PATHS: "[]",
      },
    });
    const json = { scope: "viewer" };
    const { token } = (await open.request<{ token: string }>("POST", "/tokens", { host: true, json })).json;
    const answer = await open.request("GET", "/opencode/find?pattern=SECRET", { token });
    expect(answer.text).toContain("canary-new");
    await open.stop();
  });
});
