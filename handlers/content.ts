import * as v from "valibot";
import { lookBeforeWrite } from "../lib/changes/overwrite.ts";
import { resolveClientPath } from "../lib/client-paths.ts";
import { ApiError } from "../lib/errors.ts";
import { fileNotFound } from "../lib/files/download.ts";
import { absolutePath } from "../lib/paths.ts";
import { insistOnOpenFile } from "../lib/protected-paths.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import type { Entry } from "../lib/storage.ts";
import { pathSchema } from "./file-batches.ts";

const path = "/workspace/:id/files/content";

/** Most bytes of a text that is read or written here. */
const maxBytes = 5_000_000;

/** A text of that size in which JSON writes every character as an escape, and what goes with it. */
const bodyLimit = maxBytes * 6 + 64 * 1024;

/** A text; null for anything else, because what is wrong with the path is told first (contract, 10.12). */
const contentSchema: v.GenericSchema<string, string | null> = v.fallback(
  v.pipe(
    v.string(),
    v.transform((text): string | null => text),
  ),
  null,
);

const readContent = route({
  method: "GET",
  path,
  access: "client",
  summary: "The text of a markdown file.",
  query: v.object({ path: v.optional(v.string(), "") }),
  answer: v.object({
    path: v.string(),
    content: v.string(),
    bytes: v.number(),
    updatedAt: v.number(),
    revision: v.string(),
  }),
  errors: ["invalid_path", "file_not_found", "file_too_large", "not_text"],
  async handle(context) {
    const { storage } = context.workspace;
    const file = await resolveMarkdown(context, context.query.path);
    const before = await storage.stat(file);
    if (before?.kind !== "file") throw fileNotFound(file, before);
    insistOnOpenFile(context, before);
    const found = await storage.readFile(file, { maxBytes });
    if (!found) throw fileNotFound(file);
    const { entry, bytes } = found;
    insistOnOpenFile(context, entry);
    const content = decode(file, bytes);
    return {
      json: { path: file, content, bytes: entry.size, updatedAt: entry.mtimeMs, revision: entry.revision },
    };
  },
});

const writeContent = route({
  method: "POST",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary:
    "Writes a markdown file; baseUpdatedAt or ifMatchRevision (null: must not exist) protect what is there.",
  bodyLimit,
  body: v.object({
    path: pathSchema,
    content: contentSchema,
    baseUpdatedAt: v.nullish(v.number()),
    ifMatchRevision: v.optional(v.nullable(v.string())),
    force: v.nullish(v.boolean()),
  }),
  answer: v.object({
    ok: v.literal(true),
    path: v.string(),
    bytes: v.number(),
    updatedAt: v.number(),
    revision: v.string(),
  }),
  errors: ["invalid_path", "file_too_large", "conflict"],
  async handle(context) {
    const { content } = context.body;
    const file = await resolveMarkdown(context, context.body.path);
    if (content === null)
      throw new ApiError("invalid_payload", "body.content: a text is expected.", { path: "content" });
    if (!content.isWellFormed()) {
      throw new ApiError(
        "invalid_payload",
        "content holds half of a surrogate pair, which no file can keep.",
        { path: "content" },
      );
    }
    const body = new TextEncoder().encode(content);
    if (body.length > maxBytes) {
      throw new ApiError(
        "file_too_large",
        `The text has ${body.length} bytes; at most ${maxBytes} are taken.`,
        {
          maxBytes,
          size: body.length,
        },
      );
    }
    return { json: await write(context, file, body, context.body) };
  },
});

/** What a writer says of the file it means to replace. */
interface Base {
  baseUpdatedAt?: number | null | undefined;
  ifMatchRevision?: string | null | undefined;
  force?: boolean | null | undefined;
}

function write(
  context: Context,
  file: string,
  body: Uint8Array,
  base: Base,
): Promise<Record<string, unknown>> {
  const absolute = absolutePath(context.workspace.path, file);
  return context.services.changes.run(context, {
    action: "workspace.file.write",
    summary: `Write ${JSON.stringify(file)} (${body.length} bytes)`,
    paths: [absolute],
    targets: [absolute],
    onConflict: "refuse",
    async plan(view) {
      const current = await lookBeforeWrite(view, file);
      if (base.force !== true) insistOnBase(file, current, base);
      return {
        changes: [{ op: "write", path: file, body }],
        answer: ([entry]) => ({
          ok: true,
          path: file,
          bytes: body.length,
          updatedAt: entry?.mtimeMs,
          revision: entry?.revision,
        }),
      };
    },
  });
}

/** A base that is not what is there now is a conflict, also when the file vanished (I47). */
function insistOnBase(file: string, current: Entry | null, { baseUpdatedAt, ifMatchRevision }: Base): void {
  const currentUpdatedAt = current?.mtimeMs ?? null;
  const currentRevision = current?.revision ?? null;
  if (typeof baseUpdatedAt === "number" && baseUpdatedAt !== currentUpdatedAt) {
    throw new ApiError("conflict", `${file} changed since it was read; nothing was overwritten.`, {
      path: file,
      baseUpdatedAt,
      currentUpdatedAt,
      currentRevision,
    });
  }
  if (ifMatchRevision === undefined || ifMatchRevision === currentRevision) return;
  const why = ifMatchRevision === null ? "exists already" : "is at another revision";
  throw new ApiError("conflict", `${file} ${why}; nothing was overwritten.`, {
    path: file,
    expectedRevision: ifMatchRevision,
    currentRevision,
  });
}

async function resolveMarkdown({ workspace }: Context, input: string): Promise<string> {
  const file = await resolveClientPath(workspace.storage, input);
  if (/\.(?:md|mdx|markdown)$/i.test(file)) return file;
  throw new ApiError(
    "invalid_path",
    "Only .md, .mdx and .markdown files are read and written here; others go through files/raw.",
  );
}

function decode(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ApiError(
      "not_text",
      `${file} is not UTF-8 text; files/raw gives its bytes as they are.`,
      { path: file },
      { cause },
    );
  }
}

/** The endpoints of single markdown files (wire contract, 10.12). */
export const routes: readonly Route[] = [readContent, writeContent];
