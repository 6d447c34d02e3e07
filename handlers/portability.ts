import * as v from "valibot";
import { ApiError } from "../lib/errors.ts";
import { exportFiles } from "../lib/portability/export.ts";
import { matchesGlob } from "../lib/glob.ts";
import { opencodeTarget } from "../lib/portability/import-config.ts";
import type { ImportInput } from "../lib/portability/import.ts";
import { jsonObject, meant, plainObject } from "../lib/json.ts";
import { openworkPath, readOpencode, readOpenwork, type Reader } from "../lib/opencode/config.ts";
import { absolutePath } from "../lib/paths.ts";
import { problemsField } from "../lib/problems.ts";
import { redact } from "../lib/redaction.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { parentPlaces, workspacePlaces } from "../lib/opencode/skill-discovery.ts";
import { maybeText, problemsSchema } from "./markdown-schemas.ts";
import { parentsToGitRoot } from "./skills.ts";

const portableFiles = v.array(plainObject({ path: v.string(), contentBase64: v.string() }));
const mostEntries = 1000;

/** The two configurations as an export carries them. */
interface ExportedConfig {
  opencode: unknown;
  openwork: unknown;
  opencodePath?: string;
  opencodeText?: string | null;
  openworkText?: string | null;
  redacted: boolean;
}

const exportRoute = route({
  method: "GET",
  path: "/workspace/:id/export",
  access: "client",
  answer: v.object({
    workspaceId: v.string(),
    exportedAt: v.number(),
    opencode: v.unknown(),
    opencodePath: v.optional(v.string()),
    opencodeText: v.optional(v.nullable(v.string())),
    openwork: v.unknown(),
    openworkText: v.optional(v.nullable(v.string())),
    skills: v.array(
      v.object({
        name: v.string(),
        description: v.string(),
        content: v.string(),
        path: v.string(),
        files: v.optional(portableFiles),
      }),
    ),
    commands: v.array(
      v.object({
        name: v.string(),
        description: v.optional(v.string()),
        template: v.string(),
        agent: v.optional(v.string()),
        model: v.optional(v.string()),
        subtask: v.optional(v.boolean()),
        path: v.string(),
        content: v.string(),
      }),
    ),
    files: v.optional(portableFiles),
    problems: problemsSchema,
    redacted: v.optional(v.literal(true)),
  }),
  errors: ["invalid_jsonc", "invalid_json"],
  summary:
    "Export the configuration, skills and commands of the workspace: contents, no file modes, links or empty directories; viewers get it without secrets.",
  handle: async (context) => {
    const { workspace } = context;
    const { redacted, ...config } = await exportedConfig(context);
    const { problems, withheld, ...files } = await exportFiles({
      storage: workspace.storage,
      location: workspace.path,
      places: [
        ...workspacePlaces(workspace),
        ...parentPlaces(workspace.ancestors, await parentsToGitRoot(workspace)),
      ],
      isProtected: protection(context),
    });
    return {
      json: {
        workspaceId: workspace.id,
        exportedAt: Date.now(),
        ...config,
        ...files,
        ...problemsField(problems),
        ...(redacted || withheld ? { redacted: true } : {}),
      },
    };
  },
});

async function exportedConfig(context: Context): Promise<ExportedConfig> {
  const { storage } = context.workspace;
  const opencode = await readOpencode(storage);
  const openwork = await readOpenworkText(storage);
  const values = { opencode: opencode.value, openwork: openwork.value };
  if (context.caller.scope === "viewer") {
    // The texts stay behind in any case: comments hold secrets too.
    const { value, redacted } = redact(values);
    return { ...value, redacted };
  }
  return {
    ...values,
    opencodePath: opencode.path,
    opencodeText: opencode.parsed?.text ?? null,
    openworkText: openwork.text,
    redacted: false,
  };
}

/** The openwork file's value, and the text that it was read from. */
async function readOpenworkText(storage: Reader): Promise<{ value: unknown; text: string | null }> {
  let bytes: Uint8Array | null = null;
  const read = await readOpenwork({
    readFile: async (path, options) => {
      const file = await storage.readFile(path, options);
      bytes = file?.bytes ?? null;
      return file;
    },
  });
  if (!read || !bytes) return { value: {}, text: null };
  return { value: read.value, text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) };
}

