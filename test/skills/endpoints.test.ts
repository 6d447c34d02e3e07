import { afterEach, describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import type { Host } from "../../lib/host.ts";
import { configOf, put, startMemoryServer, textOf } from "../support/memory-host.ts";

type Server = Awaited<ReturnType<typeof startMemoryServer>>;
const open: Server[] = [];

async function start(...args: Parameters<typeof startMemoryServer>): Promise<Server & { base: string }> {
  const server = await startMemoryServer(...args);
  open.push(server);
  return { ...server, base: `/workspace/${server.workspace}/skills` };
}

afterEach(async () => {
  for (const server of open.splice(0)) await server.handler.close();
});

function skill(name: string, description = "d"): string {
  return `---\nname: ${name}\ndescription: ${description}\n---\nbody\n`;
}

describe("skills", () => {
  it("are listed sorted by name (I54), with problems beside them (I50)", async () => {
    const { client, storage, base } = await start();
    await put(storage, ".opencode/skills/b/SKILL.md", skill("b"));
    await put(storage, ".claude/skills/a/SKILL.md", skill("a"));
    expect((await client.get(base)).json).toEqual({
      items: [
        { name: "a", description: "d", path: "/ws/.claude/skills/a/SKILL.md", scope: "project" },
        { name: "b", description: "d", path: "/ws/.opencode/skills/b/SKILL.md", scope: "project" },
      ],
    });
    await put(storage, ".opencode/skills/c/SKILL.md", "---\na: [\n---\n");
    const { json } = await client.get(base);
    expect(json.items).toHaveLength(2);
    expect(json.problems).toEqual([
      {
        path: "/ws/.opencode/skills/c/SKILL.md",
        code: "invalid_frontmatter",
        message: expect.stringContaining("YAML"),
      },
    ]);
  });

  it("of the user come on request, after those of the project", async () => {
    const user = createMemoryStorage({ name: "claude" });
    await put(user, "g/SKILL.md", skill("g"));
    await put(user, "p/SKILL.md", skill("p", "global"));
    const overrides: Partial<Host> = {
      user: { opencode: createMemoryStorage(), skills: [user] },
    };
    const { client, storage, base } = await start(configOf(), overrides);
    await put(storage, ".opencode/skills/p/SKILL.md", skill("p", "project"));
    expect((await client.get(base)).json.items).toHaveLength(1);
    const { items } = (await client.get(`${base}?includeGlobal=true`)).json;
    expect(items.map((item: { name: string; scope: string }) => `${item.name} ${item.scope}`)).toEqual([
      "p project",
      "g global",
    ]);
    expect((await client.get(`${base}/g`)).status).toBe(404);
    expect((await client.get(`${base}/g?includeGlobal=true`)).json.content).toBe(skill("g"));
    const removed = await client.delete(`${base}/g`);
    expect([removed.status, removed.json.code]).toEqual([404, "skill_not_found"]);
    expect(removed.json.message).toContain("memory:/claude/g/SKILL.md");
  });

  it("I16 of parent folders come only up to a git root", async () => {
    const above = createMemoryStorage({ name: "above" });
    await put(above, "up/SKILL.md", skill("up"));
    let git = false;
    const overrides: Partial<Host> = { ancestors: () => [{ isGitRoot: async () => git, skills: [above] }] };
    const { client, storage, base } = await start(configOf(), overrides);
    const names = async (): Promise<string[]> =>
      (await client.get(base)).json.items.map((item: { name: string }) => item.name);
    expect(await names()).toEqual([]);
    git = true;
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(await names()).toEqual(["up"]);
    expect((await client.get(`${base}/up`)).json.item.scope).toBe("project");
    expect((await client.delete(`${base}/up`)).json.code).toBe("skill_not_found");
    expect((await client.post(base, { name: "up", content: "mine", description: "own" })).json.path).toBe(
      "/ws/.opencode/skills/up/SKILL.md",
    );
    expect((await client.get(`${base}/up`)).json.item.description).toBe("own");
    await put(storage, ".git/HEAD", "x");
    expect(await names()).toEqual(["up"]);
    expect((await client.delete(`${base}/up`)).status).toBe(200);
    expect(await names()).toEqual([]);
  });

  it("I51 are updated and deleted where they live: nested and .claude ones too", async () => {
    const { client, storage, base } = await start();
    const places = { in: ".opencode/skills/cat/in", c: ".claude/skills/c", n: ".claude/skills/cat/n" };
    for (const [name, directory] of Object.entries(places)) {
      await put(storage, `${directory}/SKILL.md`, skill(name));
      await put(storage, `${directory}/extra.txt`, "kept");
      const saved = await client.post(base, { name, content: "new", description: "changed" });
      expect(saved.json).toEqual({
        name,
        description: "changed",
        path: `/ws/${directory}/SKILL.md`,
        scope: "project",
      });
      expect(await textOf(storage, `${directory}/SKILL.md`)).toBe(
        `---\nname: ${name}\ndescription: changed\n---\nnew\n`,
      );
      expect(await textOf(storage, `${directory}/extra.txt`)).toBe("kept");
      expect((await client.get(`${base}/${name}`)).json.item.description).toBe("changed");
      expect((await client.delete(`${base}/${name}`)).json).toEqual({
        ok: true,
        name,
        path: `/ws/${directory}`,
      });
      expect(await storage.stat(directory)).toBeNull();
      expect((await client.delete(`${base}/${name}`)).json.code).toBe("skill_not_found");
    }
  });

  it("that are broken can be replaced and deleted by their directory's name", async () => {
    const { client, storage, base } = await start();
    await put(storage, ".opencode/skills/x/SKILL.md", "---\na: [\n---\n");
    expect((await client.delete(`${base}/x`)).status).toBe(200);
    await put(storage, ".opencode/skills/x/SKILL.md", "---\na: [\n---\n");
    expect((await client.post(base, { name: "x", content: "c", description: "d" })).status).toBe(200);
    expect((await client.get(base)).json).toMatchObject({ items: [{ name: "x" }] });
  });

  it.each([
    [{ content: "c" }, 400, "invalid_skill_name"],
    [{ name: "a" }, 400, "invalid_skill_content"],
    [{ name: "a", content: "" }, 400, "invalid_skill_content"],
    [{ name: "a", content: "c" }, 422, "invalid_description"],
    [null, 400, "invalid_payload"],
  ])("I53 a body of %j is %i %s", async (body, status, code) => {
    const { client, base } = await start();
    const answer = await client.post(base, body);
    expect([answer.status, answer.json.code]).toEqual([status, code]);
  });

  it.each(["name", "content", "description"])(
    "I53 a %s of another type is refused by its path",
    async (field) => {
      const { client, storage, base } = await start();
      for (const value of [5, true, {}, ["x"]]) {
        const answer = await client.post(base, { name: "a", content: "c", description: "d", [field]: value });
        expect([answer.status, answer.json.code, answer.json.details.path]).toEqual([
          400,
          "invalid_payload",
          field,
        ]);
      }
      expect(await storage.stat(".opencode")).toBeNull();
    },
  );

  it("I32 are validated before the host is asked, which is then shown the file that is written", async () => {
    const { client, storage, base } = await start(
      configOf({ approval: { mode: "manual", timeoutMs: 5000 } }),
    );
    await put(storage, ".claude/skills/c/SKILL.md", skill("c"));
    expect((await client.post(base, { name: "BAD", content: "c", description: "d" })).status).toBe(400);
    expect((await client.delete(`${base}/none`)).status).toBe(404);
    const answer = client.post(base, { name: "c", content: "new", description: "d" });
    const asked = await client.get("/approvals?wait=5", { host: true });
    expect(asked.json.items).toMatchObject([
      { action: "skills.upsert", paths: ["/ws/.claude/skills/c/SKILL.md"] },
    ]);
    await client.post(`/approvals/${asked.json.items[0].id}`, { reply: "deny" }, { host: true });
    expect((await answer).json.code).toBe("write_denied");
    expect(await textOf(storage, ".claude/skills/c/SKILL.md")).toBe(skill("c"));
  });

  it("I30 changed while the host thinks are not overwritten", async () => {
    const { client, storage, base } = await start(
      configOf({ approval: { mode: "manual", timeoutMs: 5000 } }),
    );
    await put(storage, ".opencode/skills/c/SKILL.md", skill("c"));
    const answer = client.post(base, { name: "c", content: "new", description: "d" });
    const asked = await client.get("/approvals?wait=5", { host: true });
    await put(storage, ".opencode/skills/c/SKILL.md", skill("c", "meanwhile"));
    await client.post(`/approvals/${asked.json.items[0].id}`, { reply: "allow" }, { host: true });
    expect((await answer).status).toBe(409);
    expect(await textOf(storage, ".opencode/skills/c/SKILL.md")).toBe(skill("c", "meanwhile"));
  });
});
