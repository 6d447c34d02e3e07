import { describe, expect, it } from "vitest";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { configOf, memoryHost } from "../support/memory-host.ts";

/** What Chromium and Firefox ask for when an address is typed in. */
const browser = { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" };

async function ask(
  handler: Handler,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; location: string | null; json: { code?: string; message?: string } }> {
  const response = await handler(new Request(`http://server.test${path}`, { headers }));
  const text = await response.text();
  const json = text.startsWith("{") ? (JSON.parse(text) as { code: string; message: string }) : {};
  return { status: response.status, location: response.headers.get("location"), json };
}

describe("the address of the server itself", () => {
  it("leads a browser to the page, under any name: the page says what to do about one that is not allowed", async () => {
    const handler = await createHandler(memoryHost(), { allowedHosts: [] });
    expect(await ask(handler, "/", browser)).toMatchObject({ status: 302, location: "/ui" });
    expect((await ask(handler, "/ui", browser)).json.code).toBe("host_not_allowed");
    await handler.close();
  });

  it("is not found by programs, and the message names the page", async () => {
    const handler = await createHandler(memoryHost());
    for (const headers of [{}, { accept: "*/*" }, { accept: "application/json, text/html;q=0.5" }]) {
      const { status, json } = await ask(handler, "/", headers);
      expect([status, json.code]).toEqual([404, "not_found"]);
      expect(json.message).toContain("/ui");
    }
    await handler.close();
  });

  it("leads nowhere when the page is switched off", async () => {
    const handler = await createHandler(memoryHost(configOf({ ui: { enabled: false } })));
    expect(await ask(handler, "/", browser)).toMatchObject({ status: 404, json: { code: "not_found" } });
    await handler.close();
  });

  it("lies below the base path, with a slash at its end or without; what lies elsewhere is told where that is", async () => {
    const handler = await createHandler(memoryHost(configOf({ basePath: "/agent" })));
    for (const path of ["/agent", "/agent/"]) {
      expect(await ask(handler, path, browser)).toMatchObject({ status: 302, location: "/agent/ui" });
    }
    const elsewhere = await ask(handler, "/", browser);
    expect([elsewhere.status, elsewhere.json.code]).toEqual([404, "not_found"]);
    expect(elsewhere.json.message).toContain("below /agent.");
    await handler.close();
  });

  it("starts with the prefix of a trusted proxy", async () => {
    const handler = await createHandler(memoryHost(), { trustProxy: true });
    const answer = await ask(handler, "/", { ...browser, "x-forwarded-prefix": "/team" });
    expect(answer.location).toBe("/team/ui");
    await handler.close();
  });
});
