import { readdirSync, readFileSync } from "node:fs";
import { type ClientRequest, get } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildOnce } from "../support/build.ts";
import { clientToken, startServer, type TestServer } from "../support/server.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";

const streams = 500;

describe("callers that vanish leave nothing behind (I65, opencode#17628)", () => {
  let upstream: Upstream;
  let server: TestServer;

  beforeAll(async () => {
    upstream = await startUpstream((_req, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write("data: connected\n\n");
      return true;
    });
    // A heap that has room for what is open at a time, and not for what thousands of streams would leave in it.
    const command = [process.execPath, "--max-old-space-size=64", join(await buildOnce(), "adapters/cli.js")];
    const flags = ["--opencode-base-url", upstream.url, "--no-log-requests"];
    server = await startServer({ command, flags });
  });

  afterAll(async () => {
    await server?.stop();
    await upstream?.stop();
  });

  const handles = (): number => readdirSync(`/proc/${server.pid}/fd`).length;
  const megabytes = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]) / 1024;

  function open(): Promise<ClientRequest> {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${clientToken}` };
      const req = get(`${server.url}/opencode/event`, { headers, agent: false }, (res) => {
        res.once("data", () => resolve(req)).on("error", () => undefined);
      });
      req.on("error", reject);
    });
  }

  async function round(): Promise<void> {
    const opened = await Promise.all(Array.from({ length: streams }, open));
    expect(await upstream.connections()).toBe(streams);
    for (const req of opened) req.on("error", () => undefined).destroy();
    await expect.poll(() => upstream.connections(), { timeout: 30_000 }).toBe(0);
  }

  test(`${streams} event streams come and go, again and again`, async () => {
    const before = handles();
    // Garbage is collected at leisure: a heap that has grown to its size is what must not grow on.
    for (let i = 0; i < 8; i += 1) await round();
    const grown = megabytes();
    for (let i = 0; i < 16; i += 1) await round();
    await expect.poll(handles, { timeout: 30_000 }).toBeLessThanOrEqual(before + 4);
    // What eight thousand streams left behind would be some 130 MB, and most of it could not even be had.
    expect(megabytes() - grown).toBeLessThan(80);
  }, 180_000);

  test("a server that stops ends event streams at once (I99)", async () => {
    await open();
    const started = performance.now();
    const exit = await server.stop();
    expect(exit.code).toBe(0);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
