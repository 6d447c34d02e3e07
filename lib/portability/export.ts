import { toBase64 } from "../base64.ts";
import type { CommandItem } from "../opencode/command-text.ts";
import { discoverCommands, workspaceCommands, type FoundCommand } from "../opencode/commands.ts";
import { absolutePath } from "../paths.ts";
import { problemOf, type Problem } from "../problems.ts";
import {
  discoverSkillTexts,
  newSkillDirectory,
  workspaceSkillRoots,
  type SkillPlace,
  type SkillWithText,
} from "../opencode/skill-discovery.ts";
import { skillFile } from "../opencode/skill-name.ts";
import { compareCodePoints, StorageError, type Entry, type ReadableStorage } from "../storage.ts";

/** A file as an export carries it; the path is relative to what the list belongs to. */
export interface PortableFile {
  path: string;
  contentBase64: string;
}

/** A skill in an export: the contract's three fields, and what makes the copy exact (I29). */
export interface ExportedSkill {
  name: string;
  description: string;
  content: string;
  /** Its directory in the workspace. */
  path: string;
  /** Its other files, by paths in its directory; absent when there are none. */
  files?: PortableFile[];
}

/** A command in an export: the contract's three fields, and what makes the copy exact (I29). */
export interface ExportedCommand {
  name: string;
  description?: string;
  template: string;
  agent?: string;
  model?: string;
  subtask?: boolean;
  /** Its file in the workspace. */
  path: string;
  /** The whole text of that file. */
  content: string;
}

/** Every file below the skill and command directories of a workspace: contents alone, no modes, no links, no empty directories. */
export interface ExportedFiles {
  skills: ExportedSkill[];
  commands: ExportedCommand[];
  /** Files there that belong to no listed skill and are no listed command, by workspace paths; absent when there are none. */
  files?: PortableFile[];
  /** What could not be exported or listed. */
  problems: Problem[];
  /** Files were left out because they are protected. */
  withheld: boolean;
}

/** The directories that hold skills and commands; exports carry them whole and imports write nowhere else. */
export const portableRoots: readonly string[] = [...workspaceSkillRoots, workspaceCommands];

/** Most files beside SKILL.md and commands in one export or import. */
export const maxPortableFiles: number = 5000;

/** Most bytes of one export: as base64 they fit into the body of an import. */
const maxBytes = 10 * 1024 * 1024;

/** Most problems that say that a file was left out. */
const mostLeftOut = 100;

/** What an export is made of. */
export interface ExportOptions {
  storage: ReadableStorage;
  /** Absolute path of the workspace. */
  location: string;
  /** The skill directories of the workspace and its parent folders. */
  places: readonly SkillPlace[];
  /** Whether a file of this name is kept back from the caller. */
  isProtected(name: string): boolean;
}

/** Reads all that an export carries beside the two configurations. */
export async function exportFiles(options: ExportOptions): Promise<ExportedFiles> {
  const { storage, location } = options;
  const found = await discoverSkillTexts(options.places);
  const list = await discoverCommands(storage, workspaceCommands, location, "workspace");
  const collector = new Collector(options, [...found.problems, ...list.problems]);
  for (const skill of found.skills)
    collector.claim(skill.place.distance === 0 ? skill.directory : null, skill.text);
  for (const command of list.commands) collector.claimFile(command.path, command.text);
  const skills: ExportedSkill[] = [];
  for (const skill of found.skills) skills.push(await collector.skill(skill));
  const files: PortableFile[] = [];
  for (const root of portableRoots) files.push(...(await collector.rest(root)));
  return {
    skills,
    commands: list.commands.map((command) => exportedCommand(command)),
    ...(files.length > 0 ? { files } : {}),
    problems: collector.problems,
    withheld: collector.withheld,
  };
}

function exportedCommand({ item, path, text }: FoundCommand): ExportedCommand {
  const { scope: _scope, model, ...rest }: CommandItem = item;
  return { ...rest, ...(model === null ? {} : { model }), path, content: text };
}

