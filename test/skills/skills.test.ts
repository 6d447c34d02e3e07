import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ApiError } from "../../lib/errors.ts";
import { isSkillName, skillName } from "../../lib/opencode/skill-name.ts";
import { composeSkill, readSkill, type SkillInput } from "../../lib/opencode/skills.ts";
import { costOf } from "../frontmatter/cost.ts";

function codeOf(input: SkillInput): string {
  try {
    composeSkill(input);
  } catch (error) {
    if (error instanceof ApiError) return `${error.status} ${error.code}`;
    throw error;
  }
  return "none";
}

describe("names", () => {
  it.each(["a", "0", "a-b", "a1-2-b3", "x".repeat(64)])("takes %s", (name) => {
    expect(isSkillName(name)).toBe(true);
    expect(skillName(` ${name} `)).toBe(name);
  });

  it.each([
    "",
    "-a",
    "a-",
    "a--b",
    "A",
    "a_b",
    "a.b",
    "a/b",
    "é",
    "a\n",
    "x".repeat(65),
    `${"a-".repeat(50_000)}!`,
  ])("refuses %j", (name) => {
    expect(isSkillName(name)).toBe(false);
  });
});

function head(text: string, directory = "s"): unknown {
  return readSkill(directory, text);
}

function trigger(fields: string, body: string): string | undefined {
  return readSkill("s", `---\ndescription: d\n${fields}---\n${body}`)?.trigger;
}

describe("reading a SKILL.md", () => {
  it("needs a name equal to the directory, or none, and a description", () => {
    expect(head("---\nname: s\ndescription: d\n---\nb")).toEqual({ name: "s", description: "d" });
    expect(head("---\ndescription: d\n---\nb")).toEqual({ name: "s", description: "d" });
    expect(head("---\nname: 5\ndescription: d\n---\nb")).toEqual({ name: "s", description: "d" });
    expect(head("---\nname: other\ndescription: d\n---\nb")).toBeNull();
    expect(head("---\nname: s\n---\nb")).toBeNull();
    expect(head("---\nname: s\ndescription: ''\n---\nb")).toBeNull();
    expect(head("---\nname: s\ndescription: 5\n---\nb")).toBeNull();
    expect(head(`---\nname: s\ndescription: ${"d".repeat(1025)}\n---\nb`)).toBeNull();
    expect(head("no front matter")).toBeNull();
    expect(head("---\ndescription: d\n---\n", "Upper")).toBeNull();
  });

  it("takes the trigger from trigger, then when, then the section", () => {
    const body = "# T\n\n## When to use\n\n- first line \n- second\n";
    expect(trigger("trigger: t\nwhen: w\n", body)).toBe("t");
    expect(trigger("when: w\n", body)).toBe("w");
    expect(trigger("trigger: [a]\n", body)).toBe("first line");
    expect(trigger("", body)).toBe("first line");
  });

  it.each([
    ["###### WHEN TO USE\n1. one", "one"],
    ["# when to use\r\n\r\n2) two\r\n", "two"],
    ["# When to use\n* star", "star"],
    ["# When to use\n+ plus", "plus"],
    ["# When to use\n-\n-  \ntext", "-"],
    ["# When to use\n## Other\ntext", undefined],
    ["# When to use it\ntext", undefined],
    ["#When to use\ntext", undefined],
    ["text", undefined],
  ])("reads %j", (body, expected) => {
    expect(trigger("", body)).toBe(expected);
  });

  it("reads 100,000 hostile characters in milliseconds", () => {
    for (const piece of ["#", "# ", "# \t", "- ", "1", "\n#", "# When to use\n"]) {
      const body = piece.repeat(100_000 / piece.length);
      const cost = costOf(() => {
        trigger("", body);
        trigger("", `# When to use\n${body}`);
      });
      expect(cost).toBeLessThan(200);
    }
  });
});

describe("composing a SKILL.md", () => {
  it("puts front matter before plain content and drops one leading newline", () => {
    expect(composeSkill({ name: " s ", content: "\n\n# Hi", description: "d" })).toEqual({
      head: { name: "s", description: "d" },
      text: "---\nname: s\ndescription: d\n---\n\n# Hi\n",
    });
  });

  it("I55 tells the description that was stored, not the one that was sent", () => {
    const { head, text } = composeSkill({
      name: "s1",
      content: "---\nlicense: MIT\ndescription: from file\n---\n\n\nbody\n",
      description: "from request",
    });
    expect(head).toEqual({ name: "s1", description: "from file" });
    expect(text).toBe("---\nlicense: MIT\ndescription: from file\nname: s1\n---\n\nbody\n");
  });

  it("fills an empty description from the request", () => {
    const { text } = composeSkill({
      name: "s",
      content: "---\ndescription: ''\nname: s\n---\nbody",
      description: "given",
    });
    expect(text).toBe("---\ndescription: given\nname: s\n---\nbody\n");
  });

  it.each<[SkillInput, string]>([
    [{ content: "x", description: "d" }, "400 invalid_skill_name"],
    [{ name: "", content: "x", description: "d" }, "400 invalid_skill_name"],
    [{ name: "BAD", content: "", description: "" }, "400 invalid_skill_name"],
    [{ name: "a", content: "", description: "d" }, "400 invalid_skill_content"],
    [{ name: "a", description: "d" }, "400 invalid_skill_content"],
    [{ name: "a", content: "---\nname: b\ndescription: d\n---\nc" }, "400 invalid_skill_name"],
    [{ name: "a", content: "x" }, "422 invalid_description"],
    [{ name: "a", content: "x", description: "d".repeat(1025) }, "422 invalid_description"],
    [{ name: "a", content: "---\na: [\n---\n", description: "d" }, "422 invalid_frontmatter"],
    [{ name: "a", content: "---\n- a\n---\n", description: "d" }, "422 invalid_frontmatter"],
  ])("refuses %j", (input, code) => {
    expect(codeOf(input)).toBe(code);
  });

  it("what is composed reads back as the same skill and composes to itself", () => {
    const name = fc.stringMatching(/^[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}$/);
    const description = fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(
        name,
        description,
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 }),
        (name, description, body) => {
          fc.pre(!body.startsWith("---") && !body.startsWith("\u{FEFF}"));
          const { head, text } = composeSkill({ name, content: body, description });
          expect(head.name).toBe(name);
          expect(head.description).toBe(description);
          expect(readSkill(name, text)).toEqual(head);
        },
      ),
    );
  });
});
