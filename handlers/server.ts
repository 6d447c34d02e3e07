import * as v from "valibot";
import type { Caller } from "../lib/caller.ts";
import type { ServerConfig } from "../lib/host.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { scopeReaches, scopes } from "../lib/scopes.ts";
import type { Services } from "../lib/services.ts";
import { actorSchema, workspaceSchema } from "./schemas.ts";
import { presentWorkspace } from "./workspaces.ts";

const healthSchema = v.object({ ok: v.literal(true), version: v.string(), uptimeMs: v.number() });

const statusSchema = v.object({
  ...healthSchema.entries,
  readOnly: v.boolean(),
  approval: v.object({ mode: v.picklist(["manual", "auto"]), timeoutMs: v.number() }),
  corsOrigins: v.array(v.string()),
  workspaceCount: v.number(),
  activeWorkspaceId: v.nullable(v.string()),
  workspace: v.nullable(workspaceSchema),
  authorizedRoots: v.array(v.string()),
  server: v.object({ host: v.string(), port: v.number(), configPath: v.string() }),
  tokenSource: v.object({ client: v.string(), host: v.string() }),
});

const readWrite = v.object({ read: v.literal(true), write: v.boolean() });

const filesProviderSchema = v.object({
  injection: v.boolean(),
  outbox: v.boolean(),
  inboxPath: v.string(),
  outboxPath: v.string(),
  maxBytes: v.number(),
  raw: v.literal(true),
  stat: v.literal(true),
  search: v.literal(true),
  events: v.literal(true),
  sessions: v.literal(true),
  catalog: v.literal(true),
});

const capabilitiesSchema = v.object({
  schemaVersion: v.literal(1),
  serverVersion: v.string(),
  skills: v.object({ ...readWrite.entries, source: v.literal("openwork") }),
  hub: v.object({
    skills: v.object({ read: v.literal(true), install: v.boolean(), repo: v.record(v.string(), v.string()) }),
  }),
  plugins: readWrite,
  mcp: readWrite,
  commands: readWrite,
  config: readWrite,
  approvals: v.object({ mode: v.picklist(["manual", "auto"]), timeoutMs: v.number() }),
  sandbox: v.object({ enabled: v.boolean(), backend: v.string() }),
  ui: v.object({ toy: v.boolean() }),
  tokens: v.object({ scoped: v.literal(true), scopes: v.array(v.string()) }),
  proxy: v.object({ opencode: v.boolean(), opencodeRouter: v.boolean() }),
  toolProviders: v.looseObject({ files: filesProviderSchema }),
});

/** About the server itself (wire contract, 10.1). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/health",
    access: "public",
    anyHost: true,
    mounted: true,
    answer: healthSchema,
    summary: "Whether the server answers; needs no token.",
    handle: ({ services, started }) => services.health.jsonAt(started),
  }),
  route({
    method: "GET",
    path: "/status",
    access: "client",
    mounted: true,
    answer: statusSchema,
    summary: "Settings in force and the active (or mounted) workspace.",
    handle: (context) => ({ json: status(context) }),
  }),
  route({
    method: "GET",
    path: "/capabilities",
    access: "client",
    mounted: true,
    answer: capabilitiesSchema,
    summary: "What this caller can do here.",
    handle: ({ services, caller }) => ({ json: capabilities(services, caller) }),
  }),
  route({
    method: "GET",
    path: "/whoami",
    access: "client",
    mounted: true,
    answer: v.object({ ok: v.literal(true), actor: actorSchema }),
    summary: "Who the sent token makes the caller.",
    handle: ({ caller }) => ({ json: { ok: true, actor: caller.actor } }),
  }),
];

function status({ services, caller, mount, started }: Context): v.InferOutput<typeof statusSchema> {
  const { host, workspaces } = services;
  const { config } = host;
  const workspace = mount ?? workspaces.active;
  const { host: boundHost, port } = host.address();
  return {
    ...services.health.at(started),
    readOnly: config.readOnly,
    approval: { ...config.approval },
    corsOrigins: [...config.corsOrigins],
    workspaceCount: mount ? 1 : workspaces.list.length,
    activeWorkspaceId: workspace?.id ?? null,
    workspace: workspace ? presentWorkspace(workspace.config, caller.scope) : null,
    authorizedRoots: [...workspaces.authorizedRoots],
    server: { host: boundHost, port, configPath: config.configPath },
    tokenSource: { ...config.tokenSource },
  };
}

/** What the contract lists, as true for this caller as for the server: viewers write nothing (I17). */
function capabilities(
  { host, workspaces }: Services,
  caller: Caller,
): v.InferOutput<typeof capabilitiesSchema> {
  const { config } = host;
  const write = !config.readOnly && scopeReaches(caller.scope, "collaborator");
  const both = { read: true, write } as const;
  return {
    schemaVersion: 1,
    serverVersion: host.version,
    skills: { ...both, source: "openwork" },
    hub: {
      skills: {
        read: true,
        install: write,
        repo: { owner: "different-ai", name: "openwork-hub", ref: "main" },
      },
    },
    plugins: both,
    mcp: both,
    commands: both,
    config: both,
    approvals: { ...config.approval },
    sandbox: { ...config.sandbox },
    ui: { toy: config.ui.enabled },
    tokens: { scoped: true, scopes: [...scopes] },
    proxy: {
      opencode: workspaces.list.some((workspace) => workspace.config.opencode.baseUrl !== undefined),
      opencodeRouter: config.routerPort !== null,
    },
    toolProviders: { browser: { ...config.browser }, files: filesProvider(config, write) },
  };
}

function filesProvider(config: ServerConfig, write: boolean): v.InferOutput<typeof filesProviderSchema> {
  return {
    injection: write && config.inbox.enabled,
    outbox: config.outbox.enabled,
    inboxPath: ".opencode/openwork/inbox/",
    outboxPath: ".opencode/openwork/outbox/",
    maxBytes: config.inbox.maxBytes,
    raw: true,
    stat: true,
    search: true,
    events: true,
    sessions: true,
    catalog: true,
  };
}
