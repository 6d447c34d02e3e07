import { fromBase64 } from "../base64.ts";
import type { View } from "../changes/plan.ts";
import {
  commandFile,
  discoverCommands,
  filesOfCommand,
  workspaceCommands,
  type CommandList,
} from "../opencode/commands.ts";
import { composeCommand, readCommand, type CommandInput } from "../opencode/command-text.ts";
import { ApiError } from "../errors.ts";
import { portableRoots, type PortableFile } from "./export.ts";
import { readFrontmatter } from "../opencode/frontmatter.ts";
import { configChanges, type ConfigImport } from "./import-config.ts";
import { ImportWrites, invalid, partsOf } from "./import-writes.ts";
import { markdownBytes } from "../opencode/markdown-file.ts";
import { lookBeforeWrite } from "../changes/overwrite.ts";
import {
  directoryOfSkill,
  discoverSkills,
  newSkillDirectory,
  workspacePlaces,
  workspaceSkillRoots,
  type SkillList,
} from "../opencode/skill-discovery.ts";
import { skillFile, type MaybeText } from "../opencode/skill-name.ts";
import { checkSkillText, composeSkill, type SkillInput } from "../opencode/skills.ts";
import type { Change } from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

/** A skill to import: as clients write them, or with `path` as this server exports them. */
export interface ImportedSkill extends SkillInput {
  path?: string | null | undefined;
  files?: readonly PortableFile[] | null | undefined;
}

/** A command to import: as clients write them, or with `path` as this server exports them. */
export interface ImportedCommand extends CommandInput {
  content?: MaybeText;
  path?: string | null | undefined;
}

/** What an import asks for; an absent part is left alone. */
export interface ImportInput extends ConfigImport {
  mode: { opencode?: unknown; openwork?: unknown; skills?: unknown; commands?: unknown };
  skills: readonly ImportedSkill[];
  commands: readonly ImportedCommand[];
  files: readonly PortableFile[];
}

/**
 * All changes of an import, or the error of the first part that is wrong (I28). In replace mode every file below
 * the directory of that part goes that is not written again; everything else in the workspace stays.
 */
export async function planImport(view: View, workspace: Workspace, input: ImportInput): Promise<Change[]> {
  const config = await configChanges(view, input);
  const importer = new Importer(view, workspace);
  await importer.skills(input.skills, input.mode.skills === "replace");
  await importer.commands(input.commands, input.mode.commands === "replace");
  importer.files(input.files, "files", "");
  const changes = [...config, ...(await importer.removals()), ...importer.writes()];
  for (const change of changes) if (change.op === "write") await lookBeforeWrite(view, change.path);
  return changes;
}

class Importer {
  readonly #view: View;
  readonly #workspace: Workspace;
  readonly #writes = new ImportWrites();
  readonly #replaced: string[] = [];

  constructor(view: View, workspace: Workspace) {
    this.#view = view;
    this.#workspace = workspace;
  }

