import { ApiError } from "../errors.ts";

/** A text that a client may leave out; every falsy value means that it did. */
export type MaybeText = string | false | 0 | null | undefined;

/** The file that makes a directory a skill. */
export const skillFile: string = "SKILL.md";

const namePattern = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;
const maxNameLength = 64;

/** Whether a text is a skill name: `[a-z0-9]+(-[a-z0-9]+)*`, at most 64 characters. */
export function isSkillName(name: string): boolean {
  return name.length <= maxNameLength && namePattern.test(name);
}

/** The trimmed name when it is one of a skill; throws `invalid_skill_name`. */
export function skillName(name: MaybeText): string {
  const trimmed = (name || "").trim();
  if (isSkillName(trimmed)) return trimmed;
  throw new ApiError(
    "invalid_skill_name",
    trimmed === ""
      ? "The skill has no name; send one like my-skill."
      : `${JSON.stringify(trimmed.slice(0, 80))} is no skill name: use lower-case letters and digits, joined by single hyphens, at most ${maxNameLength} characters.`,
  );
}
