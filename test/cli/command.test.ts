import { spawn } from "node:child_process";
import { cp, mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { canWriteTo } from "../../adapters/node/machine.ts";
import { buildOnce } from "../support/build.ts";
import { freshDirectory, startServer, type Json, type TestServer } from "../support/server.ts";
import { run } from "./run.ts";

let home = "";
let servers: TestServer[] = [];

beforeEach(async () => {
  home = await freshDirectory("cli");
});
afterEach(async () => {
  for (const server of servers) await server.stop("SIGKILL");
  servers = [];
  await rm(home, { recursive: true, force: true, maxRetries: 3 });
});

async function start(options: Parameters<typeof startServer>[0]): Promise<TestServer> {
  const server = await startServer({ home, ...options });
  servers.push(server);
  return server;
}

async function settings(text: string): Promise<void> {
  await mkdir(join(home, ".config/openwork"), { recursive: true });
  await writeFile(join(home, ".config/openwork/server.json"), text);
}

async function mode(path: string): Promise<string> {
  return ((await stat(join(home, path))).mode & 0o777).toString(8);
}

test("files of the installation that were replaced while the server runs are a 503 that says what to do", async () => {
  const installed = join(home, "installed");
  await cp(join(await buildOnce(), "bin"), join(installed, "bin"), { recursive: true });
  await writeFile(join(installed, "package.json"), '{"type": "module"}');
  const server = await start({ command: [process.execPath, join(installed, "bin/openwork-server.js")] });
  await rm(join(installed, "bin"), { recursive: true });
  const description = await server.request("GET", "/openapi.json");
  expect([description.status, description.json["code"]]).toEqual([503, "restart_required"]);
  expect(description.json["message"]).toContain("Restart it");
  expect((await server.request("GET", "/status")).status).toBe(200);
  expect(server.log()).toContain("ERR_MODULE_NOT_FOUND");
});

describe("texts", () => {
  test("--version prints the version alone", async () => {
    const { version } = JSON.parse(await readFile("package.json", "utf8")) as { version: string };
    expect(await run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
  test.each([["--help"], ["-h"], ["--", "--help"]])("%s prints the flags", async (...args) => {
    const { code, stdout, stderr } = await run(args);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("--workspace PATH");
  });
});

describe("a start that is refused exits with 1 and says why", () => {
  const configured = { env: { OPENWORK_TOKEN: "ct", OPENWORK_HOST_TOKEN: "ht" } };
  const start = (args: string[], env: Record<string, string> = {}) =>
    run(args, { env: { HOME: home, ...configured.env, ...env } });

  test("a port out of range", async () => {
    const { code, stderr } = await start(["--port", "99999"]);
    expect([code, stderr]).toEqual([
      1,
      "openwork-server: --port must be a port from 0 to 65535, got 99999.\n",
    ]);
  });
  test("a port in use, before any file is touched", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => {
      taken.listen(0, "127.0.0.1", resolve);
    });
    const { port } = taken.address() as AddressInfo;
    const { code, stderr, stdout } = await start(["--port", String(port)]);
    taken.close();
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`Port ${port} on 127.0.0.1 is in use`);
    expect(
      await readFile(join(home, ".openwork"), "utf8").catch((error: unknown) => String(error)),
    ).toContain("ENOENT");
  });
  test("an address that is none", async () => {
    const { code, stderr } = await start(["--port", "0", "--host", "203.0.113.7"]);
    expect([code, stderr]).toEqual([
      1,
      "openwork-server: 203.0.113.7 is no address of this machine; choose one with --host.\n",
    ]);
  });
  test("I94: an unknown switch word", async () => {
    const { code, stderr } = await start([], { OPENWORK_READONLY: "maybe" });
    expect([code, stderr]).toEqual([1, expect.stringContaining("OPENWORK_READONLY must be")]);
  });
  test("I23: a settings file that does not parse", async () => {
    await settings('{\n  "readOnly": true\n  "port": 1\n}');
    const { code, stderr } = await start([]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/server\.json is not JSON, line 3, column 3: comma expected/),
    ]);
  });
  test("I23: a settings file of the wrong shape, a directory, and one that is no text", async () => {
    await settings('{"approval": {"timeoutMs": "x"}}');
    expect((await start([])).stderr).toContain('approval.timeoutMs must be a number, got "x"');
    expect((await start(["--config", home])).stderr).toBe(
      `openwork-server: The settings file ${home} cannot be read: it is a directory (EISDIR). Put that right, or name another file with --config.\n`,
    );
    await writeFile(join(home, "latin1.json"), Buffer.from([0x7b, 0xff, 0x7d]));
    expect((await start(["--config", join(home, "latin1.json")])).stderr).toContain("is not UTF-8 text");
  });
  test.each([
    ["a token store that is a directory", "OPENWORK_TOKEN_STORE", "dir", "is a directory."],
    ["a token store below a file", "OPENWORK_TOKEN_STORE", "file/tokens.json", "not a directory."],
    ["a data directory that is a file", "OPENWORK_DATA_DIR", "file", "is not a directory."],
    ["a data directory below a file", "OPENWORK_DATA_DIR", "file/data", "not a directory."],
    ["a data directory that leads to itself", "OPENWORK_DATA_DIR", "loop", "leads nowhere"],
    ["a memory of workspaces that is a directory", "OPENWORK_DATA_DIR", "data", '"workspaces.json" is a'],
  ])("%s: one line with its path and what is wrong", async (_, variable, name, wrong) => {
    await mkdir(join(home, "dir"));
    await mkdir(join(home, "data/workspaces.json"), { recursive: true });
    await writeFile(join(home, "file"), "");
    await symlink(join(home, "loop"), join(home, "loop"));
    const path = join(home, name);
    const { code, stdout, stderr } = await start(["--port", "0"], { [variable]: path });
    const lines = stderr.trimEnd().split("\n");
    expect([code, stdout, lines]).toEqual([1, "", [expect.stringContaining(`${path} cannot be used: `)]]);
    expect(lines[0]).toContain(wrong);
    expect(lines[0]).toContain(`with ${variable}.`);
  });
  test("I22: a damaged token store is named, and not overwritten", async () => {
    const store = join(home, "t.json");
    await writeFile(store, '{"tokens": [}');
    const { code, stderr, stdout } = await start(["--port", "0"], { OPENWORK_TOKEN_STORE: store });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/t\.json/);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(await readFile(store, "utf8")).toBe('{"tokens": [}');
  });
});

