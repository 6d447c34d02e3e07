import { ApiError } from "../errors.ts";
import type { MaybeText } from "./skill-name.ts";

const namePattern = /^[A-Za-z0-9_-]+$/;

/** Whether a text has nothing but letters, digits, `_` and `-`. */
export function isCommandName(name: string): boolean {
  return namePattern.test(name);
}

/** The name without blanks around it and leading slashes; throws `invalid_command_name`. */
export function commandName(name: MaybeText): string {
  const clean = withoutSlashes((name || "").trim());
  if (isCommandName(clean) && clean.length <= 200) return clean;
  throw new ApiError(
    "invalid_command_name",
    clean === ""
      ? "The command has no name; send one like review-pr."
      : `${JSON.stringify(clean.slice(0, 80))} is no command name: use letters, digits, _ and -, at most 200 characters.`,
  );
}

function withoutSlashes(name: string): string {
  let start = 0;
  while (name[start] === "/") start += 1;
  return name.slice(start);
}
