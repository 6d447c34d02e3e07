import * as v from "valibot";
import { whenReady, type Awaitable } from "../lib/awaitable.ts";
import { ApiError } from "../lib/errors.ts";
import { markdownBytes, readMarkdown } from "../lib/opencode/markdown-file.ts";
import { overwrite } from "../lib/changes/overwrite.ts";
import { absolutePath } from "../lib/paths.ts";
import { problemsField } from "../lib/problems.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import {
  GitRootSearch,
  directoryOfSkill,
  discoverSkills,
  holdsGit,
  newSkillDirectory,
  parentPlaces,
  userPlaces,
  workspacePlaces,
  type FoundSkill,
} from "../lib/opencode/skill-discovery.ts";
import { skillFile, skillName } from "../lib/opencode/skill-name.ts";
import type { Workspace } from "../lib/workspaces.ts";
import { maybeText, problemsSchema } from "./markdown-schemas.ts";

const path = "/workspace/:id/skills";
const item = v.object({
  name: v.string(),
  path: v.string(),
  description: v.string(),
  scope: v.picklist(["project", "global"]),
  trigger: v.optional(v.string()),
});
const listQuery = v.object({ includeGlobal: v.optional(v.string()) });

/** A list of skills, and the JSON that shows it. */
interface SkillListing {
  skills: readonly FoundSkill[];
  jsonText: string;
}

/** How many parent folders discovery looks into for a workspace (I16). */
export function parentsToGitRoot(workspace: Workspace): Awaitable<number> {
  const search = workspace.cache.get("skills:git-root", async (view) =>
    (await holdsGit(view.files)) ? null : new GitRootSearch(workspace.ancestors),
  );
  return whenReady(search, (found) => (found ? found.count() : 0));
}

/** The skills of a workspace and its parent folders, the user's too on request; kept until a file changes. */
function skillsOf(context: Context, includeGlobal: boolean): Awaitable<SkillListing> {
  return whenReady(parentsToGitRoot(context.workspace), (count) => skillsUpTo(count, context, includeGlobal));
}

function skillsUpTo(
  count: number,
  { workspace, services }: Context,
  includeGlobal: boolean,
): Awaitable<SkillListing> {
  return workspace.cache.get(`skills:${count}:${includeGlobal}`, async (view) => {
    const places = [
      ...workspacePlaces(workspace),
      ...parentPlaces(workspace.ancestors, count),
      ...(includeGlobal ? userPlaces(services.host.user) : []),
    ];
    const { skills, problems } = await discoverSkills(places, (storage) =>
      storage === workspace.storage ? view.files : view.other(storage),
    );
    const items = skills.map((skill) => skill.item);
    return { skills, jsonText: JSON.stringify({ items, ...problemsField(problems) }) };
  });
}

function notFound(name: string, hint = ""): ApiError {
  return new ApiError("skill_not_found", `There is no skill ${JSON.stringify(name)} here.${hint}`);
}

/** The directory of a skill in the workspace, or null. */
async function ownDirectory(workspace: Workspace, name: string): Promise<string | null> {
  return directoryOfSkill(workspace.storage, await discoverSkills(workspacePlaces(workspace)), name);
}

const list = route({
  method: "GET",
  path,
  access: "client",
  query: listQuery,
  answer: v.object({ items: v.array(item), problems: problemsSchema }),
  summary: "List the skills of the workspace and its parent folders, and with includeGlobal=true the user's.",
  handle: (context) =>
    whenReady(skillsOf(context, context.query.includeGlobal === "true"), ({ jsonText }) => ({ jsonText })),
});

const read = route({
  method: "GET",
  path: `${path}/:name`,
  access: "client",
  query: listQuery,
  answer: v.object({ item, content: v.string() }),
  errors: ["invalid_skill_name", "skill_not_found"],
  summary: "Read a skill: what the list shows of it and the text of its SKILL.md.",
  handle: async (context) => {
    const name = nameParameter(context);
    const { skills } = await skillsOf(context, context.query.includeGlobal === "true");
    const skill = skills.find((skill) => skill.item.name === name);
    const content = skill ? await contentOf(skill) : null;
    if (!skill || content === null) throw notFound(name);
    return { json: { item: skill.item, content } };
  },
});

function nameParameter(context: Context): string {
  const name = (context.params["name"] ?? "").trim();
  if (name === "") throw new ApiError("invalid_skill_name", "The path names no skill.");
  return name;
}

function contentOf(skill: FoundSkill): Promise<string | null> {
  return readMarkdown(skill.place.storage, `${skill.directory}/${skillFile}`);
}

const save = route({
  method: "POST",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  body: v.object({ name: maybeText, content: maybeText, description: maybeText }),
  answer: item,
  errors: ["invalid_skill_name", "invalid_skill_content", "invalid_description", "invalid_frontmatter"],
  summary: "Create a skill or replace the SKILL.md of one, where it lives; its other files stay.",
  handle: async (context) => {
    const { workspace, services } = context;
    const { composeSkill } = await import("../lib/opencode/skills.ts");
    const { head, text } = composeSkill(context.body);
    const body = markdownBytes(text);
    const directory = (await ownDirectory(workspace, head.name)) ?? newSkillDirectory(head.name);
    const file = `${directory}/${skillFile}`;
    const request = overwrite(workspace, {
      action: "skills.upsert",
      summary: `Save the skill ${head.name}`,
      file,
      body,
      answer: () => ({ ...head, path: absolutePath(workspace.path, file), scope: "project" }),
    });
    return { json: await services.changes.run(context, request) };
  },
});

const remove = route({
  method: "DELETE",
  path: `${path}/:name`,
  access: "client",
  scope: "collaborator",
  writes: true,
  answer: v.object({ ok: v.literal(true), name: v.string(), path: v.string() }),
  errors: ["invalid_skill_name", "skill_not_found"],
  summary: "Delete a skill of the workspace with all its files.",
  handle: async (context) => {
    const { workspace, services } = context;
    const name = skillName(nameParameter(context));
    const directory = await ownDirectory(workspace, name);
    if (directory === null) throw notFound(name, await whereElse(context, name));
    const absolute = absolutePath(workspace.path, directory);
    const json = await services.changes.run(context, {
      action: "skills.delete",
      summary: `Delete the skill ${name}`,
      paths: [absolute],
      targets: [absolute],
      onConflict: "refuse",
      plan: async (view) => {
        if (!(await view.stat(`${directory}/${skillFile}`))) throw notFound(name);
        return {
          changes: [{ op: "remove", path: directory, recursive: true }],
          answer: () => ({ ok: true, name, path: absolute }),
        };
      },
    });
    return { json };
  },
});

/** Says where a skill lives that can be listed but lies outside the workspace. */
async function whereElse(context: Context, name: string): Promise<string> {
  const { skills } = await skillsOf(context, true);
  const found = skills.find((skill) => skill.item.name === name);
  return found ? ` ${found.item.path} lies outside the workspace and can only be deleted there.` : "";
}

/** Skills (wire contract, 10.6). */
export const routes: readonly Route[] = [list, read, save, remove];
