import { readdir, readFile, rm, writeFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { routes } from "../../handlers/index.ts";
import { AuditLog } from "../../lib/audit.ts";
import { configOf, startMemoryServer, workspaceAt } from "../support/memory-host.ts";
import { freshDirectory } from "../support/server.ts";

function full(): never {
  throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
}

const engineless = (path: string): boolean => !/opencode|router|\/ui|\*/.test(path);
const gets = routes.filter((route) => route.method === "GET" && engineless(route.path));

describe("every route", () => {
  it("I69: HEAD answers wherever GET does, with its status and headers and without a body", async () => {
    const { client, workspace, handler } = await startMemoryServer();
    expect(gets.length).toBeGreaterThan(15);
    for (const route of gets) {
      const path = route.path.replace(":id", workspace).replaceAll(/:\w+/g, "x");
      for (const target of [path, ...(route.mounted ? [`/w/${workspace}${path}`] : [])]) {
        const get = await client.get(target, { host: true });
        const head = await client.send("HEAD", target, { host: true });
        expect({ target, status: head.status, text: head.text }).toEqual({
          target,
          status: get.status,
          text: "",
        });
        const type = (answer: typeof get): string | null => answer.headers.get("content-type");
        expect({ target, type: type(head) }).toEqual({ target, type: type(get) });
      }
    }
    await handler.close();
  });

  it("I68: answers OPTIONS with 204 and refusals of every kind with CORS headers, for an allowed origin alone", async () => {
    const config = configOf({ corsOrigins: ["http://good.test"] });
    const { client, workspace, handler } = await startMemoryServer(config);
    const refusals: [string, string, Record<string, unknown>][] = [
      ["GET", "/nope", {}],
      ["GET", "/status", { token: "garbage" }],
      ["PUT", "/status", {}],
      ["GET", "/workspace/%/config", {}],
      ["POST", `/workspace/${workspace}/plugins`, { body: "{" }],
      ["POST", `/workspace/${workspace}/plugins`, { body: "x".repeat(2_000_000) }],
      ["GET", "/w/ws_nope/health", {}],
    ];
    for (const [method, path, options] of refusals) {
      for (const [origin, allowed] of [
        ["http://good.test", "http://good.test"],
        ["http://evil.test", null],
      ] as const) {
        const answer = await client.send(method, path, { ...options, headers: { origin } });
        expect(answer.status).toBeGreaterThanOrEqual(400);
        const sent = answer.headers.get("access-control-allow-origin");
        expect({ path, origin, sent }).toEqual({ path, origin, sent: allowed });
      }
    }
    for (const route of routes) {
      const path = route.path.replace(":id", workspace).replaceAll(/:\w+|\*/g, "x");
      expect({ path, status: (await client.send("OPTIONS", path, { token: null })).status }).toEqual({
        path,
        status: 204,
      });
    }
    await handler.close();
  });

  it("I69: an unknown method is 405 with Allow and changes nothing", async () => {
    const { client, workspace, storage, handler } = await startMemoryServer();
    for (const method of ["PUT", "PROPFIND", "REPORT", "patch2"]) {
      const answer = await client.send(method, `/workspace/${workspace}/config`, {
        body: '{"opencode":{"a":1}}',
      });
      expect({ method, status: answer.status, allow: answer.headers.get("allow") }).toEqual({
        method,
        status: 405,
        allow: "GET, PATCH, HEAD, OPTIONS",
      });
    }
    expect(await storage.stat("opencode.jsonc")).toBeNull();
    await handler.close();
  });
});

describe("I55: the answer of POST skills", () => {
  it.each([
    [
      "---\nname: x\ndescription: own\ntrigger: now\n---\nbody",
      "sent",
      { description: "own", trigger: "now" },
    ],
    ["# When to use\n- at dawn\n", "sent", { description: "sent", trigger: "at dawn" }],
    ["---\nwhen: later\n---\n", "two: words", { description: "two: words", trigger: "later" }],
  ])("describes what GET finds stored: %j", async (content, description, expected) => {
    const { client, workspace, handler } = await startMemoryServer();
    const path = `/workspace/${workspace}/skills`;
    const saved = (await client.post(path, { name: " x ", content, description })).json;
    expect(saved).toMatchObject({ name: "x", ...expected });
    expect((await client.get(`${path}/x`)).json.item).toEqual(saved);
    expect((await client.get(path)).json.items).toEqual([saved]);
    await handler.close();
  });
});

describe("I24: a full disk", () => {
  it("destroys nothing, leaves no temporary, and the next write works", async () => {
    const root = await freshDirectory("full");
    await mkdir(join(root, ".opencode"));
    await writeFile(join(root, "opencode.jsonc"), '{ "old": true }\n');
    let isFull = false;
    const fs: typeof nodeFs = {
      ...nodeFs,
      writeSync: (...args) => (isFull ? full() : nodeFs.writeSync(...args)),
      write: async (...args) => (isFull ? full() : nodeFs.write(...args)),
    };
    const config = configOf({ workspaces: [workspaceAt(root)] });
    const { client, workspace, handler } = await startMemoryServer(config, {
      storage: () => createDiskStorage(root, { fs }),
    });
    const base = `/workspace/${workspace}`;
    isFull = true;
    const many = {
      skills: [
        { name: "a", description: "d", content: "c" },
        { name: "b", description: "d", content: "c" },
      ],
    };
    for (const [method, path, json] of [
      ["PATCH", "config", { opencode: { a: 1 }, openwork: { b: 1 } }],
      ["POST", "skills", { name: "x", description: "d", content: "c".repeat(100_000) }],
      ["POST", "commands", { name: "x", template: "t" }],
      ["POST", "import", many],
    ] as const) {
      const answer = await client.send(method, `${base}/${path}`, { json });
      expect(answer).toMatchObject({ status: 507, json: { code: "insufficient_storage" } });
    }
    expect(await readFile(join(root, "opencode.jsonc"), "utf8")).toBe('{ "old": true }\n');
    expect((await readdir(root, { recursive: true })).toSorted()).toEqual([".opencode", "opencode.jsonc"]);
    isFull = false;
    expect((await client.patch(`${base}/config`, { opencode: { a: 1 } })).status).toBe(200);
    await handler.close();
    await rm(root, { recursive: true, force: true });
  });

  it("temporaries that a dead server left are never listed, and swept at the next start", async () => {
    const root = await freshDirectory("swept");
    const earlier = createDiskStorage(root);
    const staged = await earlier.stage("x", new Response("bytes").body ?? new ReadableStream());
    // The name says which process it belongs to; no process has the number 0.
    const left = staged.id.slice(0, 7) + "000000" + staged.id.slice(13);
    await earlier.discard(staged);
    for (const dir of ["", ".opencode/plugins", ".opencode/commands", ".opencode/skills/x"]) {
      await mkdir(join(root, dir), { recursive: true });
      await writeFile(join(root, dir, left), "half a file");
    }
    const storage = createDiskStorage(root);
    const config = configOf({ workspaces: [workspaceAt(root)] });
    const { client, workspace, handler } = await startMemoryServer(config, { storage: () => storage });
    for (const path of ["plugins", "commands", "skills", "export"]) {
      expect((await client.get(`/workspace/${workspace}/${path}`)).text).not.toContain("owtmp");
    }
    await storage.swept;
    expect((await readdir(root, { recursive: true })).filter((name) => name.includes("owtmp"))).toEqual([]);
    await handler.close();
    await rm(root, { recursive: true, force: true });
  });
});

describe("I82: the cost of an audit page", () => {
  it("is that of the page, however long the log is", async () => {
    const data = createMemoryStorage();
    const line = JSON.stringify({ id: "x", target: "t", timestamp: 1, pad: "p".repeat(200) });
    await data.append("audit/ws_1.jsonl", Array<string>(60_000).fill(line));
    let bytes = 0;
    const read = data.read.bind(data);
    data.read = async (path, options) => {
      const { start = 0, end = Number.POSITIVE_INFINITY } = options?.range ?? {};
      bytes += end - start;
      return read(path, options);
    };
    data.readFile = () => Promise.reject(new Error("the log was read whole"));
    const log = new AuditLog(data);
    expect(await log.read({ id: "ws_1" }, 50)).toHaveLength(50);
    expect(await log.lastTimestamp({ id: "ws_1" })).toBe(1);
    expect(bytes).toBeLessThan(300_000);
  });
});
