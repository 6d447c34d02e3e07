import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { createHandler } from "../../handlers/index.ts";
import type { ServerConfig } from "../../lib/host.ts";
import type { Storage } from "../../lib/storage.ts";
import {
  Client,
  configOf,
  memoryHost,
  put,
  startMemoryServer,
  textOf,
  workspaceAt,
} from "../support/memory-host.ts";

const asHost = { host: true, token: null } as const;
const two = (extra: Partial<ServerConfig> = {}): ServerConfig =>
  configOf({ workspaces: [workspaceAt("/a"), workspaceAt("/b")], ...extra });

async function ids(client: Client): Promise<string[]> {
  return (await client.get("/workspaces")).json.items.map((item: { id: string }) => item.id);
}

describe("the workspace list", () => {
  it("I96: activation and deletion are remembered over a restart with the same workspaces", async () => {
    const config = two();
    const [a, b] = config.workspaces.map((workspace) => workspace.id);
    const { client, host } = await startMemoryServer(config);
    expect((await client.post(`/workspaces/${b}/activate`, undefined, asHost)).json).toMatchObject({
      activeId: b,
    });
    expect(await ids(client)).toEqual([b, a]);
    const restarted = new Client(await createHandler(memoryHost(config, { data: host.data })));
    expect(await ids(restarted)).toEqual([b, a]);
    expect((await restarted.delete(`/workspaces/${b}`, asHost)).json).toMatchObject({
      deleted: true,
      persisted: false,
      activeId: a,
    });
    const again = new Client(await createHandler(memoryHost(config, { data: host.data })));
    expect(await ids(again)).toEqual([a]);
    expect((await again.get(`/workspace/${b}/config`)).json.code).toBe("workspace_not_found");
    const other = configOf({ workspaces: [...config.workspaces, workspaceAt("/c")] });
    const changed = new Client(await createHandler(memoryHost(other, { data: host.data })));
    expect(await ids(changed)).toHaveLength(3);
  });

  it("I96: the active workspace is remembered when the settings file loses another one", async () => {
    const config = configOf({ workspaces: [workspaceAt("/a"), workspaceAt("/b"), workspaceAt("/c")] });
    const [a, b, c] = config.workspaces.map((workspace) => workspace.id);
    const { client, host } = await startMemoryServer(config);
    const file = { workspaces: config.workspaces.map(({ path }) => ({ path })) };
    await put(host.settings.storage, "server.json", JSON.stringify(file));
    await client.post(`/workspaces/${c}/activate`, undefined, asHost);
    expect((await client.delete(`/workspaces/${b}`, asHost)).json).toMatchObject({
      persisted: true,
      activeId: c,
    });
    const rest = configOf({ workspaces: [workspaceAt("/a"), workspaceAt("/c")] });
    const restarted = new Client(await createHandler(memoryHost(rest, { data: host.data })));
    expect(await ids(restarted)).toEqual([c, a]);
  });

  it("I10: deleting the last authorised workspace authorises nothing else", async () => {
    const config = two({ authorizedRoots: ["/a"] });
    const [a, b] = config.workspaces.map((workspace) => workspace.id);
    const { client } = await startMemoryServer(config);
    expect((await client.get(`/workspace/${b}/config`)).json.code).toBe("workspace_unauthorized");
    await client.delete(`/workspaces/${a}`, asHost);
    expect((await client.get("/status")).json.authorizedRoots).toEqual([]);
    expect((await client.get(`/workspace/${b}/config`)).json.code).toBe("workspace_unauthorized");
  });

  it("a sibling with the same beginning is not inside a root", async () => {
    const config = configOf({ workspaces: [workspaceAt("/root-evil")], authorizedRoots: ["/root"] });
    const { client, workspace } = await startMemoryServer(config);
    expect((await client.get(`/workspace/${workspace}/config`)).json.code).toBe("workspace_unauthorized");
  });

  it("deleting keeps every other key and comment of server.json", async () => {
    const config = two();
    const [a] = config.workspaces.map((workspace) => workspace.id);
    const { client, host } = await startMemoryServer(config);
    const text = `{
  // who may come in
  "corsOrigins": ["*"],
  "workspaces": [
    { "path": "/a" },
    { "path": "/b", "name": "B" } // stays
  ],
  "authorizedRoots": ["/a", "", 5, "/b"],
}
`;
    await put(host.settings.storage, "server.json", text);
    expect((await client.delete(`/workspaces/${a}`, asHost)).json.persisted).toBe(true);
    const after = (await textOf(host.settings.storage, "server.json")) ?? "";
    expect(after).toContain("// who may come in");
    expect(after).toContain("// stays");
    expect(after).not.toContain('"/a"');
    expect(after).toMatch(/"authorizedRoots": \[\s*"\/b"\s*\]/);
  });

  it.each([
    [
      "plain JSON",
      '{"keep":{"x":1},"workspaces":[{"path":"/a"},{"name":"?"},{"path":"/b"}],"authorizedRoots":["/b"]}',
      `{
  "keep": {
    "x": 1
  },
  "workspaces": [
    {
      "path": "/a"
    },
    {
      "name": "?"
    }
  ],
  "authorizedRoots": []
}
`,
    ],
    [
      "JSON with comments",
      '{ // mine\n  "workspaces": [{"path":"/a"}, {"path":"/b"}],\n  "authorizedRoots": ["/", "/b"], // roots\n}\n',
      '{ // mine\n  "workspaces": [{"path":"/a"}],\n  "authorizedRoots": ["/"], // roots\n}\n',
    ],
  ])("deleting the last of a list in %s leaves a file that can be read", async (_, text, expected) => {
    const config = two({ authorizedRoots: ["/"] });
    const b = config.workspaces[1]?.id;
    const { client, host } = await startMemoryServer(config);
    await put(host.settings.storage, "server.json", text);
    expect((await client.delete(`/workspaces/${b}`, asHost)).json.persisted).toBe(true);
    expect(await textOf(host.settings.storage, "server.json")).toBe(expected);
  });
});

