import * as v from "valibot";
import type { WorkspaceConfig } from "../lib/host.ts";
import { forgetWorkspace } from "../lib/settings/edit.ts";
import { route, type Route } from "../lib/route.ts";
import { scopeReaches, type Scope } from "../lib/scopes.ts";
import { cleanText } from "../lib/secrets.ts";
import type { Workspace } from "../lib/workspaces.ts";
import { workspaceSchema } from "./schemas.ts";

/** A workspace as the list shows it; the engine's user and password only for those who may use them (I03). */
export function presentWorkspace(config: WorkspaceConfig, scope: Scope): Record<string, unknown> {
  const { id, name, path, workspaceType, directory, opencode } = config;
  const { username, password, ...open } = opencode;
  const isTrusted = scopeReaches(scope, "collaborator");
  // An address may name user and password as well.
  const shown = (url: string | undefined): string | undefined =>
    url === undefined || isTrusted ? url : cleanText(url);
  const baseUrl = shown(config.baseUrl);
  const engine = { ...open, baseUrl: shown(open.baseUrl), ...(isTrusted ? { username, password } : {}) };
  const present = Object.fromEntries(Object.entries(engine).filter(([, value]) => value !== undefined));
  return {
    id,
    name,
    path,
    workspaceType,
    ...(baseUrl === undefined ? {} : { baseUrl }),
    ...(directory === undefined ? {} : { directory }),
    ...(Object.keys(present).length === 0 ? {} : { opencode: present }),
  };
}

/** The same, with what keeps its files from being served. */
async function withProblem(workspace: Workspace, scope: Scope): Promise<Record<string, unknown>> {
  const problem = await workspace.problem();
  return { ...presentWorkspace(workspace.config, scope), ...(problem ? { problem } : {}) };
}

/** The list of workspaces and the host's changes to it (wire contract, 10.1 and 10.15). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/workspaces",
    access: "client",
    mounted: true,
    answer: v.object({ items: v.array(workspaceSchema), activeId: v.nullable(v.string()) }),
    summary: "The workspaces served, the active one first; through a mount just that one.",
    handle: async ({ services, mount, caller }) => {
      const list = mount ? [mount] : services.workspaces.list;
      const items = await Promise.all(list.map((workspace) => withProblem(workspace, caller.scope)));
      return { json: { items, activeId: list[0]?.id ?? null } };
    },
  }),
  route({
    method: "POST",
    path: "/workspaces/:id/activate",
    access: "host",
    answer: v.object({ activeId: v.string(), workspace: workspaceSchema }),
    errors: ["workspace_not_found", "workspace_unauthorized"],
    summary: "Makes a workspace the active one; remembered over restarts.",
    handle: async ({ services, workspace, caller }) => {
      await services.workspaces.activate(workspace);
      const summary = `Activated ${workspace.config.name}`;
      await services.audit.record(workspace.id, [
        { actor: caller.actor, action: "workspace.activate", target: "workspace", summary },
      ]);
      return {
        json: { activeId: workspace.id, workspace: presentWorkspace(workspace.config, caller.scope) },
      };
    },
  }),
  route({
    method: "DELETE",
    path: "/workspaces/:id",
    access: "host",
    writes: true,
    answer: v.object({
      ok: v.literal(true),
      deleted: v.literal(true),
      persisted: v.boolean(),
      activeId: v.nullable(v.string()),
      items: v.array(workspaceSchema),
    }),
    errors: ["workspace_not_found", "workspace_unauthorized", "invalid_json", "server_config_read_failed"],
    summary: "Stops serving a workspace, never touching its files; server.json is updated when it names it.",
    handle: async ({ services, workspace, caller }) => {
      const persisted = await forgetWorkspace(services.host, workspace);
      await services.workspaces.delete(workspace, persisted);
      services.approvals.withdrawWorkspace(workspace.id);
      const summary = `Removed ${workspace.config.name} from the list`;
      await services.audit.record(workspace.id, [
        { actor: caller.actor, action: "workspace.delete", target: "workspace", summary },
      ]);
      const items = services.workspaces.list.map((other) => presentWorkspace(other.config, caller.scope));
      return {
        json: { ok: true, deleted: true, persisted, activeId: services.workspaces.active?.id ?? null, items },
      };
    },
  }),
];
