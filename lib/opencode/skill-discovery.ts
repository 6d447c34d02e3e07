import type { Awaitable } from "../awaitable.ts";
import type { Ancestor, Host } from "../host.ts";
import { readMarkdown, type Files } from "./markdown-file.ts";
import { absolutePath } from "../paths.ts";
import { problemOf, type Problem } from "../problems.ts";
import { skillFile } from "./skill-name.ts";
import type { SkillHead, SkillItem } from "./skills.ts";
import { compareCodePoints, StorageError, type ReadableStorage } from "../storage.ts";
import type { Workspace } from "../workspaces.ts";

/** A directory that holds skills. */
export interface SkillPlace {
  storage: ReadableStorage;
  /** Path of the directory in the storage. */
  root: string;
  /** Absolute path of the storage's root. */
  location: string;
  scope: SkillItem["scope"];
  /** How far away: 0 for the workspace itself, which can be written, then its parent folders, then the user. */
  distance: number;
}

/** A skill and where it lives. */
export interface FoundSkill {
  item: SkillItem;
  place: SkillPlace;
  /** Path of its directory in the storage of the place. */
  directory: string;
}

/** A skill with the text of its SKILL.md. */
export interface SkillWithText extends FoundSkill {
  text: string;
}

/** What discovery found: skills from near to far and by name, and the files that should have been skills. */
export interface SkillList<Skill extends FoundSkill = FoundSkill> {
  skills: readonly Skill[];
  problems: readonly Problem[];
}

/** What discovery makes of a skill that it read. */
type Keep<Skill extends FoundSkill> = (skill: FoundSkill, text: string) => Skill;

/** The two directories of a workspace that hold skills; new ones go to the first. */
export const workspaceSkillRoots: readonly [string, string] = [".opencode/skills", ".claude/skills"];

/** The directory of a new skill, in workspace paths. */
export function newSkillDirectory(name: string): string {
  return `${workspaceSkillRoots[0]}/${name}`;
}

/**
 * The directory of a skill of the workspace, or null: the one a new skill of that name would get when it holds
 * SKILL.md, be it readable or not, else where the list of the workspace has it (I51).
 */
export async function directoryOfSkill(files: Files, own: SkillList, name: string): Promise<string | null> {
  const direct = newSkillDirectory(name);
  const entry = await files.stat(`${direct}/${skillFile}`);
  if (entry && entry.kind !== "dir") return direct;
  return own.skills.find((skill) => skill.item.name === name)?.directory ?? null;
}

/** The skill directories in the workspace itself. */
export function workspacePlaces(workspace: Workspace): SkillPlace[] {
  const { storage, path: location } = workspace;
  return workspaceSkillRoots.map((root) => ({ storage, root, location, scope: "project", distance: 0 }));
}

/** The skill directories of the nearest `count` parent folders. */
export function parentPlaces(ancestors: readonly Ancestor[], count: number): SkillPlace[] {
  return ancestors
    .slice(0, count)
    .flatMap((ancestor, index) => ancestor.skills.map((storage) => outside(storage, "project", index + 1)));
}

/** The skill directories of the user. */
export function userPlaces(user: Host["user"]): SkillPlace[] {
  return user.skills.map((storage) => outside(storage, "global", Number.MAX_SAFE_INTEGER));
}

function outside(storage: ReadableStorage, scope: SkillPlace["scope"], distance: number): SkillPlace {
  return { storage, root: "", location: storage.location, scope, distance };
}

/**
 * Counts the parent folders up to the nearest git root: the first that holds `.git`, and none when the workspace holds
 * it or no folder does (I16). Asked anew after 200 ms, as no watch covers parent folders.
 */
export class GitRootSearch {
  readonly #ancestors: readonly Ancestor[];
  #count: Awaitable<number> | null = null;
  #checkedAt = 0;

  constructor(ancestors: readonly Ancestor[]) {
    this.#ancestors = ancestors;
  }

  /** The number of parent folders to look into. */
  count(): Awaitable<number> {
    const now = performance.now();
    if (this.#count === null || now - this.#checkedAt > 200) {
      this.#checkedAt = now;
      const looking = this.#look();
      this.#count = looking;
      void looking.then((count) => {
        if (this.#count === looking) this.#count = count;
      });
    }
    return this.#count;
  }

  async #look(): Promise<number> {
    let count = 0;
    for (const ancestor of this.#ancestors) {
      count += 1;
      if (await ancestor.isGitRoot().catch(() => false)) return count;
    }
    return 0;
  }
}