/** Reads files within one budget of bytes and number. */
class Collector {
  readonly problems: Problem[];
  withheld = false;
  readonly #options: ExportOptions;
  readonly #directories = new Set<string>();
  readonly #files = new Set<string>();
  #bytesLeft = maxBytes;
  #filesLeft = maxPortableFiles;
  #leftOut = 0;

  constructor(options: ExportOptions, problems: readonly Problem[]) {
    this.#options = options;
    this.problems = [...problems];
  }

  /** Notes a directory whose files go with a skill, and what its text costs. */
  claim(directory: string | null, text: string): void {
    this.#bytesLeft -= text.length;
    if (directory !== null) this.#directories.add(directory);
  }

  /** Notes a file that an entry of its own carries. */
  claimFile(path: string, text: string): void {
    this.#bytesLeft -= text.length;
    this.#files.add(path);
  }

  async skill({ item, place, directory, text }: SkillWithText): Promise<ExportedSkill> {
    const { name, description } = item;
    // A skill of a parent folder comes to lie where a client would have created it.
    const own = place.distance === 0;
    const path = own ? directory : newSkillDirectory(name);
    const files: PortableFile[] = [];
    for (const entry of await entriesBelow(place.storage, directory)) {
      const relative = entry.path.slice(directory.length + 1);
      if (relative === skillFile) continue;
      const content = await this.#read(place.storage, place.location, entry);
      if (content !== null) files.push({ path: relative, contentBase64: content });
    }
    if (!own) this.#directories.add(path);
    return { name, description, content: text, path, ...(files.length > 0 ? { files } : {}) };
  }

  /** The files below a directory of the workspace that nothing has claimed. */
  async rest(root: string): Promise<PortableFile[]> {
    const { storage, location } = this.#options;
    const files: PortableFile[] = [];
    for (const entry of await entriesBelow(storage, root, this.#directories)) {
      if (this.#files.has(entry.path)) continue;
      const content = await this.#read(storage, location, entry);
      if (content !== null) files.push({ path: entry.path, contentBase64: content });
    }
    return files;
  }

  async #read(storage: ReadableStorage, location: string, entry: Entry): Promise<string | null> {
    if (this.#options.isProtected(entry.path.slice(entry.path.lastIndexOf("/") + 1))) {
      this.withheld = true;
      return null;
    }
    const path = absolutePath(location, entry.path);
    if (entry.size > this.#bytesLeft || this.#filesLeft <= 0) {
      this.#leaveOut(path);
      return null;
    }
    try {
      const file = await storage.readFile(entry.path, { maxBytes: this.#bytesLeft });
      if (!file) return null;
      this.#bytesLeft -= file.bytes.length;
      this.#filesLeft -= 1;
      return toBase64(file.bytes);
    } catch (error) {
      this.problems.push(problemOf(path, error));
      return null;
    }
  }

  #leaveOut(path: string): void {
    this.#leftOut += 1;
    if (this.#leftOut > mostLeftOut) return;
    const message = `Left out: an export carries at most ${maxBytes} bytes and ${maxPortableFiles} files.`;
    this.problems.push({ path, code: "file_too_large", message });
  }
}

/** The files below a directory by path (some more than an export carries, if there are that many), some directories left out. */
async function entriesBelow(
  storage: ReadableStorage,
  root: string,
  without: ReadonlySet<string> = new Set(),
): Promise<Entry[]> {
  const files: Entry[] = [];
  if (!(await isDirectory(storage, root))) return files;
  for await (const batch of storage.walk(root, { skip: (directory) => without.has(directory) })) {
    for (const entry of batch) if (entry.kind === "file") files.push(entry);
    if (files.length > maxPortableFiles) break;
  }
  return files.toSorted((a, b) => compareCodePoints(a.path, b.path));
}

async function isDirectory(storage: ReadableStorage, path: string): Promise<boolean> {
  try {
    return path === "" || (await storage.stat(path))?.kind === "dir";
  } catch (error) {
    if (error instanceof StorageError) return false;
    throw error;
  }
}