  /** Notes the skills; an empty list changes nothing, whatever the mode. */
  async skills(skills: readonly ImportedSkill[], replace: boolean): Promise<void> {
    if (skills.length === 0) return;
    if (replace) this.#replaced.push(workspaceSkillRoots[0]);
    const own = replace ? null : await discoverSkills(workspacePlaces(this.#workspace), () => this.#view);
    for (const [index, skill] of skills.entries()) await this.#skill(skill, own, `skills.${index}`);
  }

  async #skill(skill: ImportedSkill, own: SkillList | null, field: string): Promise<void> {
    const { directory, text } = skill.path
      ? exactSkill(skill, skill.path, field)
      : await this.#newSkill(skill, own);
    this.#writes.add(`${directory}/${skillFile}`, markdownBytes(text), field);
    this.files(skill.files ?? [], `${field}.files`, `${directory}/`);
  }

  async #newSkill(skill: ImportedSkill, own: SkillList | null): Promise<{ directory: string; text: string }> {
    const { head, text } = composeSkill(skill);
    const lives = own && (await directoryOfSkill(this.#view, own, head.name));
    return { directory: lives ?? newSkillDirectory(head.name), text };
  }

  /** Notes the commands; an empty list changes nothing, whatever the mode. */
  async commands(commands: readonly ImportedCommand[], replace: boolean): Promise<void> {
    if (commands.length === 0) return;
    if (replace) this.#replaced.push(workspaceCommands);
    const own = replace
      ? null
      : await discoverCommands(this.#view, workspaceCommands, this.#workspace.path, "workspace");
    for (const [index, command] of commands.entries()) await this.#command(command, own, `commands.${index}`);
  }

  async #command(command: ImportedCommand, own: CommandList | null, field: string): Promise<void> {
    const { path, text } = command.path
      ? exactCommand(command, command.path, field)
      : await this.#newCommand(command, own);
    this.#writes.add(path, markdownBytes(text), field);
  }

  async #newCommand(
    command: ImportedCommand,
    own: CommandList | null,
  ): Promise<{ path: string; text: string }> {
    const { name, text } = composeCommand(command.content ? splitCommand(command, command.content) : command);
    const lives = own ? await filesOfCommand(this.#view, own, name) : [];
    return { path: lives[0] ?? commandFile(name), text };
  }

  /** Notes files as they are, below a skill's directory or, without one, below the directories of an export. */
  files(files: readonly PortableFile[], field: string, below: string): void {
    for (const [index, file] of files.entries()) {
      const where = `${field}.${index}`;
      partsOf(file.path, `${where}.path`);
      if (below !== "" && file.path.toLowerCase() === skillFile.toLowerCase()) {
        throw invalid(`${where}.path`, `${skillFile} is the content of the skill`);
      }
      if (below === "" && !portableRoots.some((root) => file.path.startsWith(`${root}/`))) {
        throw invalid(`${where}.path`, `only paths below ${portableRoots.join(", ")} are imported`);
      }
      const bytes = fromBase64(file.contentBase64);
      if (!bytes) throw invalid(`${where}.contentBase64`, "this is not base64 with padding");
      this.#writes.add(below + file.path, bytes, `${where}.path`);
    }
  }

  /** The writes noted so far. */
  writes(): Change[] {
    return [...this.#writes.files].map(([path, body]) => ({ op: "write", path, body }));
  }

  /** What goes from the replaced directories. */
  async removals(): Promise<Change[]> {
    const changes: Change[] = [];
    for (const root of this.#replaced) await this.#removeBelow(root, changes);
    return changes;
  }

  async #removeBelow(directory: string, changes: Change[]): Promise<void> {
    for (const { path, kind } of (await this.#view.list(directory)) ?? []) {
      if (kind === "dir" && this.#writes.reaches(path)) await this.#removeBelow(path, changes);
      else if (kind === "dir") changes.push({ op: "remove", path, recursive: true });
      else if (!this.#writes.files.has(path)) {
        await this.#view.stat(path);
        changes.push({ op: "remove", path });
      }
    }
  }
}

/** A skill exactly as exported: its text is checked and stays as it is, byte for byte (I29). */
function exactSkill(skill: ImportedSkill, path: string, field: string): { directory: string; text: string } {
  partsOf(path, `${field}.path`);
  const root = workspaceSkillRoots.find((root) => path.startsWith(`${root}/`));
  const below = root === undefined ? [] : path.slice(root.length + 1).split("/");
  const name = below.at(-1);
  if (name === undefined || below.length > 2) {
    throw invalid(
      `${field}.path`,
      `a skill lies in ${workspaceSkillRoots.join(" or ")}, or in a directory there`,
    );
  }
  if (skill.name && skill.name.trim() !== name) {
    throw new ApiError(
      "invalid_skill_name",
      `body.${field}: the name must be that of its directory, ${name}.`,
    );
  }
  if (!skill.content) {
    throw new ApiError(
      "invalid_skill_content",
      `body.${field}: the skill has no content; send the text of SKILL.md.`,
    );
  }
  checkSkillText(name, skill.content);
  return { directory: path, text: skill.content };
}

/** A command exactly as exported. */
function exactCommand(command: ImportedCommand, path: string, field: string): { path: string; text: string } {
  const fileName = path.slice(workspaceCommands.length + 1);
  if (path !== `${workspaceCommands}/${fileName}` || !/^[^/]+\.md$/.test(fileName)) {
    throw invalid(`${field}.path`, `a command is a file ${workspaceCommands}/<name>.md`);
  }
  const text = command.content || "";
  const item = readCommand(fileName, text, "workspace");
  if (!item || (command.name && command.name.trim() !== item.name)) {
    throw new ApiError(
      "invalid_command_name",
      `body.${field}: the content must say the name of the command.`,
    );
  }
  return { path, text };
}

/** A command given as a whole file: its front matter tells what the entry does not. */
function splitCommand(command: ImportedCommand, content: string): CommandInput {
  const { fields, body } = readFrontmatter(content);
  const text = (key: string): string | undefined => {
    const value = fields.get(key);
    return typeof value === "string" ? value : undefined;
  };
  const name = command.name || text("name");
  if (!name) {
    throw new ApiError("invalid_command", "The command has no name, neither beside its content nor in it.");
  }
  return {
    name,
    description: command.description || text("description"),
    agent: text("agent"),
    model: text("model"),
    subtask: fields.get("subtask"),
    template: body,
  };
}
