import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startBrowser } from "../support/browser.ts";
import { startServer, type TestServer } from "../support/server.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";
import { expectEmbedded } from "./embedded.ts";
import { startSubPathProxy, type SubPathProxy } from "./proxy.ts";

const tokens = { OPENWORK_TOKEN: "a-client-token", OPENWORK_HOST_TOKEN: "a-host-token" };
const headers = { authorization: "Bearer a-client-token" };
const trusting = ["--trust-proxy", "--allowed-hosts", "agents.example"];

/** What a proxy makes of `/agent/…`, and the settings that fit. */
const modes = [
  { name: "takes the prefix away", stripTo: "", flags: trusting },
  { name: "passes the prefix on", stripTo: "/agent", flags: [...trusting, "--base-path", "/agent"] },
  {
    name: "takes a part of it away",
    outer: "/team",
    stripTo: "/agent",
    flags: [...trusting, "--base-path=/agent"],
  },
];

describe.each(modes)("the command behind a proxy that $name", ({ stripTo, flags, outer = "" }) => {
  let engine: Upstream;
  let server: TestServer;
  let proxy: SubPathProxy;
  const prefix = `${outer}/agent`;

  beforeAll(async () => {
    engine = await startUpstream((req, res) => {
      if (req.url !== "/moved") return false;
      res.writeHead(302, { location: "/session?x=1" }).end();
      return true;
    });
    server = await startServer({
      flags: [...flags, "--approval", "manual", "--opencode-base-url", engine.url],
      env: tokens,
    });
    proxy = await startSubPathProxy(server.url, { prefix, stripTo, host: "agents.example" });
  });
  afterAll(async () => {
    await proxy?.close();
    await server?.stop();
    await engine?.stop();
  });

  it("serves everything there, with links and locations that lead through the proxy", async () => {
    const origin = new URL(proxy.url).origin;
    // The helper knows /agent; what stands before it is put in front and must come back in every location.
    await expectEmbedded(
      async (path, init) => {
        const answer = await fetch(origin + (path.startsWith(prefix) ? path : outer + path), init);
        const location = answer.headers.get("location");
        if (location === null) return answer;
        expect(location.startsWith(`${prefix}/`)).toBe(true);
        const changed = new Response(answer.body, answer);
        changed.headers.set("location", location.slice(outer.length));
        return changed;
      },
      { ownPage: false },
    );
    const moved = await fetch(`${proxy.url}/opencode/moved`, { headers, redirect: "manual" });
    expect([moved.status, moved.headers.get("location")]).toEqual([302, `${prefix}/opencode/session?x=1`]);
  });

  it("describes itself by its public address", async () => {
    const description = await (await fetch(`${proxy.url}/openapi.json`)).json();
    expect(description).toMatchObject({ servers: [{ url: `https://agents.example${prefix}` }] });
  });

  it("shows its page, which finds its way", async () => {
    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      const strayed: string[] = [];
      page.on("response", (response) => {
        if (!response.url().startsWith(`${proxy.url}/`) || response.status() >= 400)
          strayed.push(`${response.status()} ${response.url()}`);
      });
      await page.goto(`${proxy.url}/ui#token=a-client-token&hostToken=a-host-token`);
      await page.waitForSelector("#approvals:not([hidden])");
      await page.waitForURL(`${proxy.url}/w/${server.id}/ui`);
      expect(await page.textContent("#facts")).toContain(server.workspace);
      expect(strayed).toEqual([]);
    } finally {
      await browser.close();
    }
  });
});

describe("the command by itself", () => {
  it("believes no proxy unless it is told to", async () => {
    const server = await startServer({ env: tokens, flags: ["--approval", "manual"] });
    const proxy = await startSubPathProxy(server.url, { prefix: "/agent", host: "agents.example" });
    const description = await (await fetch(`${proxy.url}/openapi.json`)).json();
    expect(description).toMatchObject({ servers: [{ url: server.url }] });
    const asked = await fetch(`${proxy.url}/workspace/${server.id}/plugins`, {
      method: "POST",
      headers: { ...headers, prefer: "respond-async" },
      body: '{"spec":"a"}',
    });
    expect(asked.headers.get("location")).toMatch(/^\/requests\//);
    await proxy.close();
    await server.stop();
  });

  it("answers nothing but 404 beside its base path, and says where to look", async () => {
    const server = await startServer({ env: tokens, flags: ["--base-path", "/agent"] });
    expect(server.log()).toContain(`${server.url}/agent/health`);
    expect((await server.request("GET", "/agent/health")).status).toBe(200);
    for (const path of ["/health", "/", "/agents/health", "/agent/../health"]) {
      const answer = await server.request("GET", path);
      expect([path, answer.status, answer.json]).toMatchObject([path, 404, { code: "not_found" }]);
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    }
    await server.stop();
  });
});