describe("a start", () => {
  test("generated tokens are printed, each works, and the workspace is shown", async () => {
    const server = await start({ env: { OPENWORK_TOKEN: "", OPENWORK_HOST_TOKEN: "" } });
    const log = server.log();
    const client = /^Client token: ([0-9a-f-]{36})$/m.exec(log)?.[1] ?? "";
    const host = /^Host token: ([0-9a-f-]{36})$/m.exec(log)?.[1] ?? "";
    expect(log).toMatch(/^Workspaces: 1$/m);
    expect(log).toContain(`  ${server.workspace} (${server.id})`);
    expect((await server.request("GET", "/whoami", { token: client })).status).toBe(200);
    const asHost = { token: null, headers: { "x-openwork-host-token": host } };
    expect((await server.request("GET", "/tokens", asHost)).status).toBe(200);
    expect((await server.request("GET", "/whoami", { token: "" })).status).toBe(401);
  });
  test("I91: port 0 is told as the real one, in the line and in /status", async () => {
    const server = await start({});
    const { json } = await server.request<{ server: { port: number } }>("GET", "/status");
    expect(json.server.port).toBe(Number(new URL(server.url).port));
    expect(json.server.port).toBeGreaterThan(0);
  });
  test("the current directory is served to a person, nothing to a launcher that named nothing", async () => {
    const person = await start({ workspace: null, env: { OPENWORK_TOKEN: "" } });
    expect(person.log()).toContain(`  ${home} (ws_`);
    const launcher = await start({ workspace: null });
    expect(launcher.log()).toContain("No workspace is configured");
    expect((await launcher.request<{ items: unknown[] }>("GET", "/workspaces")).json.items).toEqual([]);
  });
  test("I92: unknown flags are told with the nearest name and harm nothing", async () => {
    const server = await start({
      flags: ["--log-request", "--opencode-bin", "/x", "--log-format=pretty", "stray"],
    });
    expect(server.log()).toContain("Unknown flag --log-request is ignored; did you mean --log-requests?");
    expect(server.log()).toContain("Unknown flag --opencode-bin is ignored");
    expect((await server.request("GET", "/health")).status).toBe(200);
  });
  test("a key of the settings file that looks mistyped is told, and hinders nothing", async () => {
    await settings('{ "readonly": true }');
    const server = await start({});
    expect(server.log()).toContain('server.json: the key "readonly" is ignored; did you mean "readOnly"?');
    expect(server.log()).not.toContain("data directory");
    expect((await server.request("GET", "/health")).status).toBe(200);
  });
  test("whether a data directory can be written is found out by trying", async () => {
    await writeFile(join(home, "file"), "");
    expect([canWriteTo(home), canWriteTo(join(home, "new/deep")), canWriteTo(join(home, "file"))]).toEqual([
      true,
      true,
      false,
    ]);
  });
  test("a data directory where none can be made is told at start, and a write that needs it is answered", async () => {
    const dataDir = "/proc/openwork/data";
    const server = await start({ env: { OPENWORK_DATA_DIR: dataDir } });
    expect(server.log()).toContain(`The data directory ${dataDir} cannot be written`);
    const { status, json } = await server.request("POST", "~/skills", {
      json: { name: "one", content: "---\nname: one\ndescription: one\n---\n" },
    });
    expect([status >= 400, json["code"]]).toEqual([true, expect.stringMatching(/^storage_(failed|denied)$/)]);
    expect((await server.request("GET", "/health", { token: null })).status).toBe(200);
  });
  test("a workspace that cannot be served as it is is told by its path", async () => {
    await writeFile(join(home, "a-file"), "");
    const flags = ["missing", "a-file", "a-file/below"].flatMap((name) => ["--workspace", join(home, name)]);
    const server = await start({ flags });
    const log = server.log();
    expect(log).toContain(`Workspace ${join(home, "missing")} is not there: it reads as empty`);
    expect(log).toContain(`Workspace ${join(home, "a-file")} is a file, not a directory: its endpoints`);
    expect(log).toContain(`Workspace ${join(home, "a-file/below")} cannot be reached (ENOTDIR)`);
    expect(log.match(/: Workspace /g)).toHaveLength(3);
    const { json } = await server.request<{ items: Json[] }>("GET", "/workspaces");
    const problems = json.items.map(({ path, problem }) => [path, (problem as Json | undefined)?.["code"]]);
    expect(problems).toEqual([
      [server.workspace, undefined],
      [join(home, "missing"), undefined],
      [join(home, "a-file"), "invalid_path"],
      [join(home, "a-file/below"), "invalid_path"],
    ]);
    const id = String(json.items[2]?.["id"]);
    const told = {
      status: 400,
      json: { code: "invalid_path", message: expect.stringContaining(`"${join(home, "a-file")}" is not a`) },
    };
    expect(json.items[2]?.["problem"]).toMatchObject(told.json);
    expect(await server.request("GET", `/workspace/${id}/config`)).toMatchObject(told);
    const spec = { json: { spec: "one" } };
    expect(await server.request("POST", `/workspace/${id}/plugins`, spec)).toMatchObject(told);
    expect(await server.request("GET", `/workspace/${id}/files/raw?path=a.txt`)).toMatchObject(told);
  });
  test("I95: a link to the workspace is not a second one", async () => {
    const real = await freshDirectory("real");
    const link = join(home, "link");
    await symlink(real, link);
    const server = await start({ workspace: real, flags: ["--workspace", link] });
    expect((await server.request<{ items: unknown[] }>("GET", "/workspaces")).json.items).toHaveLength(1);
    expect(server.log()).toContain("is the same directory as");
    await rm(real, { recursive: true });
  });
  test("I97: start and request lines are JSON records of one run", async () => {
    const server = await start({ flags: ["--log-format", "json"], env: { OPENWORK_RUN_ID: "" } });
    await server.request("GET", "/whoami");
    await server.stop();
    const records = server
      .log()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { body: string; attributes: Record<string, unknown> });
    expect(records.map((record) => record.body).join("\n")).toMatch(/listening on[^]*GET \/whoami 200 \d+ms/);
    const runs = new Set(records.map((record) => record.attributes["run.id"]));
    expect([...runs]).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/)]);
  });
  test("--verbose prints the settings, not the secrets", async () => {
    const server = await start({ flags: ["--verbose", "--read-only"] });
    expect(server.log()).toMatch(
      /^Config path: .*server\.json\nRead-only: true\nApproval: auto \(30000ms\)$/m,
    );
    expect(server.log()).not.toContain("of-the-tests");
  });
  test("I14: token store, audit and data directory are closed to others", async () => {
    const server = await start({});
    await server.request("POST", "/tokens", { token: null, host: true, json: { scope: "viewer" } });
    expect(await mode(".config/openwork/tokens.json")).toBe("600");
    expect(await mode(".config/openwork")).toBe("700");
    expect(await mode(".openwork/openwork-server")).toBe("700");
  });
  test("the reader of its output may go away", async () => {
    const command = join(await buildOnce(), "adapters/cli.js");
    const shell = spawn("/bin/sh", ["-c", `"${process.execPath}" "${command}" --port 0 | head -n 1`], {
      env: { PATH: process.env["PATH"] ?? "", HOME: home, OPENWORK_TOKEN: "ct", OPENWORK_HOST_TOKEN: "ht" },
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const line = await new Promise<string>((resolve) => {
      shell.stdout.setEncoding("utf8").once("data", resolve);
    });
    const url = /http:\S+/.exec(line)?.[0] ?? "";
    try {
      for (let i = 0; i < 3; i += 1) {
        expect((await fetch(`${url}/health`)).status).toBe(200);
        // The write that fails comes with the next turn of the server's event loop.
        await new Promise((resolve) => {
          setTimeout(resolve, 50);
        });
      }
    } finally {
      process.kill(-(shell.pid ?? 0), "SIGKILL");
    }
  });
});
