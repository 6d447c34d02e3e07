import { execFileSync } from "node:child_process";
import { mkdir, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Handler } from "../../handlers/index.ts";
import type { ServerConfig } from "../../lib/host.ts";
import { type Client, configOf, startMemoryServer, workspaceAt } from "../support/memory-host.ts";
import { freshDirectory } from "../support/server.ts";
import { processorTime } from "../support/processor-time.ts";

const asHost = { host: true, token: null } as const;
const canary = "outside-canary";
let root = "";
let outside = "";
let client: Client;
let handler: Handler;
let base = "";

async function serve(extra: Partial<ServerConfig> = {}): Promise<void> {
  const config = configOf({ workspaces: [workspaceAt(root)], ...extra });
  const server = await startMemoryServer(config, { storage: () => createDiskStorage(root) });
  ({ client, handler } = server);
  base = `/workspace/${server.workspace}`;
}

async function put(path: string, text: string, dir = root): Promise<void> {
  await mkdir(join(dir, path, ".."), { recursive: true });
  await writeFile(join(dir, path), text);
}

const skill = (name: string, body = ""): string => `---\nname: ${name}\ndescription: d\n---\n${body}`;

/** Everything in a directory, so that a touch of it shows. */
async function snapshot(dir: string): Promise<string> {
  const names = await readdir(dir, { recursive: true, withFileTypes: true });
  const parts = names.map(async (entry) => {
    const path = join(entry.parentPath, entry.name);
    return `${path} ${entry.isFile() ? await readFile(path, "utf8") : "-"}`;
  });
  return (await Promise.all(parts)).toSorted().join("\n");
}

beforeEach(async () => {
  root = await freshDirectory("attack");
  outside = `${root}-evil`;
  await mkdir(outside);
});

afterEach(async () => {
  await handler?.close();
  await rm(root, { recursive: true, force: true });
  await rm(outside, { recursive: true, force: true });
});

/** Every request of these areas, those that read and those that write. */
async function everything(): Promise<{ path: string; status: number; text: string }[]> {
  const json = {
    mode: { opencode: "replace", openwork: "replace", skills: "replace", commands: "replace" },
    opencode: { a: 1 },
    openwork: { b: 1 },
    skills: [{ name: "x", description: "d", content: "c" }],
    commands: [{ name: "x", template: "t" }],
  };
  const requests: [string, string, unknown?][] = [
    ...["config", "plugins", "skills", "skills/x", "mcp", "commands", "export", "events", "audit"].map(
      (path): [string, string] => ["GET", path],
    ),
    ["PATCH", "config", { opencode: { a: 2 }, openwork: { b: 2 } }],
    ["POST", "plugins", { spec: "p" }],
    ["DELETE", "plugins/p"],
    ["POST", "mcp", { name: "x", config: { type: "remote", url: "http://x" } }],
    ["DELETE", "mcp/x"],
    ["POST", "skills", { name: "x", description: "d", content: "c" }],
    ["POST", "commands", { name: "x", template: "t" }],
    ["POST", "import", json],
    ["DELETE", "skills/x"],
    ["DELETE", "commands/x"],
  ];
  const answers = [];
  for (const [method, path, body] of requests) {
    const answer = await client.send(method, `${base}/${path}`, body === undefined ? {} : { json: body });
    answers.push({ path: `${method} ${path}`, status: answer.status, text: answer.text });
  }
  return answers;
}

