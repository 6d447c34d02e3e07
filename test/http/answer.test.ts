import { describe, expect, it, vi } from "vitest";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { clientToken, configOf, hostToken, memoryHost } from "../support/memory-host.ts";

const config = configOf();
const base = `/workspace/${config.workspaces[0]?.id ?? ""}`;

function ask(handler: Handler, path: string, init: RequestInit = {}): Response | Promise<Response> {
  const headers = { authorization: `Bearer ${clientToken}`, "x-openwork-host-token": hostToken };
  return handler.answer(new Request(`http://server.test${path}`, { headers, ...init }));
}

async function codeOf(handler: Handler, path: string, method = "GET"): Promise<[number, string | undefined]> {
  const response = await ask(handler, path, { method });
  const text = await response.text();
  return [response.status, text === "" ? undefined : (JSON.parse(text) as { code?: string }).code];
}

describe("an answer", () => {
  it.each(["/health", "/whoami", "/status", `${base}/config`, `${base}/skills`, `${base}/commands`])(
    "of %s is no promise while it is known to be right",
    async (path) => {
      const handler = await createHandler(memoryHost(config));
      await vi.waitFor(async () => {
        await ask(handler, path);
        expect(ask(handler, path)).toBeInstanceOf(Response);
      });
      const known = await (await ask(handler, path)).json();
      expect(Object.keys(known as object)).not.toEqual([]);
      await handler.close();
    },
  );

  it("is no promise either when it is an error", async () => {
    const handler = await createHandler(memoryHost(config));
    expect(ask(handler, "/nothing")).toBeInstanceOf(Response);
    expect(ask(handler, "/whoami", { headers: {} })).toBeInstanceOf(Response);
    expect(ask(handler, "/whoami", { method: "DELETE" })).toBeInstanceOf(Response);
    await handler.close();
  });

  it("of the handler itself always is one", async () => {
    const handler = await createHandler(memoryHost(config));
    expect(handler(new Request("http://server.test/health"))).toBeInstanceOf(Promise);
    await handler.close();
  });
});

describe("an address that is asked for again", () => {
  it("answers each method for itself, and what is true now", async () => {
    const handler = await createHandler(memoryHost(config));
    const list = async (): Promise<unknown[]> => {
      const json: unknown = await (await ask(handler, `${base}/commands`)).json();
      return (json as { items: unknown[] }).items;
    };
    expect(await list()).toHaveLength(0);
    const body = JSON.stringify({ name: "one", template: "Do it." });
    expect((await ask(handler, `${base}/commands`, { method: "POST", body })).status).toBe(200);
    expect(await list()).toHaveLength(1);
    expect(await codeOf(handler, `${base}/commands`, "PUT")).toEqual([405, "method_not_allowed"]);
    expect((await ask(handler, `${base}/commands`, { method: "OPTIONS" })).status).toBe(204);
    const removed = await ask(handler, base.replace("workspace", "workspaces"), { method: "DELETE" });
    expect(removed.status).toBe(200);
    expect(await codeOf(handler, `${base}/commands`)).toEqual([404, "workspace_not_found"]);
    await handler.close();
  });

  it.each([
    ["/nothing", 404, "not_found"],
    ["/w/%zz/health", 400, "invalid_path"],
    [`${base}/commands?scope=%zz`, 400, "invalid_path"],
    ["/approvals?wait=none", 400, "invalid_query"],
    ["/workspace/%zz/config", 400, "invalid_path"],
  ])("that is wrong, like %s, is refused each time in the same words", async (path, status, code) => {
    const handler = await createHandler(memoryHost(config));
    expect(await codeOf(handler, path)).toEqual([status, code]);
    expect(await codeOf(handler, path)).toEqual([status, code]);
    expect((await ask(handler, path, { method: "OPTIONS" })).status).toBe(204);
    await handler.close();
  });
});
