import { execFile } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Log, LogLevel, Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { programs } from "../contract/subject.ts";
import { startBrowser } from "../support/browser.ts";
import { bundleForWeb } from "../support/bundle.ts";
import { clientToken, hostToken, startServer } from "../support/server.ts";
import { compatibilityDate } from "../support/worker.ts";
import { startFlaky } from "./flaky.ts";
import type { Report, Stage } from "./scenario.ts";

let code: string;
let dir: string;

beforeAll(async () => {
  const bundle = await bundleForWeb("test/client/scenario.ts");
  expect(bundle.imports).toEqual([]);
  ({ code } = bundle);
  dir = await mkdtemp(join(tmpdir(), "openwork-client-"));
  await writeFile(join(dir, "scenario.mjs"), code);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Runs the scenario in a process of its own. */
async function inProcess(words: readonly string[], stage: Stage): Promise<Report> {
  const main = join(dir, "main.mjs");
  await writeFile(
    main,
    `import { scenario } from "./scenario.mjs";\nconsole.log(JSON.stringify(await scenario(${JSON.stringify(stage)})));\n`,
  );
  const [program = "", ...flags] = words;
  const { stdout } = await promisify(execFile)(program, [...flags, main], { timeout: 50_000 });
  return JSON.parse(stdout) as Report;
}

/** Runs it in a page of another origin, as an application has one. */
async function inBrowser(stage: Stage): Promise<Report> {
  const pages = createServer((req, res) => {
    const isScript = req.url === "/scenario.mjs";
    res.writeHead(200, { "content-type": isScript ? "text/javascript" : "text/html" });
    res.end(isScript ? code : "<!doctype html><title>page</title>");
  });
  await new Promise<void>((resolve) => {
    pages.listen(0, "127.0.0.1", resolve);
  });
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
    // As a text: what the test runner makes of an import means nothing to a page.
    const script = `import("/scenario.mjs").then(({ scenario }) => scenario(${JSON.stringify(stage)}))`;
    return await page.evaluate<Report>(script);
  } finally {
    await browser.close();
    pages.close();
  }
}

/** Runs it in a Worker while that answers a request. */
async function inWorker(stage: Stage): Promise<Report> {
  const worker = new Miniflare({
    modules: [
      {
        type: "ESModule",
        path: "main.mjs",
        contents: `import { scenario } from "./scenario.mjs";
          export default { fetch: async () => Response.json(await scenario(${JSON.stringify(stage)})) };`,
      },
      { type: "ESModule", path: "scenario.mjs", contents: code },
    ],
    compatibilityDate,
    cf: false,
    log: new Log(LogLevel.NONE),
  });
  try {
    const answer = await worker.dispatchFetch("http://worker.test/");
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(text);
    return JSON.parse(text) as Report;
  } finally {
    await worker.dispose();
  }
}

const places: [string, (stage: Stage) => Promise<Report>, Partial<Stage>?][] = [
  ["Node 20", (stage) => inProcess([programs.node20], stage)],
  ["Node 22", (stage) => inProcess([programs.node22], stage)],
  ["Node 24", (stage) => inProcess([programs.node24], stage)],
  ["Bun", (stage) => inProcess([programs.bun], stage)],
  ["Deno", (stage) => inProcess([programs.deno, "run", "-A"], stage)],
  ["a browser", inBrowser, { noStreamUpload: true }],
  ["workerd", inWorker],
];

describe("the client, over a bad line to a real server", () => {
  it.each(places)("does all it promises in %s", async (_, run, limits = {}) => {
    const server = await startServer({ flags: ["--approval", "manual"] });
    const line = await startFlaky(server.url);
    try {
      const report = await run({ url: line.url, token: clientToken, hostToken, ...limits });
      expect(report).toEqual({
        retried: [1, ["OpenWorkError", "shutting_down", 503, true, true]],
        errors: [
          ["OpenWorkError", "unauthorized", 401, true, false],
          ["OpenWorkError", "unreachable", 0, true, true],
          ["OpenWorkError", "skill_not_found", 404, true, false],
          ["OpenWorkError", "invalid_plugin_spec", 400, true, false],
        ],
        uploads: [[3, 7, 15], "größe.txt", 10, '{"a":1}', [1, 2, 255]],
        poll: ["config"],
        events: ["one.txt", "two.txt", "three.txt"],
        asked: true,
        leftAtOnce: true,
      });
      expect(line.counts.get("POST /tokens"), "a POST is not repeated").toBe(1);
      expect(line.counts.get("GET /capabilities")).toBeGreaterThanOrEqual(3);
      expect(line.counts.get("GET ~/files/events"), "the stream was broken").toBe(2);
      const { items } = (await server.request<{ items: { actor: { clientId: string } }[] }>("GET", "~/audit"))
        .json;
      expect(items[0]?.actor.clientId).toBe("scenario");
    } finally {
      await line.stop();
      await server.stop();
    }
  });
});
