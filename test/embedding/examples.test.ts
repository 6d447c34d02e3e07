import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { programs } from "../contract/subject.ts";
import { openSocket } from "../support/websocket.ts";
import { startWorker } from "../support/worker.ts";
import { expectEmbedded } from "./embedded.ts";
import { exampleFolder, examples, runExample } from "./folder.ts";

interface Program {
  example: string;
  packages?: string[];
  program: keyof typeof programs;
  flags?: string[];
}

const list: Program[] = [
  { example: "node-http.mjs", program: "node20" },
  { example: "express.mjs", packages: ["express"], program: "node20" },
  { example: "fastify.mjs", packages: ["fastify"], program: "node20" },
  { example: "hono.mjs", packages: ["hono"], program: "bun" },
  { example: "bun.mjs", program: "bun" },
  { example: "deno.mjs", program: "deno", flags: ["run", "-A", "--unstable-no-legacy-abort"] },
];

describe.each(list)("examples/$example", ({ example, packages = [], program, flags = [] }) => {
  it("runs in an empty folder", async () => {
    const dir = await exampleFolder(example, packages);
    const { url, stop } = await runExample([programs[program], ...flags, example], dir);
    try {
      await expectEmbedded((path, init) => fetch(url + path, init), { ownPage: true });
    } finally {
      stop();
      rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    }
  });
});

describe("examples/node-http.mjs", () => {
  it("answers for the engine's terminals, and for those only", async () => {
    const dir = await exampleFolder("node-http.mjs", []);
    const { url, stop } = await runExample([programs.node20, "node-http.mjs"], dir);
    try {
      const headers = { authorization: "Bearer a-client-token" };
      const opened = await openSocket(`${url}/agent/opencode/pty/p1/connect`, { headers });
      expect(opened.status).toBe(400);
      expect((await openSocket(`${url}/elsewhere`, { headers })).status).toBe(404);
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
      bindings: { OPENWORK_TOKEN: "a-client-token", OPENWORK_HOST_TOKEN: "a-host-token" },
    });
    try {
      const url = (await worker.ready).origin;
      await expectEmbedded((path, init) => fetch(url + path, init), { ownPage: true });
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
