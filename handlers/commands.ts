import * as v from "valibot";
import { whenReady, type Awaitable } from "../lib/awaitable.ts";
import {
  commandFile,
  discoverCommands,
  filesOfCommand,
  userCommands,
  workspaceCommands,
} from "../lib/opencode/commands.ts";
import { commandName } from "../lib/opencode/command-name.ts";
import { ApiError } from "../lib/errors.ts";
import { meant } from "../lib/json.ts";
import { markdownBytes } from "../lib/opencode/markdown-file.ts";
import { overwrite } from "../lib/changes/overwrite.ts";
import { absolutePath } from "../lib/paths.ts";
import { problemsField } from "../lib/problems.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import type { Change } from "../lib/storage.ts";
import type { Workspace } from "../lib/workspaces.ts";
import { maybeText, problemsSchema } from "./markdown-schemas.ts";

const path = "/workspace/:id/commands";
const listAnswer = v.object({
  items: v.array(
    v.object({
      name: v.string(),
      description: v.optional(v.string()),
      template: v.string(),
      agent: v.optional(v.string()),
      model: v.nullable(v.string()),
      subtask: v.optional(v.boolean()),
      scope: v.picklist(["workspace", "global"]),
    }),
  ),
  problems: problemsSchema,
});

/** The commands of the workspace, or the user's, as JSON; kept until a file changes. */
function listText(context: Context, scope: "workspace" | "global"): Awaitable<string> {
  const { workspace, services } = context;
  return workspace.cache.get(`commands:${scope}`, async (view) => {
    const user = services.host.user.opencode;
    const { commands, problems } =
      scope === "global"
        ? await discoverCommands(view.other(user), userCommands, user.location, scope)
        : await discoverCommands(view.files, workspaceCommands, workspace.path, scope);
    return JSON.stringify({ items: commands.map((command) => command.item), ...problemsField(problems) });
  });
}

/** The files in the workspace that make up a command, its own file first. */
async function ownFiles(workspace: Workspace, name: string): Promise<string[]> {
  const list = await discoverCommands(workspace.storage, workspaceCommands, workspace.path, "workspace");
  return filesOfCommand(workspace.storage, list, name);
}

const list = route({
  method: "GET",
  path,
  access: "client",
  query: v.object({ scope: v.optional(v.string()) }),
  guard: ({ caller, query }) => {
    if (query["scope"] !== "global" || caller.host) return;
    throw new ApiError("unauthorized", "The user's own commands are shown to hosts and owners only.");
  },
  answer: listAnswer,
  summary: "List the commands of the workspace, or with scope=global and host rights those of the user.",
  handle: (context) =>
    whenReady(listText(context, context.query.scope === "global" ? "global" : "workspace"), (jsonText) => ({
      jsonText,
    })),
});

const save = route({
  method: "POST",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  body: v.object({
    name: maybeText,
    template: maybeText,
    description: maybeText,
    agent: maybeText,
    model: maybeText,
    subtask: meant({ type: "boolean" }),
  }),
  answer: listAnswer,
  errors: ["invalid_command_template", "invalid_command_name"],
  summary: "Create a command or replace the one of that name, and list the commands of the workspace.",
  handle: async (context) => {
    const { workspace, services } = context;
    const { composeCommand } = await import("../lib/opencode/command-text.ts");
    const { name, text } = composeCommand(context.body);
    const body = markdownBytes(text);
    const file = (await ownFiles(workspace, name))[0] ?? commandFile(name);
    const request = overwrite(workspace, {
      action: "commands.upsert",
      summary: `Save the command ${name}`,
      file,
      body,
      answer: () => listText(context, "workspace"),
    });
    return { jsonText: await services.changes.run(context, request) };
  },
});

const remove = route({
  method: "DELETE",
  path: `${path}/:name`,
  access: "client",
  scope: "collaborator",
  writes: true,
  answer: v.object({ ok: v.literal(true) }),
  errors: ["invalid_command_name"],
  summary: "Delete the command of a name; nothing happens when there is none.",
  handle: async (context) => {
    const { workspace, services } = context;
    const name = commandName(context.params["name"]);
    const files = await ownFiles(workspace, name);
    const shown = files.length > 0 ? files : [commandFile(name)];
    const json = await services.changes.run(context, {
      action: "commands.delete",
      summary: `Delete the command ${name}`,
      paths: shown.map((file) => absolutePath(workspace.path, file)),
      targets: [absolutePath(workspace.path, workspaceCommands)],
      onConflict: "refuse",
      plan: async (view) => {
        const changes: Change[] = [];
        for (const file of files) {
          if (await view.stat(file)) changes.push({ op: "remove", path: file });
        }
        return { changes, answer: () => ({ ok: true }) };
      },
    });
    return { json };
  },
});

/** Commands (wire contract, 10.8). */
export const routes: readonly Route[] = [list, save, remove];
