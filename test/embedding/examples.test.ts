import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { programs } from "../contract/subject.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import { openSocket } from "../support/websocket.ts";
import { startWorker } from "../support/worker.ts";
import { expectEmbedded, expectTerminal } from "./embedded.ts";
import { exampleFolder, examples, runExample } from "./folder.ts";

interface Program {
  example: string;
  packages?: string[];
  /** Before the example, with the port for those that do not read it from the environment. */
  command: (port: number) => string[];
}

const node = (): string[] => [programs.node20];
const bun = (): string[] => [programs.bun];
const deno = [programs.deno, "run", "-A", "--unstable-no-legacy-abort"];
const denoServe = (port: number): string[] => [
  ...deno.with(1, "serve"),
  "--host=localhost",
  `--port=${port}`,
];

const list: Program[] = [
  { example: "node-http.mjs", command: node },
  { example: "express.mjs", packages: ["express"], command: node },
  { example: "fastify.mjs", packages: ["fastify"], command: node },
  { example: "hono-node.mjs", packages: ["hono", "@hono/node-server"], command: node },
  { example: "next-server.mjs", packages: ["next"], command: node },
  { example: "hono.mjs", packages: ["hono"], command: bun },
  { example: "hono.mjs", packages: ["hono"], command: denoServe },
  { example: "bun.mjs", command: bun },
  { example: "deno.mjs", command: () => deno },
];

let engine: Terminal;
beforeAll(async () => {
  engine = await startTerminal();
});
afterAll(() => engine.stop());

describe.each(list)("examples/$example", ({ example, packages = [], command }) => {
  it("runs in an empty folder, terminals and all", async () => {
    const dir = await exampleFolder(example, packages, engine.url);
    const { url, stop } = await runExample((port) => [...command(port), example], dir);
    try {
      await expectEmbedded((path, init) => fetch(url + path, init), { ownPage: true });
      await expectTerminal(url);
    } finally {
      stop();
      rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    }
  });
});

describe("examples/next-server.mjs", () => {
  it("leaves the upgrades of Next.js to its own listener", async () => {
    const dir = await exampleFolder("next-server.mjs", ["next"]);
    const { url, stop } = await runExample(() => [...node(), "next-server.mjs"], dir);
    try {
      expect((await openSocket(`${url}/_next/hmr`)).status).toBe(418);
    } finally {
      stop();
      rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    }
  });
});

describe("examples/next-route.mjs", () => {
  it("exports a route handler for every method", async () => {
    const dir = await exampleFolder("next-route.mjs", []);
    type Handlers = Record<string, (request: Request) => Promise<Response>>;
    const handlers = (await import(pathToFileURL(join(dir, "next-route.mjs")).href)) as Handlers;
    await expectEmbedded(
      async (path, init = {}) => {
        const handler = handlers[init.method ?? "GET"];
        if (!handler) throw new Error(`no handler for ${init.method ?? "GET"}`);
        const response = await handler(new Request(`http://next.test${path}`, init));
        // Frameworks look at the class.
        expect(response).toBeInstanceOf(Response);
        return response;
      },
      { ownPage: false },
    );
    rmSync(dir, { recursive: true, force: true });
  });
});

describe("examples/worker.mjs", () => {
  it("runs in workerd", async () => {
    const dir = await exampleFolder("worker.mjs", []);
    const worker = await startWorker({
      entry: join(dir, "worker.mjs"),
      className: "Agent",
      bindingName: "AGENT",
      bindings: {
        OPENWORK_TOKEN: "a-client-token",
        OPENWORK_HOST_TOKEN: "a-host-token",
        OPENWORK_OPENCODE_BASE_URL: engine.url,
      },
    });
    try {
      const url = (await worker.ready).origin;
      await expectEmbedded((path, init) => fetch(url + path, init), { ownPage: true });
      await expectTerminal(url);
    } finally {
      await worker.dispose();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

it("the README shows every example of embedding as it is, and names the others", () => {
  const readme = readFileSync(join(examples, "../README.md"), "utf8");
  const names = readdirSync(examples).filter((name) => name.endsWith(".mjs"));
  expect(readme).toContain("(examples/mirror.mjs)");
  for (const name of names.filter((one) => one !== "mirror.mjs")) {
    expect(readme.includes(readFileSync(join(examples, name), "utf8").trim()), name).toBe(true);
  }
});
