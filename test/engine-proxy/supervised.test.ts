import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { delimiter, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { engineCommand } from "../support/engine.ts";
import { clientToken, freshDirectory, hostToken, startServer, type TestServer } from "../support/server.ts";
import { openSocket } from "../support/websocket.ts";

/** Stands in for the engine: says what it was started with, and dies when told to. */
const program = `#!${process.execPath}
const { createServer } = require("node:http");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
fs.appendFileSync(process.env.STARTS, JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd(), env: process.env }) + "\\n");
const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
createServer((req, res) => {
  const expected = "Basic " + Buffer.from("opencode:" + process.env.OPENCODE_SERVER_PASSWORD).toString("base64");
  if (req.headers.authorization !== expected) return res.writeHead(401).end();
  if (req.url === "/die") process.exit(3);
  if (req.url === "/detach") {
    const own = spawn(process.execPath, ["-e", "process.title = 'odd) R 1 (name'; setInterval(() => {}, 1000)"], { stdio: "ignore", detached: true });
    return res.end(JSON.stringify({ child: own.pid }));
  }
  res.setHeader("content-type", "application/json");
  res.end(JSON.stringify({ healthy: true, version: "9.9.9", child: child.pid }));
}).listen(port, "127.0.0.1", () => console.log("engine is up"));
`;

interface Start {
  args: string[];
  cwd: string;
  env: Record<string, string>;
}

/** Whether a process runs. One that nobody has taken note of the end of still has a number, but does not. */
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

const health = async (server: TestServer): Promise<{ status: number; json: { child?: number } }> =>
  server.request("GET", "/opencode/global/health");

describe("a server that runs its own engine (--engine)", () => {
  let dir: string;
  let env: Record<string, string>;

  beforeAll(async () => {
    dir = await freshDirectory("supervised");
    await mkdir(join(dir, "bin"));
    await writeFile(join(dir, "bin/opencode"), program);
    await chmod(join(dir, "bin/opencode"), 0o755);
    env = { PATH: `${join(dir, "bin")}:${process.env["PATH"] ?? ""}`, STARTS: join(dir, "starts") };
  });

  afterAll(() => rm(dir, { recursive: true, force: true }));

  const starts = async (): Promise<Start[]> => {
    const text = await readFile(join(dir, "starts"), "utf8").catch(() => "");
    return text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Start);
  };

  test("one command gives a host: started, reached, restarted, and ended with all that it started", async () => {
    const server = await startServer({ flags: ["--engine"], env });
    onTestFinished(async () => void (await server.stop()));
    await expect.poll(async () => (await health(server)).status, { timeout: 15_000 }).toBe(200);
    const [first] = await starts();
    expect(first?.args.slice(0, 3)).toEqual(["serve", "--hostname", "127.0.0.1"]);
    expect(first?.cwd).toBe(server.workspace);
    // What an agent runs can read its environment: no token of this server may be there.
    expect(JSON.stringify(first?.env)).not.toContain(clientToken);
    expect(JSON.stringify(first?.env)).not.toContain(hostToken);
    expect(first?.env["OPENCODE_SERVER_PASSWORD"]?.length).toBeGreaterThan(20);
    expect((await server.request("GET", "~/engine")).json).toMatchObject({ ok: true, version: "9.9.9" });

    const before = (await health(server)).json.child ?? 0;
    await server.request("POST", "/opencode/die", { json: {} });
    await expect.poll(async () => (await health(server)).status, { timeout: 15_000 }).toBe(200);
    expect(await starts()).toHaveLength(2);
    await expect.poll(() => alive(before)).toBe(false);
    expect(server.log()).toMatch(/\[opencode\] engine is up/);
    expect(server.log()).toMatch(/The engine ended \(with status 3\); it is started again/);
    expect(server.log()).not.toContain(first?.env["OPENCODE_SERVER_PASSWORD"]);

    const child = (await health(server)).json.child ?? 0;
    expect(alive(child)).toBe(true);
    expect((await server.stop()).code).toBe(0);
    await expect.poll(() => alive(child)).toBe(false);
  });

  test("a terminal that closes ends it in order, with the engine and all that it started", async () => {
    const server = await startServer({ flags: ["--engine"], env });
    onTestFinished(async () => void (await server.stop()));
    await expect.poll(async () => (await health(server)).status, { timeout: 15_000 }).toBe(200);
    const { child = 0 } = (await health(server)).json;
    const detached = await server.request<{ child: number }>("POST", "/opencode/detach", { json: {} });
    expect([alive(child), alive(detached.json.child)]).toEqual([true, true]);
    expect(await server.stop("SIGHUP")).toEqual({ code: 0, signal: null });
    await expect.poll(() => alive(child) || alive(detached.json.child), { timeout: 5000 }).toBe(false);
  });

  test("one whose port was taken while it was down comes back at another, with another password", async () => {
    await rm(join(dir, "starts"), { force: true });
    const server = await startServer({ flags: ["--engine"], env });
    onTestFinished(async () => void (await server.stop()));
    await expect.poll(async () => (await health(server)).status, { timeout: 15_000 }).toBe(200);
    const port = Number((await starts())[0]?.args.at(-1));
    await server.request("POST", "/opencode/die", { json: {} });
    const squatter = createServer((_, res) => res.writeHead(418).end());
    const taken = (): Promise<boolean> =>
      new Promise((resolve) => {
        squatter.removeAllListeners("error").once("error", () => resolve(false));
        squatter.listen(port, "127.0.0.1", () => resolve(true));
      });
    await expect.poll(taken, { interval: 10 }).toBe(true);
    onTestFinished(() => {
      squatter.close();
      squatter.closeAllConnections();
    });
    await expect.poll(async () => (await health(server)).status, { timeout: 15_000 }).toBe(200);
    const [first, ...later] = await starts();
    expect(Number(later.at(-1)?.args.at(-1))).not.toBe(port);
    expect(later.at(-1)?.env["OPENCODE_SERVER_PASSWORD"]).not.toBe(first?.env["OPENCODE_SERVER_PASSWORD"]);
    const { json } = await server.request<{ items: { opencode: { baseUrl: string } }[] }>(
      "GET",
      "/workspaces",
    );
    expect(json.items[0]?.opencode.baseUrl).toBe(`http://127.0.0.1:${later.at(-1)?.args.at(-1)}`);
  });

  test.skipIf(process.platform !== "linux")("takes its commands along where there is no ps", async () => {
    const tools = join(dir, "tools");
    await mkdir(tools);
    for (const name of ["sh", "awk", "cat", "sleep"]) {
      const places = (process.env["PATH"] ?? "").split(delimiter).map((place) => join(place, name));
      await symlink(places.find((place) => existsSync(place)) ?? "", join(tools, name));
    }
    const slim = { ...env, PATH: `${join(dir, "bin")}:${tools}` };
    const server = await startServer({ flags: ["--engine"], env: slim });
    onTestFinished(async () => void (await server.stop("SIGKILL")));
    await expect.poll(async () => (await health(server)).status, { timeout: 15_000 }).toBe(200);
    const { json } = await server.request<{ child: number }>("POST", "/opencode/detach", { json: {} });
    onTestFinished(() => {
      if (alive(json.child)) process.kill(json.child, "SIGKILL");
    });
    expect(alive(json.child)).toBe(true);
    await server.stop("SIGKILL");
    await expect.poll(() => alive(json.child), { timeout: 5000 }).toBe(false);
  });

  test("one that ends as soon as it is started is not running, and the status says what it printed", async () => {
    await mkdir(join(dir, "bad"));
    const script = "#!/bin/sh\nprintf '\\033[91mno room for the database\\n' >&2\nexit 7\n";
    await writeFile(join(dir, "bad/opencode"), script);
    await chmod(join(dir, "bad/opencode"), 0o755);
    const server = await startServer({
      flags: ["--engine"],
      env: { ...env, PATH: `${join(dir, "bad")}:${env["PATH"] ?? ""}` },
    });
    onTestFinished(async () => void (await server.stop()));
    await expect.poll(() => server.log(), { timeout: 15_000 }).toMatch(/started again in 2 s/);
    const { json } = await server.request<{ problem: { message: string } }>("GET", "~/engine");
    expect(json).toMatchObject({ ok: false, reachable: false, problem: { code: "not_running" } });
    expect(json.problem.message).toMatch(
      /ended \(with status 7\); it is started again in \d s\. It printed: no room for the database$/,
    );
    // It may have printed what stands in some file.
    const made = await server.request<{ token: string }>("POST", "/tokens", {
      host: true,
      json: { scope: "viewer" },
    });
    const { text } = await server.request("GET", "~/engine", { token: made.json.token });
    expect(text).toContain("ended (with status 7)");
    expect(text).not.toContain("database");
  });

  test("without the command, or with nothing to start it for, the start is refused with a sentence", async () => {
    const none = startServer({ flags: ["--engine"], env: { ...env, PATH: "/nowhere" }, home: dir });
    await expect(none).rejects.toThrow(/--engine needs the command opencode/);
    const both = startServer({ flags: ["--engine", "--opencode-base-url", "http://127.0.0.1:9"], env });
    await expect(both).rejects.toThrow(/every workspace has an engine URL/);
  });
});

