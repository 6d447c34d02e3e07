import { ApiError } from "../errors.ts";
import {
  editFrontmatter,
  frontmatterBlock,
  readFrontmatter,
  splitFrontmatter,
  withoutMark,
} from "./frontmatter.ts";
import { isSkillName, skillName, type MaybeText } from "./skill-name.ts";

/** What a SKILL.md says of itself. */
export interface SkillHead {
  name: string;
  description: string;
  trigger?: string;
}

/** A skill as the lists show it (wire contract, 10.6). */
export interface SkillItem extends SkillHead {
  /** Absolute path of SKILL.md. */
  path: string;
  scope: "project" | "global";
}

const maxDescriptionLength = 1024;

/**
 * Reads the SKILL.md of a directory. Null when it is no skill: its name is not the directory's or not a skill
 * name, or it has no description of 1..1024 characters. Throws `invalid_frontmatter`.
 */
export function readSkill(directory: string, text: string): SkillHead | null {
  const { fields, body } = readFrontmatter(text);
  const given = fields.get("name");
  const name = typeof given === "string" ? given : directory;
  const description = fields.get("description");
  if (name !== directory || !isSkillName(name)) return null;
  if (typeof description !== "string" || !isDescription(description)) return null;
  const trigger = nonBlank(fields.get("trigger")) ?? nonBlank(fields.get("when")) ?? whenToUse(body);
  return trigger === undefined ? { name, description } : { name, description, trigger };
}

/** What a client wants stored as a skill. */
export interface SkillInput {
  name?: MaybeText;
  content?: MaybeText;
  description?: MaybeText;
}

/**
 * The text of SKILL.md for what a client sent, and what a reader will find in it. Content without front matter
 * gets one; front matter keeps its keys, and its description wins. Throws `invalid_skill_name`,
 * `invalid_skill_content`, `invalid_description` or `invalid_frontmatter`.
 */
export function composeSkill(input: SkillInput): { head: SkillHead; text: string } {
  const name = skillName(input.name);
  if (!input.content) {
    throw new ApiError("invalid_skill_content", "The skill has no content; send the text of SKILL.md.");
  }
  const content = withoutMark(input.content);
  const split = splitFrontmatter(content);
  const fields = split ? readFrontmatter(content).fields : new Map<string, unknown>();
  const given = fields.get("name");
  if (typeof given === "string" && given !== name) {
    throw new ApiError(
      "invalid_skill_name",
      `The front matter says ${JSON.stringify(given)}, the request ${JSON.stringify(name)}; they must be equal.`,
    );
  }
  const own = fields.get("description");
  const description = typeof own === "string" && own !== "" ? own : input.description || "";
  checkDescription(description);
  const text = split
    ? editFrontmatter({ ...split, body: withoutNewline(split.body) }, { name, description })
    : frontmatterBlock({ name, description }) + withoutNewline(content);
  const stored = text.endsWith("\n") ? text : `${text}\n`;
  return { head: checkSkillText(name, stored), text: stored };
}

/** What a text holds as the SKILL.md of a directory; throws the error that says why it would not be listed. */
export function checkSkillText(directory: string, text: string): SkillHead {
  const head = readSkill(directory, text);
  if (head) return head;
  const { fields } = readFrontmatter(text);
  const name = fields.get("name");
  if (typeof name === "string" && name !== directory) {
    throw new ApiError(
      "invalid_skill_name",
      `The front matter says ${JSON.stringify(name)}, the directory ${JSON.stringify(directory)}; they must be equal.`,
    );
  }
  skillName(directory);
  const description = fields.get("description");
  checkDescription(typeof description === "string" ? description : "");
  throw new ApiError("invalid_skill_content", `The content cannot be read back as the skill ${directory}.`);
}

function checkDescription(description: string): void {
  if (isDescription(description)) return;
  throw new ApiError(
    "invalid_description",
    `The description has ${description.length} characters; it must have 1 to ${maxDescriptionLength}.`,
  );
}

function isDescription(description: string): boolean {
  return description.length >= 1 && description.length <= maxDescriptionLength;
}

function nonBlank(value: unknown): string | undefined {
  return typeof value === "string" && value.trim() !== "" ? value.trim() : undefined;
}

function withoutNewline(text: string): string {
  if (text.startsWith("\r\n")) return text.slice(2);
  return text.startsWith("\n") ? text.slice(1) : text;
}

const heading = /^#{1,6}[ \t]+(.*)$/;
const listMark = /^(?:[-*+]|\d{1,9}[.)])[ \t]+/;

/** The first line of text below a heading "When to use", without its list mark. */
function whenToUse(body: string): string | undefined {
  let inside = false;
  for (const line of lines(body)) {
    const title = heading.exec(line)?.[1];
    if (title !== undefined) {
      if (inside) return undefined;
      inside = title.trim().toLowerCase() === "when to use";
    } else if (inside) {
      const text = line.replace(listMark, "").trim();
      if (text !== "") return text;
    }
  }
  return undefined;
}

function* lines(text: string): Generator<string> {
  let start = 0;
  while (start < text.length) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    yield text.slice(start, end).trim();
    start = end + 1;
  }
}
