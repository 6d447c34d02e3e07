import * as v from "valibot";
import type { Awaitable } from "../lib/awaitable.ts";
import { engineBase, logOutMcp } from "../lib/engine.ts";
import { jsonObject } from "../lib/json.ts";
import {
  checkMcpConfig,
  checkMcpName,
  listMcp,
  withMcp,
  withoutMcp,
  type McpItem,
} from "../lib/opencode/mcp.ts";
import { chooseOpencode, readOpencode, type Reader } from "../lib/opencode/config.ts";
import { absolutePath } from "../lib/paths.ts";
import { problemOf, problemsField, type Problem } from "../lib/problems.ts";
import { ScopedAnswer } from "../lib/redaction.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { problemsSchema } from "./markdown-schemas.ts";
import { changeOpencode, quoted } from "./opencode-change.ts";

const path = "/workspace/:id/mcp";
const answer = v.object({
  items: v.array(
    v.object({
      name: v.string(),
      config: v.unknown(),
      source: v.picklist(["config.global", "config.project"]),
      disabledByTools: v.optional(v.literal(true)),
    }),
  ),
  problems: problemsSchema,
  redacted: v.optional(v.literal(true)),
});

/** The MCP servers of a workspace and of the user; a broken file of the user is a problem, not a failure (I52). */
function serversOf(
  context: Context,
): Awaitable<ScopedAnswer<{ items: McpItem[]; problems?: readonly Problem[] }>> {
  const { workspace, services } = context;
  const { opencode } = services.host.user;
  return workspace.cache.get("mcp", async (view) => {
    const project = await readOpencode(view.files);
    const global = await readGlobal(view.other(opencode), opencode.location);
    return new ScopedAnswer({
      items: listMcp(project.value, global.value),
      ...problemsField(global.problems),
    });
  });
}

async function readGlobal(
  reader: Reader,
  location: string,
): Promise<{ value: unknown; problems: Problem[] }> {
  try {
    return { value: (await readOpencode(reader)).value, problems: [] };
  } catch (error) {
    const file = await chooseOpencode(reader).catch(() => "opencode.jsonc");
    return { value: {}, problems: [problemOf(absolutePath(location, file), error)] };
  }
}

const listServers = route({
  method: "GET",
  path,
  access: "client",
  summary: "The MCP servers of the user and of the workspace, as configured.",
  answer,
  errors: ["invalid_jsonc"],
  handle: async (context) => ({ jsonText: (await serversOf(context)).json(context.caller.scope) }),
});

const addServer = route({
  method: "POST",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary: "Adds an MCP server to the workspace's configuration, or replaces the one of that name.",
  body: v.object({ name: v.nullish(v.string(), ""), config: jsonObject }),
  answer,
  errors: ["invalid_mcp_name", "invalid_mcp_config", "invalid_jsonc"],
  handle(context) {
    const name = context.body.name ?? "";
    const { config } = context.body;
    checkMcpName(name);
    checkMcpConfig(config);
    return changeOpencode(context, {
      action: "mcp.add",
      summary: `Add the MCP server ${quoted(name)}`,
      change: (file) => withMcp(file, name, config),
      list: () => serversOf(context),
    });
  },
});

const removeServer = route({
  method: "DELETE",
  path: `${path}/:name`,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary:
    "Removes an MCP server from the workspace's configuration; it is fine when there is none of that name.",
  answer,
  errors: ["invalid_jsonc"],
  handle(context) {
    const name = context.params["name"] ?? "";
    return changeOpencode(context, {
      action: "mcp.remove",
      summary: `Remove the MCP server ${quoted(name)}`,
      change: (file) => withoutMcp(file, name),
      list: () => serversOf(context),
    });
  },
});

const logOut = route({
  method: "DELETE",
  path: `${path}/:name/auth`,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary: "Disconnects an MCP server and removes its sign-in, at the engine.",
  answer: v.object({ ok: v.literal(true) }),
  errors: [
    "invalid_mcp_name",
    "opencode_unconfigured",
    "opencode_url_invalid",
    "opencode_request_failed",
    "opencode_unreachable",
    "opencode_timeout",
  ],
  async handle(context) {
    const { host, changes } = context.services;
    const { opencode } = context.workspace.config;
    const name = context.params["name"] ?? "";
    checkMcpName(name);
    engineBase(opencode);
    const authFile = absolutePath(host.user.opencode.location, "mcp-auth.json");
    const request = {
      action: "mcp.auth.remove",
      summary: `Sign out of the MCP server ${quoted(name)}`,
      paths: [authFile],
      targets: [authFile],
      diff: "",
    };
    await changes.runElsewhere(context, request, () => logOutMcp(host.fetch, opencode, name, context.signal));
    return { json: { ok: true } };
  },
});

/** The endpoints of MCP servers (wire contract, 10.7). */
export const routes: readonly Route[] = [listServers, addServer, removeServer, logOut];
