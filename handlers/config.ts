import * as v from "valibot";
import { whenReady, type Awaitable } from "../lib/awaitable.ts";
import { jsonObject, type JsonObject } from "../lib/json.ts";
import {
  chooseOpencode,
  openworkPath,
  patchOpencode,
  patchOpenwork,
  readOpencode,
  readOpenwork,
  writeOpencode,
} from "../lib/opencode/config.ts";
import { absolutePath } from "../lib/paths.ts";
import { ScopedAnswer } from "../lib/redaction.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import type { Workspace } from "../lib/workspaces.ts";

const path = "/workspace/:id/config";
const answer = v.object({
  opencode: v.unknown(),
  openwork: v.unknown(),
  updatedAt: v.nullable(v.number()),
  redacted: v.optional(v.literal(true)),
});
const patch = v.pipe(
  v.object({ opencode: v.nullish(jsonObject), openwork: v.nullish(jsonObject) }),
  v.check(
    ({ opencode, openwork }) => Boolean(opencode ?? openwork),
    'must hold "opencode" or "openwork", an object with the keys to change',
  ),
);

/** What both configuration files of a workspace say, kept until one of them changes. */
function configOf(workspace: Workspace): Awaitable<ScopedAnswer<{ opencode: unknown; openwork: unknown }>> {
  return workspace.cache.get("config", async ({ files }) => {
    const opencode = await readOpencode(files);
    const openwork = await readOpenwork(files);
    return new ScopedAnswer({ opencode: opencode.value, openwork: openwork ? openwork.value : {} });
  });
}

const readConfig = route({
  method: "GET",
  path,
  access: "client",
  summary:
    "Both configuration files of a workspace as values, and when the workspace was last changed through this server.",
  answer,
  errors: ["invalid_jsonc", "invalid_json"],
  handle: ({ workspace, services, caller }) =>
    whenReady(configOf(workspace), (config) =>
      whenReady(services.audit.lastTimestamp(workspace), (updatedAt) => ({
        jsonText: config.json(caller.scope, { updatedAt }),
      })),
    ),
});

const patchConfig = route({
  method: "PATCH",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary:
    "Replaces top-level keys of the configuration files; comments and formatting of everything else stay.",
  body: patch,
  answer: v.object({ updatedAt: v.number() }),
  errors: ["invalid_jsonc", "invalid_json"],
  handle: async (context) => ({
    json: await applyPatch(context, context.body.opencode, context.body.openwork),
  }),
});

async function applyPatch(
  context: Context,
  opencode: JsonObject | null | undefined,
  openwork: JsonObject | null | undefined,
): Promise<{ updatedAt: number }> {
  const { workspace } = context;
  const paths: string[] = [];
  if (opencode) paths.push(await chooseOpencode(workspace.storage));
  if (openwork) paths.push(openworkPath);
  const keys = [...Object.keys(opencode ?? {}), ...Object.keys(openwork ?? {})];
  return context.services.changes.run(context, {
    action: "config.patch",
    summary: `Change ${naming(keys)} in ${paths.join(" and ")}`,
    paths: paths.map((file) => absolutePath(workspace.path, file)),
    targets: ["opencode.json"],
    onConflict: "replan",
    async plan(view) {
      const file = opencode ? await readOpencode(view) : null;
      const changes = [
        ...(file && opencode ? writeOpencode(file, patchOpencode(file, opencode)) : []),
        ...(openwork ? await patchOpenwork(view, openwork) : []),
      ];
      return { changes, answer: () => ({ updatedAt: Date.now() }) };
    },
  });
}

/** The first few keys, each quoted and cut: what a client sends must not fill the host's screen. */
function naming(keys: readonly string[]): string {
  if (keys.length === 0) return "nothing";
  const shown = keys.slice(0, 6).map((key) => JSON.stringify(key.slice(0, 60)));
  return shown.join(", ") + (keys.length > shown.length ? ` and ${keys.length - shown.length} more` : "");
}

/** The endpoints of the workspace configuration (wire contract, 10.3). */
export const routes: readonly Route[] = [readConfig, patchConfig];