describe("I01, CVE-2025-53109: links out of the workspace", () => {
  const links: [string, string][] = [
    [".opencode", ""],
    [".opencode/skills", "skills"],
    [".opencode/skills/x", "skills/x"],
    [".opencode/skills/x/SKILL.md", "skills/x/SKILL.md"],
    [".opencode/commands", "commands"],
    [".opencode/commands/x.md", "commands/x.md"],
    [".opencode/plugins", "plugins"],
    [".opencode/openwork.json", "openwork.json"],
    [".claude", ""],
    ["opencode.jsonc", "opencode.jsonc"],
    ["opencode.json", "opencode.jsonc"],
  ];

  it.each(links)("%s leading to a sibling directory is neither read nor written", async (name, target) => {
    await put("skills/x/SKILL.md", skill("x", canary), outside);
    await put("commands/x.md", canary, outside);
    await put("plugins/p.js", canary, outside);
    await put("openwork.json", `{"s":"${canary}"}`, outside);
    await put("opencode.jsonc", `{"s":"${canary}","mcp":{"x":{"type":"remote","url":"${canary}"}}}`, outside);
    await mkdir(join(root, name, ".."), { recursive: true });
    await symlink(join(outside, target), join(root, name));
    const before = await snapshot(outside);
    await serve();
    for (const { path, status, text } of await everything()) {
      expect({ path, found: text.includes(canary) }).toEqual({ path, found: false });
      expect({ path, ok: status < 500 }).toEqual({ path, ok: true });
    }
    expect(await snapshot(outside)).toBe(before);
  });

  it("what the storage refused to look at is looked at again once it is put right", async () => {
    await put("commands/x.md", canary, outside);
    await mkdir(join(root, ".opencode"));
    await symlink(join(outside, "commands"), join(root, ".opencode/commands"));
    await serve();
    await client.get(`${base}/commands`);
    // From here on the watch stands, and what is kept is kept until a report says otherwise.
    await new Promise((resolve) => void setTimeout(resolve, 300));
    expect((await client.get(`${base}/commands`)).json.items).toEqual([]);
    await rm(join(root, ".opencode/commands"));
    const own = await client.post(`${base}/commands`, { name: "mine", template: "t" });
    expect(own.json.items).toMatchObject([{ name: "mine" }]);
    await mkdir(join(root, ".opencode/skills/x"), { recursive: true });
    await symlink(join(outside, "nowhere"), join(root, ".opencode/skills/x/SKILL.md"));
    expect((await client.get(`${base}/skills`)).json.problems).toHaveLength(1);
    await rm(join(root, ".opencode/skills/x/SKILL.md"));
    await put(".opencode/skills/x/SKILL.md", skill("x"));
    await expect
      .poll(async () => (await client.get(`${base}/skills`)).json, { timeout: 2000 })
      .toMatchObject({ items: [{ name: "x" }] });
  });
});

describe("I13: links that stay inside, and modes", () => {
  it("are written through, keeping mode and link; a host is shown where the bytes land (I32)", async () => {
    await put("deploy.sh", "#!/bin/sh\n");
    execFileSync("chmod", ["750", join(root, "deploy.sh")]);
    await mkdir(join(root, ".opencode/commands"), { recursive: true });
    await symlink("../../deploy.sh", join(root, ".opencode/commands/go.md"));
    await serve({ approval: { mode: "manual", timeoutMs: 10_000 } });
    const write = client.post(`${base}/commands`, { name: "go", template: "ship it" });
    const [request] = (await client.get("/approvals?wait=5", asHost)).json.items;
    expect(request.paths).toEqual([join(root, ".opencode/commands/go.md"), join(root, "deploy.sh")]);
    expect(request.diff).toContain("-#!/bin/sh");
    await client.post(`/approvals/${request.id}`, { reply: "allow" }, asHost);
    expect((await write).status).toBe(200);
    expect(await readFile(join(root, "deploy.sh"), "utf8")).toContain("ship it");
    expect(((await stat(join(root, "deploy.sh"))).mode & 0o777).toString(8)).toBe("750");
    expect(
      (await readdir(join(root, ".opencode/commands"), { withFileTypes: true }))[0]?.isSymbolicLink(),
    ).toBe(true);
  });

  it("a new file below a linked directory is shown at its real place (I32)", async () => {
    await mkdir(join(root, "scripts"));
    await mkdir(join(root, ".opencode"));
    await symlink("../scripts", join(root, ".opencode/commands"));
    await serve({ approval: { mode: "manual", timeoutMs: 10_000 } });
    const write = client.post(`${base}/commands`, { name: "go", template: "t" });
    const [request] = (await client.get("/approvals?wait=5", asHost)).json.items;
    expect(request.paths).toContain(join(root, "scripts/go.md"));
    await client.post(`/approvals/${request.id}`, { reply: "deny" }, asHost);
    expect((await write).status).toBe(403);
  });

  it.each([
    ["opencode.jsonc", "PATCH", "config", { opencode: { a: 1 } }],
    [".opencode/openwork.json", "PATCH", "config", { openwork: { a: 1 } }],
    [".opencode/commands/x.md", "POST", "commands", { name: "x", template: "new" }],
    [".opencode/skills/x/SKILL.md", "POST", "skills", { name: "x", description: "d", content: "new" }],
  ])("a %s of mode 0600 keeps it", async (path, method, endpoint, json) => {
    await put(path, "{}");
    execFileSync("chmod", ["600", join(root, path)]);
    await serve();
    expect((await client.send(method, `${base}/${endpoint}`, { json })).status).toBe(200);
    expect(((await stat(join(root, path))).mode & 0o777).toString(8)).toBe("600");
    expect(await readFile(join(root, path), "utf8")).not.toBe("{}");
  });
});

