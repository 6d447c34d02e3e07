import type { CommandItem } from "./command-text.ts";
import { readMarkdown, type Files } from "./markdown-file.ts";
import { absolutePath } from "../paths.ts";
import { problemOf, type Problem } from "../problems.ts";
import { compareCodePoints, StorageError } from "../storage.ts";

/** A command and where it lives. */
export interface FoundCommand {
  item: CommandItem;
  /** Path of its file in the storage. */
  path: string;
  /** The whole text of the file. */
  text: string;
}

/** The commands of a directory by name, and the files that should have been commands. */
export interface CommandList {
  commands: readonly FoundCommand[];
  problems: readonly Problem[];
}

/** Where the commands of a workspace are. */
export const workspaceCommands: string = ".opencode/commands";

/** Where the commands of the user are, in the storage of the user's configuration. */
export const userCommands: string = "commands";

/** The path of the file that a new command of a name gets. */
export function commandFile(name: string): string {
  return `${workspaceCommands}/${name}.md`;
}

/** The commands in a directory, sorted by name; a missing directory holds none. */
export async function discoverCommands(
  files: Files,
  directory: string,
  location: string,
  scope: CommandItem["scope"],
): Promise<CommandList> {
  const commands: FoundCommand[] = [];
  const problems: Problem[] = [];
  for (const path of await markdownFiles(files, directory, location, problems)) {
    // Loaded by the first file: YAML is a fifth of this program, and many workspaces have no use for it. That it cannot be
    // loaded is no fault of the file.
    const { readCommand } = await import("./command-text.ts");
    try {
      const text = await readMarkdown(files, path);
      const item = text === null ? null : readCommand(path.slice(directory.length + 1), text, scope);
      if (item && text !== null) commands.push({ item, path, text });
    } catch (error) {
      problems.push(problemOf(absolutePath(location, path), error));
    }
  }
  commands.sort((a, b) => compareCodePoints(a.item.name, b.item.name) || compareCodePoints(a.path, b.path));
  return { commands, problems };
}

async function markdownFiles(
  files: Files,
  directory: string,
  location: string,
  problems: Problem[],
): Promise<string[]> {
  try {
    const entries = (await files.list(directory)) ?? [];
    return entries
      .filter((entry) => entry.kind === "file" && entry.path.endsWith(".md"))
      .map((entry) => entry.path);
  } catch (error) {
    if (error instanceof StorageError && (error.code === "not_a_directory" || error.code === "outside"))
      return [];
    problems.push(problemOf(absolutePath(location, directory), error));
    return [];
  }
}

/** The files listed under a name; without any, the file that the name stands for if it exists. */
export async function filesOfCommand(files: Files, list: CommandList, name: string): Promise<string[]> {
  const listed = list.commands.filter((command) => command.item.name === name).map((command) => command.path);
  const direct = commandFile(name);
  // A command's own file comes first: it is the one to overwrite.
  if (listed.length > 0) return listed.toSorted((a, b) => Number(b === direct) - Number(a === direct));
  return (await files.stat(direct))?.kind === "file" ? [direct] : [];
}
