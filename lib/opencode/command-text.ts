import { ApiError } from "../errors.ts";
import { commandName, isCommandName } from "./command-name.ts";
import { frontmatterBlock, readFrontmatter } from "./frontmatter.ts";
import type { MaybeText } from "./skill-name.ts";

/** A command as the lists show it (wire contract, 10.8). */
export interface CommandItem {
  name: string;
  description?: string;
  template: string;
  agent?: string;
  model: string | null;
  subtask?: boolean;
  scope: "workspace" | "global";
}

/** Reads a command file; null when its name is not a command's. Throws `invalid_frontmatter`. */
export function readCommand(fileName: string, text: string, scope: CommandItem["scope"]): CommandItem | null {
  const { fields, body } = readFrontmatter(text);
  const given = fields.get("name");
  const name = typeof given === "string" ? given : fileName.slice(0, -".md".length);
  if (!isCommandName(name)) return null;
  const item: CommandItem = { name, template: body.trim(), model: null, scope };
  const description = fields.get("description");
  const agent = fields.get("agent");
  const model = fields.get("model");
  const subtask = fields.get("subtask");
  if (typeof description === "string") item.description = description;
  if (typeof agent === "string") item.agent = agent;
  if (typeof model === "string") item.model = model;
  if (typeof subtask === "boolean") item.subtask = subtask;
  return item;
}

/** What a client wants stored as a command; empty texts count as absent. */
export interface CommandInput {
  name?: MaybeText;
  template?: MaybeText;
  description?: MaybeText;
  agent?: MaybeText;
  model?: MaybeText;
  /** Counts when it is a boolean. */
  subtask?: unknown;
}

/** The file for what a client sent. Throws `invalid_command_template`, then `invalid_command_name`. */
export function composeCommand(input: CommandInput): { name: string; text: string } {
  const template = (input.template || "").trim();
  if (template === "") {
    throw new ApiError(
      "invalid_command_template",
      "The command has no template; send the text of its prompt.",
    );
  }
  const name = commandName(input.name);
  const head = frontmatterBlock({
    name,
    ...(input.description ? { description: input.description } : {}),
    ...(input.agent ? { agent: input.agent } : {}),
    model: input.model || null,
    subtask: input.subtask === true,
  });
  return { name, text: `${head}\n${template}\n` };
}
