import { existsSync, symlinkSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { workspaceId } from "../../lib/hash.ts";
import { type Engine, startEngine } from "../support/engine.ts";
import { freshDirectory, startServer, type Answer, type TestServer } from "../support/server.ts";

const env = { OPENWORK_OPENCODE_USERNAME: "opencode", OPENWORK_OPENCODE_PASSWORD: "pw" };

async function issue(server: TestServer, scope: string): Promise<string> {
  const answer = await server.request<{ token: string }>("POST", "/tokens", {
    host: true,
    json: { scope },
  });
  return answer.json.token;
}

describe("sessions of the real engine in other directories (I06)", () => {
  let engine: Engine;
  let workspace: string;
  let elsewhere: string;
  let foreign: string;
  const made: string[] = [];

  beforeAll(async () => {
    workspace = await freshDirectory("served");
    elsewhere = await freshDirectory("elsewhere");
    made.push(workspace, elsewhere);
    engine = await startEngine({ directory: workspace, password: "pw" });
    foreign = await makeForeign();
  }, 90_000);

  afterAll(async () => {
    await engine?.stop();
    for (const path of made) await rm(path, { recursive: true, force: true, maxRetries: 3 });
  });

  async function makeForeign(): Promise<string> {
    const response = await fetch(`${engine.url}/session?directory=${encodeURIComponent(elsewhere)}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Basic ${btoa("opencode:pw")}` },
      body: JSON.stringify({ title: "private-elsewhere" }),
    });
    return ((await response.json()) as { id: string }).id;
  }

  test.each([
    ["a link", (link: string) => link, []],
    ["a link with a slash behind it", (link: string) => link, ["--opencode-directory", "LINK/"]],
    ["its real path with a slash behind it", () => workspace, ["--opencode-directory", "REAL/"]],
  ] as const)("a workspace that is named by %s shows viewers its own", async (_, path, flags) => {
    const link = join(await freshDirectory("links"), "linked");
    made.push(join(link, ".."));
    symlinkSync(workspace, link);
    const named = path(link);
    const given = flags.map((flag) => flag.replace("LINK", link).replace("REAL", workspace));
    const server = await startServer({
      workspace: null,
      flags: ["--workspace", named, "--opencode-base-url", engine.url, ...given],
      env,
    });
    const base = `/w/${workspaceId(named)}/opencode`;
    const own = (await server.request<{ id: string }>("POST", `${base}/session`, { json: {} })).json.id;
    const token = await issue(server, "viewer");
    for (const list of ["/session", "/api/session", "/experimental/session"]) {
      const { text } = await server.request("GET", base + list, { token });
      expect(text, list).toContain(own);
      expect(text, list).not.toContain("private-elsewhere");
    }
    expect((await server.request("GET", `${base}/session/${own}`, { token })).status).toBe(200);
    const headers = { "x-opencode-directory": workspace };
    expect((await server.request("GET", `${base}/path`, { headers })).json).toMatchObject({
      directory: workspace,
    });
    const refused = await server.request("GET", `${base}/session/${foreign}`, { token });
    expect(refused.json).toMatchObject({ code: "forbidden", details: { reason: "directory" } });
    await server.stop();
  });

  test("collaborators neither read them nor work in them, nor bring them here; owners do", async () => {
    const server = await startServer({ workspace, flags: ["--opencode-base-url", engine.url], env });
    const base = `/w/${server.id}/opencode`;
    const token = await issue(server, "collaborator");
    const command = { agent: "build", command: "echo here > made-by-a-shell" };
    const parts = [{ type: "text", text: "Say it." }];
    const calls: [string, string, unknown][] = [
      ["GET", `/session/${foreign}/message`, undefined],
      ["POST", `/session/${foreign}/shell`, command],
      ["POST", `/Session//${foreign.replace("s", "%73")}/shell/`, command],
      ["POST", `/session/${foreign}/prompt_async`, { parts }],
      ["POST", `/api/session/${foreign}/prompt`, { prompt: { text: "Say it." } }],
      ["PATCH", `/session/${foreign}`, { title: "mine" }],
      ["DELETE", `/session/${foreign}`, undefined],
      [
        "POST",
        "/experimental/control-plane/move-session",
        { sessionID: foreign, destination: { directory: workspace } },
      ],
      ["POST", "/sync/steal", { sessionID: foreign }],
      ["POST", "/experimental/workspace/warp", { id: null, sessionID: foreign }],
      ["POST", "/sync/history", {}],
      ["POST", "/Sync//%68istory/?x=1", {}],
    ];
    const ask = (as: string, [method, path, json]: (typeof calls)[number]): Promise<Answer> =>
      server.request(method, base + path, { token: as, ...(json === undefined ? {} : { json }) });
    const passed: string[] = [];
    for (const call of calls) {
      const { status, json } = await ask(token, call);
      const details = json["details"] as { reason?: string } | undefined;
      if (status !== 403 || details?.reason !== "directory") passed.push(`${status} ${call[0]} ${call[1]}`);
    }
    expect(passed).toEqual([]);
    expect(existsSync(join(elsewhere, "made-by-a-shell"))).toBe(false);
    const { text } = await server.request("GET", "~/audit?limit=20");
    expect(text).toMatch(new RegExp(`POST /session/${foreign}/shell[^}]*"outcome":"denied"`));

    const own = (await ask(token, ["POST", "/session", {}])).json["id"] as string;
    expect((await ask(token, ["POST", `/session/${own}/shell`, command])).status).toBe(200);
    expect(existsSync(join(workspace, "made-by-a-shell"))).toBe(true);
    const owner = await issue(server, "owner");
    expect((await ask(owner, ["GET", `/session/${foreign}`, undefined])).text).toContain("private-elsewhere");
    expect((await ask(owner, ["POST", "/sync/history", {}])).text).toContain("private-elsewhere");
    await server.stop();
  });
});