describe("FIFO, device, directory where a file is expected", () => {
  const places = [
    "opencode.jsonc",
    ".opencode/openwork.json",
    ".opencode/skills/x/SKILL.md",
    ".opencode/commands/x.md",
    ".opencode/plugins/p.js",
  ];
  const kinds: [string, (path: string) => void][] = [
    ["FIFO", (path) => void execFileSync("mkfifo", [path])],
    ["directory", (path) => void execFileSync("mkdir", [path])],
    ["link to itself", (path) => void execFileSync("ln", ["-s", path, path])],
    ["link to /dev/zero", (path) => void execFileSync("ln", ["-s", "/dev/zero", path])],
  ];
  const cases = places.flatMap((place) => kinds.map(([kind, make]) => [place, kind, make] as const));

  it.each(cases)(
    "a %s that is a %s: every request is answered at once, reads with 200, 404 or 422",
    async (place, _kind, make) => {
      await mkdir(join(root, place, ".."), { recursive: true });
      make(join(root, place));
      await serve();
      const started = performance.now();
      for (const { path, status } of await everything()) {
        const isRead = path.startsWith("GET");
        expect({ path, status: isRead && ![200, 404, 422].includes(status) ? status : 0 }).toEqual({
          path,
          status: 0,
        });
        expect({ path, ok: status < 500 }).toEqual({ path, ok: true });
      }
      // One that waits for the other end of a FIFO waits for ever.
      expect(performance.now() - started).toBeLessThan(30_000);
    },
  );
});

describe("names that are nearly equal", () => {
  it("NFC and NFD twins, and names of another case, are listed each and never mixed up", async () => {
    await put(".opencode/plugins/caf\u00e9.js", "1");
    await put(".opencode/plugins/cafe\u0301.js", "2");
    await put(".opencode/commands/Go.md", "upper");
    await put(".opencode/commands/go.md", "lower");
    await put(".opencode/commands/evil name.md", "x");
    await put(".opencode/commands/__proto__.md", "p");
    await serve();
    expect((await client.get(`${base}/plugins`)).json.items).toHaveLength(2);
    const { items } = (await client.get(`${base}/commands`)).json;
    expect(items.map((item: { name: string }) => item.name)).toEqual(["Go", "__proto__", "go"]);
    await client.delete(`${base}/commands/go`);
    expect(await readFile(join(root, ".opencode/commands/Go.md"), "utf8")).toBe("upper");
    await client.delete(`${base}/commands/__proto__`);
    expect((await client.get(`${base}/commands`)).json.items).toHaveLength(1);
  });

  it("thousands of commands and skills are listed, quickly the second time", async () => {
    await mkdir(join(root, ".opencode/commands"), { recursive: true });
    for (let i = 0; i < 2000; i += 1) await writeFile(join(root, `.opencode/commands/c${i}.md`), "t");
    for (let i = 0; i < 500; i += 1) await put(`.opencode/skills/s${i}/SKILL.md`, skill(`s${i}`));
    await serve();
    expect((await client.get(`${base}/commands`)).json.items).toHaveLength(2000);
    expect((await client.get(`${base}/skills`)).json.items).toHaveLength(500);
    const started = processorTime();
    await client.get(`${base}/commands`);
    await client.get(`${base}/skills`);
    expect(processorTime() - started).toBeLessThan(500);
  });
});
