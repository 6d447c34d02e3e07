import * as v from "valibot";
import type { Awaitable } from "../lib/awaitable.ts";
import { ApiError } from "../lib/errors.ts";
import { readOpencode } from "../lib/opencode/config.ts";
import {
  configuredSpecs,
  loadOrder,
  pluginFiles,
  withoutPlugin,
  withPlugin,
  type PluginItem,
} from "../lib/opencode/plugins.ts";
import { ScopedAnswer } from "../lib/redaction.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { cleanText } from "../lib/secrets.ts";
import { changeOpencode, quoted } from "./opencode-change.ts";

const path = "/workspace/:id/plugins";
const answer = v.object({
  items: v.array(
    v.object({
      spec: v.string(),
      source: v.picklist(["config", "dir.project", "dir.global"]),
      scope: v.picklist(["project", "global"]),
      path: v.optional(v.string()),
    }),
  ),
  loadOrder: v.array(v.string()),
  redacted: v.optional(v.literal(true)),
});

/** The plugins of a workspace, the user's files too on request; kept until a file changes. */
function pluginsOf(
  context: Context,
  includeGlobal: boolean,
): Awaitable<ScopedAnswer<{ items: PluginItem[]; loadOrder: readonly string[] }>> {
  const { workspace, services } = context;
  const { opencode } = services.host.user;
  return workspace.cache.get(`plugins:${includeGlobal}`, async (view) => {
    const { value } = await readOpencode(view.files);
    const configured = configuredSpecs(value).map((spec): PluginItem => ({
      spec,
      source: "config",
      scope: "project",
    }));
    const own = await pluginFiles(view.files, workspace.path, "project");
    const global = includeGlobal ? await pluginFiles(view.other(opencode), opencode.location, "global") : [];
    return new ScopedAnswer({ items: [...configured, ...own, ...global], loadOrder });
  });
}

const listPlugins = route({
  method: "GET",
  path,
  access: "client",
  summary:
    "The plugins of a workspace: those of its configuration, then its plugin files; with includeGlobal=true the user's too.",
  query: v.object({ includeGlobal: v.optional(v.string()) }),
  answer,
  errors: ["invalid_jsonc"],
  async handle(context) {
    const plugins = await pluginsOf(context, context.query.includeGlobal === "true");
    return { jsonText: plugins.json(context.caller.scope) };
  },
});

const addPlugin = route({
  method: "POST",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary: "Adds a plugin to the configuration; one that is there by that name is left as it is.",
  body: v.object({ spec: v.nullish(v.string()) }),
  answer,
  errors: ["invalid_plugin_spec", "invalid_jsonc"],
  handle(context) {
    const spec = context.body.spec ?? "";
    if (spec.trim() === "") {
      throw new ApiError(
        "invalid_plugin_spec",
        'spec must name a plugin: a package such as "name@1.0.0", or a file or git address.',
      );
    }
    return changeOpencode(context, {
      action: "plugins.add",
      summary: `Add the plugin ${shown(spec)}`,
      change: (file) => withPlugin(file, spec),
      list: () => pluginsOf(context, false),
    });
  },
});

const removePlugin = route({
  method: "DELETE",
  path: `${path}/:name`,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary:
    "Removes the plugins of that name, whatever their version, from the configuration; it is fine when there is none.",
  answer,
  errors: ["invalid_jsonc"],
  handle(context) {
    const name = context.params["name"] ?? "";
    return changeOpencode(context, {
      action: "plugins.remove",
      summary: `Remove the plugin ${shown(name)}`,
      change: (file) => withoutPlugin(file, name),
      list: () => pluginsOf(context, false),
    });
  },
});

/** Without credentials: summaries go into the audit log, and the diff shows the host the whole. */
function shown(spec: string): string {
  return quoted(cleanText(spec));
}

/** The endpoints of plugins (wire contract, 10.5). */
export const routes: readonly Route[] = [listPlugins, addPlugin, removePlugin];
