import { afterEach, describe, expect, test } from "vitest";
import { configOf, startMemoryServer, workspaceAt } from "../support/memory-host.ts";

const json = { "content-type": "application/json" };
const asHost = { host: true, token: null } as const;

let server: Awaited<ReturnType<typeof startMemoryServer>>;

async function start(answer: () => Response): Promise<void> {
  const workspaces = [workspaceAt("/ws", { opencode: { baseUrl: "http://engine:1" } })];
  const config = configOf({ workspaces, approval: { mode: "auto", timeoutMs: 1000 } });
  server = await startMemoryServer(config, { fetch: () => Promise.resolve(answer()) });
}

async function viewer(): Promise<string> {
  return (await server.client.post("/tokens", { scope: "viewer" }, asHost)).json.token as string;
}

function brokenOff(): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"a":'));
    },
    pull(controller) {
      controller.error(Object.assign(new Error("terminated"), { code: "ECONNRESET" }));
    },
  });
  return new Response(body, { headers: json });
}

afterEach(() => server?.handler.close());

describe("an engine that answers nonsense is no failure of this server", () => {
  test.each([
    ["no JSON", () => new Response('{"apiKey":"sk-secret"', { headers: json })],
    ["nothing", () => new Response("", { headers: json })],
  ])("502 for a viewer who would be shown %s where secrets may be", async (_, answer) => {
    await start(answer);
    const got = await server.client.get("/opencode/config", { token: await viewer() });
    expect([got.status, got.json.code]).toEqual([502, "opencode_request_failed"]);
    expect(got.text).not.toContain("sk-secret");
  });

  test("502 for a viewer when the answer is broken off", async () => {
    await start(brokenOff);
    const got = await server.client.get("/opencode/config", { token: await viewer() });
    expect([got.status, got.json.code]).toEqual([502, "opencode_unreachable"]);
  });

  test("secrets are taken out of every kind of JSON", async () => {
    const headers = { "content-type": "application/problem+json" };
    await start(() => new Response('{"apiKey":"sk-secret"}', { status: 400, headers }));
    const got = await server.client.get("/opencode/config", { token: await viewer() });
    expect([got.status, got.json.apiKey]).toEqual([400, "***"]);
  });

  test("502 when the answer to a reload is broken off", async () => {
    await start(brokenOff);
    const got = await server.client.post(`/workspace/${server.workspace}/engine/reload`, undefined);
    expect([got.status, got.json.code]).toEqual([502, "opencode_unreachable"]);
    expect(got.json.details).toEqual({ target: "http://engine:1", cause: "ECONNRESET" });
  });
});