/** Which file names are closed to the caller: for viewers those of the setting `protectedPaths` (I05). */
function protection(context: Context): (name: string) => boolean {
  if (context.caller.scope !== "viewer") return () => false;
  const patterns = context.services.host.config.protectedPaths.map((pattern) => pattern.toLowerCase());
  return (name) => patterns.some((pattern) => matchesGlob(pattern, name.toLowerCase()));
}

const part = meant({ type: "string", enum: ["merge", "replace"] });
const mode = plainObject({ opencode: part, openwork: part, skills: part, commands: part });

const importBody = v.object({
  mode: v.nullish(mode),
  opencode: v.nullish(jsonObject),
  opencodePath: v.nullish(v.picklist(["opencode.jsonc", "opencode.json"])),
  opencodeText: v.nullish(v.string()),
  openwork: v.nullish(jsonObject),
  openworkText: v.nullish(v.string()),
  skills: v.nullish(
    v.pipe(
      v.array(
        plainObject({
          name: maybeText,
          content: maybeText,
          description: maybeText,
          path: v.nullish(v.string()),
          files: v.nullish(portableFiles),
        }),
      ),
      v.maxLength(mostEntries),
    ),
  ),
  commands: v.nullish(
    v.pipe(
      v.array(
        plainObject({
          name: maybeText,
          content: maybeText,
          template: maybeText,
          description: maybeText,
          agent: maybeText,
          model: maybeText,
          subtask: meant({ type: "boolean" }),
          path: v.nullish(v.string()),
        }),
      ),
      v.maxLength(mostEntries),
    ),
  ),
  files: v.nullish(portableFiles),
  redacted: meant({ type: "boolean" }),
});

const importRoute = route({
  method: "POST",
  path: "/workspace/:id/import",
  access: "client",
  scope: "collaborator",
  writes: true,
  body: importBody,
  bodyLimit: 16 * 1024 * 1024,
  answer: v.object({ ok: v.literal(true) }),
  errors: [
    "invalid_jsonc",
    "invalid_json",
    "invalid_skill_name",
    "invalid_skill_content",
    "invalid_description",
    "invalid_frontmatter",
    "invalid_command",
    "invalid_command_template",
    "invalid_command_name",
    "file_too_large",
  ],
  summary: "Import configuration, skills and commands: all of it or nothing.",
  handle: async (context) => {
    const { workspace, services, body } = context;
    if (body.redacted) {
      throw new ApiError(
        "invalid_payload",
        "body.redacted: this export was made for a viewer and lacks its secrets; importing it would destroy yours. Export it as a collaborator.",
        { path: "redacted" },
      );
    }
    const input = importInput(body);
    const merges =
      input.skills.length + input.commands.length + input.files.length === 0 && !replacesConfig(input);
    const json = await services.changes.run(context, {
      action: "config.import",
      summary: importSummary(input),
      paths: [
        absolutePath(workspace.path, await opencodeTarget(workspace.storage, input)),
        absolutePath(workspace.path, openworkPath),
      ],
      targets: ["workspace"],
      onConflict: merges ? "replan" : "refuse",
      plan: async (view) => ({
        changes: await (await import("../lib/portability/import.ts")).planImport(view, workspace, input),
        answer: () => ({ ok: true }),
      }),
    });
    return { json };
  },
});

function importInput(body: v.InferOutput<typeof importBody>): ImportInput {
  return {
    ...body,
    mode: body.mode ?? {},
    skills: body.skills ?? [],
    commands: body.commands ?? [],
    files: body.files ?? [],
  };
}

function replacesConfig(input: ImportInput): boolean {
  return input.mode.opencode === "replace" || input.mode.openwork === "replace";
}

function importSummary(input: ImportInput): string {
  const replaced = (["opencode", "openwork", "skills", "commands"] as const).filter(
    (part) => input.mode[part] === "replace",
  );
  const parts = [
    ...(input.opencode ? ["the opencode configuration"] : []),
    ...(input.openwork ? ["the OpenWork configuration"] : []),
    ...(input.skills.length > 0 ? [`${input.skills.length} skills`] : []),
    ...(input.commands.length > 0 ? [`${input.commands.length} commands`] : []),
    ...(input.files.length > 0 ? [`${input.files.length} more files`] : []),
  ];
  const what = parts.length === 0 ? "Import nothing" : `Import ${parts.join(", ")}`;
  return replaced.length === 0 ? what : `${what}, replacing ${replaced.join(", ")}`;
}

/** Export and import (wire contract, 10.9). */
export const routes: readonly Route[] = [exportRoute, importRoute];
