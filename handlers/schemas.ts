import * as v from "valibot";

/** Who did something: `{type, clientId?, tokenHash, scope}`. */
export const actorSchema: v.GenericSchema<unknown, unknown> = v.object({
  type: v.picklist(["host", "remote"]),
  clientId: v.optional(v.string()),
  tokenHash: v.string(),
  scope: v.picklist(["viewer", "collaborator", "owner"]),
});

/** One entry of the workspace list (wire contract, 10.1). */
export const workspaceSchema: v.GenericSchema<unknown, unknown> = v.object({
  id: v.string(),
  name: v.string(),
  path: v.string(),
  workspaceType: v.picklist(["local", "remote"]),
  baseUrl: v.optional(v.string()),
  directory: v.optional(v.string()),
  /** What keeps its files from being served; only in the list, and only when there is something. */
  problem: v.optional(v.object({ path: v.string(), code: v.string(), message: v.string() })),
  opencode: v.optional(
    v.object({
      baseUrl: v.optional(v.string()),
      directory: v.optional(v.string()),
      username: v.optional(v.string()),
      password: v.optional(v.string()),
    }),
  ),
});

/** One audit entry; entries of older servers may hold more or less. */
export const auditEntrySchema: v.GenericSchema<unknown, unknown> = v.looseObject({
  id: v.optional(v.string()),
  workspaceId: v.optional(v.string()),
  actor: v.optional(actorSchema),
  action: v.optional(v.string()),
  target: v.optional(v.string()),
  summary: v.optional(v.string()),
  timestamp: v.optional(v.number()),
  outcome: v.optional(v.string()),
});