/** A workspace over a storage that starts its watches as told, and what was logged. */
async function served(watch: Storage["watch"]): Promise<{
  client: Client;
  workspace: string;
  storage: Storage;
  warnings: () => string[];
}> {
  const storage = createMemoryStorage();
  const failing = Object.assign(Object.create(storage) as Storage, { watch });
  const reading: (keyof Storage)[] = ["stat", "list", "walk", "readFile", "read", "commit", "recover"];
  for (const name of reading) Object.assign(failing, { [name]: (storage[name] as () => void).bind(storage) });
  const { client, workspace, host } = await startMemoryServer(configOf(), { storage: () => failing });
  const warnings = (): string[] =>
    host.logged.filter(({ body }) => body.startsWith("Cannot watch")).map(({ body }) => body);
  return { client, workspace, storage, warnings };
}

describe("a storage whose watch fails", () => {
  it("is served by looking at each request, and the host is told", async () => {
    const { client, workspace, storage, warnings } = await served(() =>
      Promise.reject(new Error("no watches")),
    );
    const plugins = `/workspace/${workspace}/plugins`;
    expect((await client.get(plugins)).json.items).toEqual([]);
    await expect.poll(warnings).toHaveLength(1);
    await put(storage, "opencode.json", '{"plugin": ["a"]}');
    expect((await client.get(plugins)).json.items).toHaveLength(1);
  });

  it("is not taken for watched when the watch ends before it is there", async () => {
    const { client, workspace, storage, warnings } = await served(async (listener) => {
      listener({ paths: [], missed: true, lost: true });
      return { close: async () => undefined };
    });
    const events = `/workspace/${workspace}/events`;
    await client.get(events);
    await expect.poll(warnings).toHaveLength(1);
    await put(storage, "opencode.json", '{"plugin": ["a"]}');
    // Were it taken for watched, nothing would look at the file.
    expect((await client.get(`${events}?since=0&wait=2`)).json.items).toHaveLength(1);
  });
});
