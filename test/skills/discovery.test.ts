import { describe, expect, it } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import type { Ancestor } from "../../lib/host.ts";
import {
  GitRootSearch,
  discoverSkills,
  holdsGit,
  type SkillPlace,
} from "../../lib/opencode/skill-discovery.ts";
import type { Storage } from "../../lib/storage.ts";
import { put } from "../support/memory-host.ts";

function place(storage: Storage, root = ".opencode/skills"): SkillPlace {
  return { storage, root, location: "/ws", scope: "project", distance: 0 };
}

function skill(name: string, description = "d"): string {
  return `---\nname: ${name}\ndescription: ${description}\n---\nbody\n`;
}

function ancestor(isGitRoot: boolean | Error): Ancestor {
  return {
    isGitRoot: async () => {
      if (isGitRoot instanceof Error) throw isGitRoot;
      return isGitRoot;
    },
    skills: [],
  };
}

describe("skill discovery", () => {
  it("looks one category deep and takes a skill before one of a category (I54: by name)", async () => {
    const storage = createMemoryStorage();
    await put(storage, ".opencode/skills/zeta/SKILL.md", skill("zeta"));
    await put(storage, ".opencode/skills/cat/alpha/SKILL.md", skill("alpha"));
    await put(storage, ".opencode/skills/cat/zeta/SKILL.md", skill("zeta", "shadowed"));
    await put(storage, ".opencode/skills/cat/deep/er/SKILL.md", skill("er"));
    const { skills, problems } = await discoverSkills([place(storage)]);
    expect(skills.map(({ item }) => [item.name, item.description, item.path])).toEqual([
      ["alpha", "d", "/ws/.opencode/skills/cat/alpha/SKILL.md"],
      ["zeta", "d", "/ws/.opencode/skills/zeta/SKILL.md"],
    ]);
    expect(problems).toEqual([]);
  });

  it("I50 a broken file is a problem and hides nothing", async () => {
    const storage = createMemoryStorage();
    await put(storage, ".opencode/skills/good/SKILL.md", skill("good"));
    await put(storage, ".opencode/skills/bad/SKILL.md", "---\na: [\n---\n");
    await put(storage, ".opencode/skills/big/SKILL.md", skill("big") + "x".repeat(1024 * 1024));
    await storage.commit([
      { op: "write", path: ".opencode/skills/latin/SKILL.md", body: new Uint8Array([0x2d, 0xe9, 0xff]) },
    ]);
    const { skills, problems } = await discoverSkills([place(storage)]);
    expect(skills.map(({ item }) => item.name)).toEqual(["good"]);
    expect(problems.map(({ path, code }) => [path, code])).toEqual([
      ["/ws/.opencode/skills/bad/SKILL.md", "invalid_frontmatter"],
      ["/ws/.opencode/skills/big/SKILL.md", "file_too_large"],
      ["/ws/.opencode/skills/latin/SKILL.md", "not_text"],
    ]);
  });

  it("finds nothing where there is no directory", async () => {
    const storage = createMemoryStorage();
    await put(storage, ".opencode/skills", "a file");
    expect(await discoverSkills([place(storage), place(storage, ".claude/skills")])).toEqual({
      skills: [],
      problems: [],
    });
  });

  it("I16 climbs to the first git root and, without any, not at all", async () => {
    const no = ancestor(false);
    expect(await new GitRootSearch([no, ancestor(true), ancestor(true)]).count()).toBe(2);
    expect(await new GitRootSearch([no, no, no]).count()).toBe(0);
    expect(await new GitRootSearch([]).count()).toBe(0);
    expect(await new GitRootSearch([ancestor(new Error("denied")), ancestor(true)]).count()).toBe(2);
  });

  it("a .git of any kind makes a git root", async () => {
    const storage = createMemoryStorage();
    expect(await holdsGit(storage)).toBe(false);
    await put(storage, ".git", "gitdir: elsewhere\n");
    expect(await holdsGit(storage)).toBe(true);
  });
});