/** Whether a folder holds `.git`, be it a directory, a file or a link to wherever. */
export async function holdsGit(files: Files): Promise<boolean> {
  try {
    return (await files.stat(".git")) !== null;
  } catch (error) {
    return error instanceof StorageError && error.code === "outside";
  }
}

/**
 * All skills of some places: those of the workspace, of each parent folder, of the user, each sorted by name
 * (I54). Of equal names the first place wins, and in one place the skill that is not in a category.
 * One text at a time is in memory. `view` may wrap each storage to note what is read.
 */
export function discoverSkills(
  places: readonly SkillPlace[],
  view: (storage: ReadableStorage) => Files = (storage) => storage,
): Promise<SkillList> {
  return discover(places, view, (skill) => skill);
}

/** The same with all their texts. */
export function discoverSkillTexts(places: readonly SkillPlace[]): Promise<SkillList<SkillWithText>> {
  return discover(
    places,
    (storage) => storage,
    (skill, text) => ({ ...skill, text }),
  );
}

async function discover<Skill extends FoundSkill>(
  places: readonly SkillPlace[],
  view: (storage: ReadableStorage) => Files,
  keep: Keep<Skill>,
): Promise<SkillList<Skill>> {
  const byName = new Map<string, Skill>();
  const problems: Problem[] = [];
  for (const place of places) {
    for (const skill of await skillsOf(place, view(place.storage), problems, keep)) {
      if (!byName.has(skill.item.name)) byName.set(skill.item.name, skill);
    }
  }
  const skills = [...byName.values()].toSorted(
    (a, b) => a.place.distance - b.place.distance || compareCodePoints(a.item.name, b.item.name),
  );
  return { skills, problems };
}

async function skillsOf<Skill extends FoundSkill>(
  place: SkillPlace,
  files: Files,
  problems: Problem[],
  keep: Keep<Skill>,
): Promise<Skill[]> {
  const found: Skill[] = [];
  const categories: string[] = [];
  for (const directory of await directories(place, files, place.root, problems)) {
    const skill = await skillIn(place, files, directory, problems, keep);
    if (skill === "category") categories.push(directory);
    else if (skill) found.push(skill);
  }
  for (const category of categories) {
    for (const directory of await directories(place, files, category, problems)) {
      const skill = await skillIn(place, files, directory, problems, keep);
      if (skill && skill !== "category") found.push(skill);
    }
  }
  return found;
}

async function directories(
  place: SkillPlace,
  files: Files,
  path: string,
  problems: Problem[],
): Promise<string[]> {
  try {
    const entries = (await files.list(path)) ?? [];
    return entries.filter((entry) => entry.kind === "dir").map((entry) => entry.path);
  } catch (error) {
    // A file or a link out of the root where the directory would be holds no skills.
    if (error instanceof StorageError && (error.code === "not_a_directory" || error.code === "outside"))
      return [];
    problems.push(problemOf(absolutePath(place.location, path), error));
    return [];
  }
}

async function skillIn<Skill extends FoundSkill>(
  place: SkillPlace,
  files: Files,
  directory: string,
  problems: Problem[],
  keep: Keep<Skill>,
): Promise<Skill | "category" | null> {
  const path = `${directory}/${skillFile}`;
  const absolute = absolutePath(place.location, path);
  // Loaded by the first file, as for commands.
  const { readSkill } = await import("./skills.ts");
  try {
    const text = await readMarkdown(files, path);
    if (text === null) return "category";
    const head = readSkill(directory.slice(directory.lastIndexOf("/") + 1), text);
    if (!head) return null;
    const { name, description, ...rest } = ownStrings(head);
    const item: SkillItem = { name, description, path: absolute, scope: place.scope, ...rest };
    return keep({ item, place, directory }, text);
  } catch (error) {
    problems.push(problemOf(absolute, error));
    return null;
  }
}

/** A copy with strings of its own: engines let a part of a text point into it, and would keep the whole text for it. */
function ownStrings(head: SkillHead): SkillHead {
  // What is made of strings alone comes back as it was.
  return JSON.parse(JSON.stringify(head)) as SkillHead;
}
