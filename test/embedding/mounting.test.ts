import { describe, expect, expectTypeOf, it } from "vitest";
import { createMemoryHost } from "../../adapters/memory-host.ts";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { belowBase, checkBasePath } from "../../lib/public-address.ts";
import { targetOf } from "../../lib/paths.ts";

const settings = { token: "c", hostToken: "h" };
const host = (): ReturnType<typeof createMemoryHost> => createMemoryHost({ settings });
const at = (path: string, headers: Record<string, string> = {}): Request =>
  new Request(`http://inner.test:81${path}`, { headers });

async function serverUrl(trustProxy: boolean, headers: Record<string, string>): Promise<string> {
  const handler = await createHandler(host(), { basePath: "/agent", trustProxy });
  const response = await handler(at("/agent/openapi.json", headers));
  const { servers } = (await (response ?? Response.error()).json()) as { servers: { url: string }[] };
  await handler.close();
  return servers[0]?.url ?? "";
}

const send = async (handler: Handler, method: string, path: string, body?: unknown): Promise<unknown> => {
  const response = await handler(
    new Request(`http://x${path}`, {
      method,
      headers: { authorization: "Bearer c", "x-openwork-host-token": "h", prefer: "respond-async" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  return response.json();
};

describe("a base path", () => {
  it("leaves other paths to somebody else", async () => {
    const handler = await createHandler(host(), { basePath: "/agent" });
    expectTypeOf(handler).returns.resolves.toEqualTypeOf<Response | null>();
    for (const path of ["/", "/agents", "/agentx/health", "/health", "/AGENT/health", "/x/../other"]) {
      expect(await handler(at(path)), path).toBeNull();
    }
    expect((await handler(at("/agent/health")))?.status).toBe(200);
    expect((await handler(at("/agent")))?.status).toBe(404);
    expect((await handler(at("/agent/")))?.status).toBe(404);
    await handler.close();
  });

  it("is never null without one, as its type says", async () => {
    const handler = await createHandler(host());
    expectTypeOf(handler).toEqualTypeOf<Handler>();
    expectTypeOf(handler).returns.resolves.toEqualTypeOf<Response>();
    expect((await handler(at("/nowhere"))).status).toBe(404);
    await handler.close();
  });

  it.each(["agent", "//x", "/a//b", "/a?b", "/a#b", "/a/../b", "/.", "/a b"])(
    "cannot be %j",
    async (basePath) => {
      await expect(createHandler(host(), { basePath })).rejects.toThrow(
        `basePath must be a path such as "/agent", got ${JSON.stringify(basePath)}.`,
      );
    },
  );

  it.each([
    ["/agent/", "/agent"],
    ["/", ""],
    ["", ""],
    ["/a/b", "/a/b"],
  ])("%j means %j", (given, meant) => expect(checkBasePath(given)).toBe(meant));

  it("keeps the query and the path as sent", () => {
    const below = belowBase(targetOf("http://h/agent/a%2Fb?c=1"), "/agent");
    expect([below?.path, below?.segments, below?.search]).toEqual(["/a%2Fb", ["a%2Fb"], "?c=1"]);
  });
});

describe("behind a proxy", () => {
  const forwarded = {
    "x-forwarded-proto": "https",
    "x-forwarded-host": "agents.example",
    "x-forwarded-prefix": "/team",
  };

  it("links are made of what a trusted proxy says", async () => {
    expect(await serverUrl(true, forwarded)).toBe("https://agents.example/team/agent");
    expect(await serverUrl(true, { "x-forwarded-proto": "https" })).toBe("https://inner.test:81/agent");
  });

  it("by default nobody is believed", async () => {
    expect(await serverUrl(false, forwarded)).toBe("http://inner.test:81/agent");
  });

  it.each([
    { "x-forwarded-host": "evil.example/path" },
    { "x-forwarded-proto": "javascript" },
    { "x-forwarded-prefix": "//evil.example" },
  ])("does not believe %j from anybody", async (headers) => {
    expect(await serverUrl(true, headers as Record<string, string>)).toBe("http://inner.test:81/agent");
  });
});

describe("two handlers in one process", () => {
  it("share nothing", async () => {
    const one = await createHandler(host());
    const other = await createHandler(host());
    const { activeWorkspaceId: id } = (await send(one, "GET", "/status")) as { activeWorkspaceId: string };
    await send(one, "POST", `/workspace/${id}/plugins`, { spec: "mine" });
    await send(one, "POST", "/tokens", { scope: "viewer" });
    expect(await send(one, "GET", "/approvals")).toMatchObject({ items: [{}] });
    expect(await send(other, "GET", "/approvals")).toEqual({ items: [] });
    expect(await send(one, "GET", "/tokens")).toMatchObject({ items: [{}] });
    expect(await send(other, "GET", "/tokens")).toEqual({ items: [] });
    await one.close();
    expect(await send(other, "GET", `/workspace/${id}/config`)).toMatchObject({ opencode: {} });
    await other.close();
  });
});