/** Has the engine run a command that is deaf to polite requests, and tells its process. */
async function startCommand(server: TestServer): Promise<number> {
  const base = `/w/${server.id}/opencode/session`;
  const { json } = await server.request<{ id: string }>("POST", base, { json: { title: "runs" } });
  const command = "trap '' TERM; echo $$ > pid; sleep 61";
  const run = server.request("POST", `${base}/${json.id}/shell`, { json: { agent: "build", command } });
  run.catch(() => undefined);
  let pid = 0;
  const read = async (): Promise<number> => {
    pid = Number(await readFile(join(server.workspace, "pid"), "utf8").catch(() => "0"));
    return pid;
  };
  await expect.poll(read, { timeout: 20_000 }).toBeGreaterThan(0);
  expect(alive(pid)).toBe(true);
  return pid;
}

describe("a server with the real engine that is ended by force", () => {
  test("takes the engine and what runs in its terminals along; there, Ctrl-C works", async () => {
    const server = await startServer({
      flags: ["--engine"],
      env: {
        PATH: `${dirname(engineCommand)}${delimiter}${process.env["PATH"] ?? ""}`,
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_PURE: "1",
        npm_config_registry: "http://127.0.0.1:9",
      },
    });
    onTestFinished(async () => void (await server.stop("SIGKILL")));
    const usable = async (): Promise<unknown> => (await server.request("GET", "~/engine")).json["ok"];
    await expect.poll(usable, { timeout: 40_000, interval: 300 }).toBe(true);
    const engine = Number(/Starting the engine \(process (\d+)\)/.exec(server.log())?.[1]);
    expect(alive(engine)).toBe(true);

    const base = `/w/${server.id}/opencode/pty`;
    const made = await server.request<{ id: string; pid: number }>("POST", base, {
      json: { command: "/bin/sh", args: [] },
    });
    const opened = await openSocket(`${server.url}${base}/${made.json.id}/connect`, {
      headers: { authorization: `Bearer ${clientToken}` },
    });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    opened.socket.send("echo begun-$((1 + 1)); sleep 60; echo ended-$((2 + 2))\n");
    await opened.inbox.until("begun-2");
    opened.socket.send("\u0003");
    opened.socket.send("\necho after-$((3 + 3))\n");
    await opened.inbox.until("after-6");
    expect(opened.inbox.text()).not.toContain("ended-4");
    expect(alive(made.json.pid)).toBe(true);
    const command = await startCommand(server);

    await server.stop("SIGKILL");
    await expect.poll(() => alive(engine), { timeout: 5000 }).toBe(false);
    await expect.poll(() => alive(made.json.pid), { timeout: 5000 }).toBe(false);
    await expect.poll(() => alive(command), { timeout: 5000 }).toBe(false);
  }, 90_000);
});
