import { lstat, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { StorageError, type Change, type Storage } from "../../lib/storage.ts";
import {
  Client,
  configOf,
  memoryHost,
  put,
  startMemoryServer,
  textOf,
  workspaceAt,
} from "../support/memory-host.ts";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";

const asHost = { host: true, token: null } as const;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

const command = (name: string): unknown => ({ name, template: "t" });

function refuse(): never {
  throw new StorageError("no_space", "The disk is full.");
}

/** A memory storage whose disk fills up when told so. */
function fillable(): { storage: Storage; full: { commits: boolean; appends: boolean } } {
  const storage = createMemoryStorage();
  const full = { commits: false, appends: false };
  const commit = storage.commit.bind(storage);
  const append = storage.append.bind(storage);
  storage.commit = async (changes: readonly Change[]) => (full.commits ? refuse() : commit(changes));
  storage.append = async (path: string, lines: readonly string[]) =>
    full.appends ? refuse() : append(path, lines);
  return { storage, full };
}

describe("stores that are links, as dotfile managers make them", () => {
  it("are read and written where they are, and stay links", async () => {
    const home = await freshDirectory("dotfiles");
    const dotfiles = join(home, "dotfiles");
    const config = join(home, ".config/openwork");
    await mkdir(dotfiles);
    await mkdir(config, { recursive: true });
    const second = await freshDirectory("second");
    const settings = JSON.stringify({ workspaces: [{ path: second }], keep: true });
    await writeFile(join(dotfiles, "server.json"), settings);
    await writeFile(join(dotfiles, "tokens.json"), '{"schemaVersion":1,"tokens":[]}');
    for (const name of ["server.json", "tokens.json"])
      await symlink(join(dotfiles, name), join(config, name));
    const server = await startServer({ home, workspace: null });
    try {
      const { items } = (await server.request<{ items: { id: string }[] }>("GET", "/workspaces")).json;
      const issued = await server.request("POST", "/tokens", {
        host: true,
        token: null,
        json: { scope: "viewer" },
      });
      expect(issued.status).toBe(201);
      const path = `/workspaces/${items[0]?.id}`;
      const deleted = await server.request("DELETE", path, { host: true, token: null });
      expect(deleted).toMatchObject({ status: 200, json: { persisted: true } });
      expect(JSON.parse(await readFile(join(dotfiles, "tokens.json"), "utf8")).tokens).toHaveLength(1);
      expect(JSON.parse(await readFile(join(dotfiles, "server.json"), "utf8"))).toEqual({
        workspaces: [],
        keep: true,
      });
      for (const name of ["server.json", "tokens.json"]) {
        expect((await lstat(join(config, name))).isSymbolicLink()).toBe(true);
      }
    } finally {
      await server.stop();
    }
  });
});

describe("a data directory that is full", () => {
  it("I12: a write that was made but not recorded says both; a denial stays a denial", async () => {
    const { storage: data, full } = fillable();
    const config = configOf({ approval: { mode: "manual", timeoutMs: 5000 } });
    const { client, workspace, storage, host, handler } = await startMemoryServer(config, { data });
    full.appends = true;
    const path = `/workspace/${workspace}/plugins`;
    for (const reply of ["deny", "allow"]) {
      const write = client.post(path, { spec: "one" });
      const [request] = (await client.get("/approvals?wait=5", asHost)).json.items;
      await client.post(`/approvals/${request.id}`, { reply }, asHost);
      const answer = await write;
      const expected =
        reply === "deny"
          ? { status: 403, json: { code: "write_denied" } }
          : {
              status: 507,
              json: { message: expect.stringContaining("was made, but could not be recorded") },
            };
      expect(answer).toMatchObject(expected);
    }
    expect(await textOf(storage, "opencode.jsonc")).toContain("one");
    expect(host.logged.some(({ level, body }) => level === "ERROR" && body.includes("denied"))).toBe(true);
    await handler.close();
  });

  it("I21: a token that could not be recorded is not left behind, unknown to all", async () => {
    const { storage: data, full } = fillable();
    const { client } = await startMemoryServer(configOf(), { data });
    full.appends = true;
    expect((await client.post("/tokens", { scope: "owner" }, asHost)).status).toBe(507);
    expect((await client.get("/tokens", asHost)).json.items).toEqual([]);
  });

  it("I96: a deletion or activation that cannot be remembered does not happen", async () => {
    const { storage: data, full } = fillable();
    const config = configOf({ workspaces: [workspaceAt("/a"), workspaceAt("/b")] });
    const [a, b] = config.workspaces.map((workspace) => workspace.id);
    const { client } = await startMemoryServer(config, { data });
    full.commits = true;
    expect((await client.delete(`/workspaces/${a}`, asHost)).status).toBe(507);
    expect((await client.post(`/workspaces/${b}/activate`, undefined, asHost)).status).toBe(507);
    expect((await client.get("/workspaces")).json).toMatchObject({
      activeId: a,
      items: [{ id: a }, { id: b }],
    });
    full.commits = false;
    expect((await client.delete(`/workspaces/${a}`, asHost)).json.activeId).toBe(b);
  });
});

describe("I96: the remembered workspaces", () => {
  const paths = Array.from({ length: 8 }, (_, i) => `/w${i}`);
  const config = configOf({ workspaces: paths.map((path) => workspaceAt(path)) });
  const ids = config.workspaces.map((workspace) => workspace.id);

  async function listed(data: Storage, which = config): Promise<string[]> {
    const client = new Client(await createHandler(memoryHost(which, { data })));
    return (await client.get("/workspaces")).json.items.map((item: { id: string }) => item.id);
  }

  it("hold all deletions made at once, and none is deleted twice", async () => {
    const { client, host } = await startMemoryServer(config);
    const gone = ids.slice(0, 6);
    const answers = await Promise.all([
      ...gone.map((id) => client.delete(`/workspaces/${id}`, asHost)),
      ...gone.map((id) => client.delete(`/workspaces/${id}`, asHost)),
    ]);
    const late = await client.post(`/workspaces/${gone[0]}/activate`, undefined, asHost);
    expect(late.status).toBe(404);
    const statuses = answers.map((answer) => answer.status).toSorted();
    expect(statuses.slice(0, 6)).toEqual([200, 200, 200, 200, 200, 200]);
    expect(statuses.slice(6)).toEqual(statuses.slice(6).map(() => 404));
    expect((await client.get("/workspaces")).json.items).toHaveLength(2);
    expect(await listed(host.data)).toEqual(ids.slice(6));
  });

  it("of one server outlive what another with the same data directory remembers", async () => {
    const data = createMemoryStorage();
    const mine = await startMemoryServer(config, { data });
    const other = configOf({ workspaces: [workspaceAt("/x"), workspaceAt("/y")] });
    const theirs = await startMemoryServer(other, { data });
    const [x = "", y = ""] = other.workspaces.map((workspace) => workspace.id);
    await Promise.all([
      mine.client.delete(`/workspaces/${ids[0]}`, asHost),
      theirs.client.post(`/workspaces/${y}/activate`, undefined, asHost),
    ]);
    expect(await listed(data)).toEqual(ids.slice(1));
    expect(await listed(data, other)).toEqual([y, x]);
  });

  it.each(["not json", "[]", '{"servers":5}', '{"servers":[null,5,{"configured":"x"}]}', "\u0000"])(
    "that are damaged (%j) do not keep a server from starting",
    async (text) => {
      const data = createMemoryStorage();
      await put(data, "workspaces.json", text);
      expect(await listed(data)).toEqual(ids);
    },
  );
});

describe("I98: workspace events over restarts and beside a watch", () => {
  let root = "";
  const handlers: Handler[] = [];
  beforeEach(async () => void (root = await freshDirectory("lasting")));
  afterEach(async () => {
    for (const handler of handlers.splice(0)) await handler.close();
    await rm(root, { recursive: true, force: true });
  });

  async function start(
    data: Storage,
    watch = true,
  ): Promise<{ client: Client; path: string; logged: { body: string }[] }> {
    const config = configOf({ workspaces: [workspaceAt(root)] });
    const storage = createDiskStorage(root, { watch });
    const server = await startMemoryServer(config, { data, storage: () => storage });
    handlers.push(server.handler);
    return { client: server.client, path: `/workspace/${server.workspace}`, logged: server.host.logged };
  }

  it("a cursor from before a restart is told to start over, also when there are as many new events", async () => {
    const data = createMemoryStorage();
    const first = await start(data);
    expect((await first.client.get(`${first.path}/events`)).json).toMatchObject({ items: [], cursor: 0 });
    for (const name of ["a", "b", "c"]) await first.client.post(`${first.path}/commands`, command(name));
    await expect.poll(async () => (await first.client.get(`${first.path}/events`)).json.cursor).toBe(3);
    const second = await start(data);
    for (const name of ["d", "e", "f", "g"])
      await second.client.post(`${second.path}/commands`, command(name));
    const page = (await second.client.get(`${second.path}/events?since=3`)).json;
    expect(page).toMatchObject({ items: [], reset: true });
    await second.client.post(`${second.path}/commands`, command("h"));
    const next = (await second.client.get(`${second.path}/events?wait=5&since=${page.cursor}`)).json;
    expect(next.items.flatMap((item: { paths: string[] }) => item.paths)).toContain(
      ".opencode/commands/h.md",
    );
  });

  it("nothing is missed between the first answer and the moment at which the watch stands", async () => {
    for (let i = 0; i < 60; i += 1) {
      for (let j = 0; j < 25; j += 1) await mkdir(join(root, `d${i}/e${j}`), { recursive: true });
    }
    await mkdir(join(root, ".opencode/commands"), { recursive: true });
    const { client, path } = await start(createMemoryStorage());
    await client.get(`${path}/events`);
    for (let i = 0; i < 20; i += 1) {
      await writeFile(join(root, `.opencode/commands/g${i}.md`), "t");
      await sleep(5);
    }
    const told = async (): Promise<number> => {
      const { items } = (await client.get(`${path}/events`)).json;
      return new Set(items.flatMap((item: { paths: string[] }) => item.paths)).size;
    };
    await expect.poll(told, { timeout: 5000 }).toBe(20);
  });

  it("without a watch a reader is told all the same", async () => {
    const { client, path } = await start(createMemoryStorage(), false);
    const { cursor } = (await client.get(`${path}/events`)).json;
    const poll = client.get(`${path}/events?wait=5&since=${cursor}`);
    await sleep(100);
    await mkdir(join(root, ".opencode/agents"), { recursive: true });
    await writeFile(join(root, ".opencode/agents/a.md"), "a");
    expect((await poll).json.items).toMatchObject([{ reason: "agents", paths: [".opencode/agents/a.md"] }]);
  });

  it("a watch that cannot be had is one warning, whatever the number of requests", async () => {
    const { client, path, logged } = await start(createMemoryStorage(), false);
    for (let i = 0; i < 20; i += 1) {
      await client.get(`${path}/config`);
      await sleep(5);
    }
    expect(logged.filter(({ body }) => body.startsWith("Cannot watch"))).toHaveLength(1);
  });
});

async function count(server: TestServer, path: string): Promise<number> {
  return (await server.request<{ items: unknown[] }>("GET", path)).json.items.length;
}

describe("I22, I34: two real servers", () => {
  it("on one workspace and data directory see each other's writes, and share one audit log", async () => {
    const home = await freshDirectory("two");
    const workspace = await freshDirectory("two-ws");
    const servers = await Promise.all([startServer({ home, workspace }), startServer({ home, workspace })]);
    const [one, two] = servers;
    const hosts = { token: null, host: true } as const;
    const several = Array.from({ length: 20 }, (_, i) => i);
    const answers = await Promise.all(
      several.flatMap((i) => [
        one.request("POST", "~/plugins", { json: { spec: `p${i}` } }),
        two.request("POST", "~/commands", { json: { name: `c${i}`, template: "t" } }),
      ]),
    );
    expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200));
    for (const server of servers) {
      await expect.poll(() => count(server, "~/plugins")).toBe(20);
      await expect.poll(() => count(server, "~/commands")).toBe(20);
      expect(await count(server, "~/audit?limit=200")).toBe(40);
    }
    const made = await one.request<{ id: string; token: string }>("POST", "/tokens", {
      ...hosts,
      json: { scope: "viewer" },
    });
    const known = async (): Promise<number> =>
      (await two.request("GET", "/whoami", { token: made.json.token })).status;
    await expect.poll(known).toBe(200);
    await one.request("DELETE", `/tokens/${made.json.id}`, hosts);
    await expect.poll(known).toBe(401);
    for (const server of servers) await server.stop();
    for (const dir of [home, workspace]) await rm(dir, { recursive: true, force: true });
  });

  it("lose no plugin of those added at once through both", async () => {
    const home = await freshDirectory("both");
    const workspace = await freshDirectory("both-ws");
    const servers = await Promise.all([startServer({ home, workspace }), startServer({ home, workspace })]);
    const several = Array.from({ length: 25 }, (_, i) => i);
    const answers = await Promise.all(
      several.flatMap((i) =>
        servers.map((server, which) =>
          server.request("POST", "~/plugins", { json: { spec: `p${which}-${i}` } }),
        ),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200));
    for (const server of servers) await expect.poll(() => count(server, "~/plugins")).toBe(50);
    for (const server of servers) await server.stop();
    for (const dir of [home, workspace]) await rm(dir, { recursive: true, force: true });
  });
});
