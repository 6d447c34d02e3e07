import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { engineCommand, type Engine, startEngine } from "../support/engine.ts";
import { type ModelStub, startModelStub, stubConfig } from "../support/model-stub.ts";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";
import { openSocket } from "../support/websocket.ts";

const reply = "Said-over-there.";

describe("the engine's own terminal interface, attached through the proxy", () => {
  let stub: ModelStub;
  let engine: Engine;
  let server: TestServer;
  let token: string;

  beforeAll(async () => {
    const workspace = await freshDirectory("attach");
    stub = await startModelStub(null, reply);
    await writeFile(join(workspace, "opencode.json"), JSON.stringify(stubConfig(stub)));
    engine = await startEngine({ directory: workspace, password: "pw" });
    server = await startServer({
      workspace,
      flags: ["--opencode-base-url", engine.url],
      env: { OPENWORK_OPENCODE_USERNAME: "opencode", OPENWORK_OPENCODE_PASSWORD: "pw" },
    });
    const json = { scope: "collaborator" };
    const issued = await server.request<{ token: string }>("POST", "/tokens", { host: true, json });
    ({ token } = issued.json);
  }, 90_000);

  afterAll(async () => {
    await server?.stop();
    await Promise.all([engine?.stop(), stub?.stop()]);
    if (server) await rm(server.workspace, { recursive: true, force: true, maxRetries: 3 });
  });

  test("it paints, holds a conversation, and the log and the audit tell of it", async () => {
    const base = `${server.url}/w/${server.id}/opencode`;
    // The terminal to run it in is one of the engine: that needs no other program.
    const made = await server.request<{ id: string }>("POST", `/w/${server.id}/opencode/pty`, {
      json: {
        command: engineCommand,
        args: ["attach", base],
        env: {
          OPENCODE_SERVER_USERNAME: "opencode",
          OPENCODE_SERVER_PASSWORD: token,
          TERM: "xterm-256color",
        },
      },
    });
    expect(made.status).toBe(200);
    const opened = await openSocket(`${base}/pty/${made.json.id}/connect`, {
      headers: { authorization: `Bearer ${token}` },
    });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    const { socket, inbox } = opened;
    const screen = (): string => stripVTControlCharacters(inbox.text());
    await expect.poll(screen, { timeout: 40_000 }).toContain("Ask anything");
    socket.send("Say it.");
    await expect.poll(screen, { timeout: 20_000 }).toContain("Say it.");
    socket.send("\r");
    await expect.poll(screen, { timeout: 40_000 }).toContain(reply);
    socket.close();
    await server.request("DELETE", `/w/${server.id}/opencode/pty/${made.json.id}`);

    interface Entry {
      target: string;
      actor: { scope: string };
    }
    const told = async (): Promise<Entry[]> => {
      const audit = await server.request<{ items: Entry[] }>("GET", "~/audit");
      return audit.json.items.filter(({ target }) => target.startsWith("POST /session"));
    };
    // The terminal hears of the reply by its events, which may be before the call for it is answered and recorded.
    await expect
      .poll(async () => (await told()).map(({ target }) => target).join("\n"), { timeout: 20_000 })
      .toMatch(/^POST \/session\/\w+\/(?:message|prompt_async)$/m);
    const story = await told();
    expect(story.map(({ target }) => target)).toContain("POST /session");
    expect(story.every(({ actor }) => actor.scope === "collaborator")).toBe(true);
    const log = server.log();
    expect(log).toMatch(/GET \/w\/\w+\/opencode\/config 200 \d+ms \(opencode\)/);
    expect(log).toMatch(/GET \/w\/\w+\/opencode\/(?:global\/)?event 200 /);
    expect(log).not.toMatch(/ (?:401|403|404|5\d\d) \d+ms/);
    expect(log).not.toContain(token);
  }, 150_000);
});
