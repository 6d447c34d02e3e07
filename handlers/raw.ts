import * as v from "valibot";
import type { Plan } from "../lib/changes/plan.ts";
import { resolveClientPath } from "../lib/client-paths.ts";
import { download, downloadRoute, fileNotFound, preconditionFailed } from "../lib/files/download.ts";
import { ApiError } from "../lib/errors.ts";
import { checkWriteConditions, etagOf } from "../lib/http/conditions.ts";
import { insistOnPlainBody } from "../lib/http/content-encoding.ts";
import { mediaTypeOf } from "../lib/http/media-type.ts";
import { lookBeforeWrite } from "../lib/changes/overwrite.ts";
import { absolutePath } from "../lib/paths.ts";
import { insistOnOpenFile } from "../lib/protected-paths.ts";
import { requestBody } from "../lib/http/request-body.ts";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import type { Entry, ReadableStorage, Staged } from "../lib/storage.ts";
import { stageUpload, type Upload } from "../lib/files/upload.ts";

const path = "/workspace/:id/files/raw";
const query = v.object({ path: v.optional(v.string(), "") });

const readRaw = route({
  ...downloadRoute,
  method: "GET",
  path,
  access: "client",
  summary: "The bytes of any file; conditions and one byte range are honoured.",
  query,
  errors: ["invalid_path", "file_not_found", "precondition_failed", "range_not_satisfiable"],
  async handle(context) {
    const { storage } = context.workspace;
    const file = await resolveClientPath(storage, context.query.path);
    return download(context.request, storage, file, {
      missing: (entry) => fileNotFound(file, entry),
      check: (entry) => insistOnOpenFile(context, entry),
    });
  },
});

const statFile = route({
  method: "GET",
  path: "/workspace/:id/files/stat",
  access: "client",
  summary: "What a path is: file or dir, its size, time, revision and media type.",
  query,
  answer: v.object({
    path: v.string(),
    kind: v.picklist(["file", "dir", "other"]),
    size: v.number(),
    updatedAt: v.number(),
    revision: v.string(),
    mediaType: v.optional(v.string()),
  }),
  answerHeaders: ["ETag"],
  errors: ["invalid_path", "file_not_found"],
  async handle(context) {
    const { storage } = context.workspace;
    const file = await resolveClientPath(storage, context.query.path);
    const entry = await storage.stat(file);
    if (!entry) throw fileNotFound(file);
    const { kind, size, mtimeMs, revision } = entry;
    const mediaType = kind === "file" ? { mediaType: mediaTypeOf(file) } : {};
    return {
      ...(kind === "file" ? { headers: { etag: etagOf(entry) } } : {}),
      json: { path: file, kind, size, updatedAt: mtimeMs, revision, ...mediaType },
    };
  },
});

const writeRaw = route({
  accepts: ["application/octet-stream"],
  requestHeaders: ["If-Match", "If-None-Match", "If-Unmodified-Since"],
  answerHeaders: ["ETag"],
  success: [200, 201],
  method: "PUT",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary:
    "Writes any file from the bytes of the body, parents created; If-Match and If-None-Match: * protect what is there.",
  query,
  answer: v.object({
    ok: v.literal(true),
    path: v.string(),
    bytes: v.number(),
    updatedAt: v.number(),
    revision: v.string(),
  }),
  errors: [
    "invalid_path",
    "invalid_payload",
    "file_too_large",
    "unsupported_media_type",
    "precondition_failed",
    "conflict",
  ],
  async handle(context) {
    const { request, workspace, services } = context;
    const { storage } = workspace;
    insistOnPlainBody(request);
    refuseForm(request);
    if (request.headers.has("content-range")) {
      throw new ApiError(
        "invalid_payload",
        "A part of a file cannot be written: send the whole without Content-Range.",
      );
    }
    const file = await resolveClientPath(storage, context.query.path);
    // Asked before the bytes are taken in, and again when they are about to stay.
    await lookBeforeWrite(storage, file);
    insistOnConditions(request, file, await storage.stat(file));
    const { maxBytes } = services.host.config.inbox;
    const body = requestBody(request, maxBytes, (size) => tooLarge(maxBytes, size));
    const upload = await stageUpload(context, file, body, maxBytes);
    try {
      return await keep(context, file, upload);
    } catch (error) {
      await storage.discard(upload.staged);
      throw error;
    }
  },
});

function keep(context: Context, file: string, { staged, contents }: Upload): Promise<Reply> {
  const absolute = absolutePath(context.workspace.path, file);
  return context.services.changes.run(context, {
    action: "workspace.file.write",
    summary: `Write ${JSON.stringify(file)} (${staged.size} bytes)`,
    paths: [absolute],
    targets: [absolute],
    contents,
    onConflict: "refuse",
    async plan(view): Promise<Plan<Reply>> {
      await lookBeforeWrite(view, file);
      const before = await view.stat(file);
      insistOnConditions(context.request, file, before);
      return {
        changes: [{ op: "write", path: file, body: staged }],
        answer: ([entry]) => written(file, staged, before, entry ?? null),
      };
    },
  });
}

function written(file: string, staged: Staged, before: Entry | null, entry: Entry | null): Reply {
  return {
    status: before ? 200 : 201,
    ...(entry ? { headers: { etag: etagOf(entry) } } : {}),
    json: { ok: true, path: file, bytes: staged.size, updatedAt: entry?.mtimeMs, revision: entry?.revision },
  };
}

const removeRaw = route({
  method: "DELETE",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  summary:
    "Removes a file, or with recursive=true a directory and all below it; If-Match protects what is there.",
  query: v.object({ path: v.optional(v.string(), ""), recursive: v.optional(v.string()) }),
  answer: v.object({ ok: v.literal(true), path: v.string() }),
  requestHeaders: ["If-Match", "If-None-Match", "If-Unmodified-Since"],
  errors: ["invalid_path", "file_not_found", "precondition_failed", "conflict"],
  async handle(context) {
    const { workspace } = context;
    const recursive = context.query.recursive === "true" || context.query.recursive === "1";
    const file = await resolveClientPath(workspace.storage, context.query.path);
    const absolute = absolutePath(workspace.path, file);
    const answer = await context.services.changes.run(context, {
      action: "workspace.file.delete",
      summary: `Delete ${JSON.stringify(file)}`,
      paths: [absolute],
      targets: [absolute],
      onConflict: "refuse",
      async plan(view) {
        const { storage } = workspace;
        const looked = await storage.stat(file);
        if (!looked) throw fileNotFound(file);
        // A link is removed itself, so the revision of what it points to must not be insisted on.
        const link = await isLink(storage, file, looked);
        const entry = link ? looked : await view.stat(file);
        if (!entry) throw fileNotFound(file);
        insistOnConditions(context.request, file, entry);
        if (entry.kind === "dir" && !link && !recursive) {
          throw new ApiError(
            "invalid_path",
            `${file} is a directory; add recursive=true to remove it with all below it.`,
          );
        }
        return {
          changes: [{ op: "remove", path: file, recursive }],
          answer: () => ({ ok: true, path: file }),
        };
      },
    });
    return { json: answer };
  },
});

/** Whether the last name of a path is a link: lists leave those out. */
async function isLink(storage: ReadableStorage, file: string, entry: Entry): Promise<boolean> {
  if (entry.real === undefined) return false;
  const slash = file.lastIndexOf("/");
  const names = new Set([file.slice(slash + 1)]);
  const entries = await storage.list(file.slice(0, Math.max(0, slash)), { names });
  return !entries?.some((listed) => listed.path === file);
}

/** A form is taken for what it carries by whoever sends one; its own bytes are no file that anybody means to write. */
function refuseForm({ headers }: Request): void {
  if (!/^\s*multipart\/form-data\s*(?:;|$)/i.test(headers.get("content-type") ?? "")) return;
  throw new ApiError(
    "unsupported_media_type",
    "The body is a form (multipart/form-data), which would be stored with its boundaries: send the bytes of the file themselves, with curl -T FILE or --data-binary @FILE instead of -F.",
  );
}

function insistOnConditions(request: Request, file: string, entry: Entry | null): void {
  if (!checkWriteConditions(request.headers, entry)) throw preconditionFailed(file, entry);
}

function tooLarge(maxBytes: number, size: number): ApiError {
  return new ApiError(
    "file_too_large",
    `The body is larger than the ${maxBytes} bytes that this server takes.`,
    { maxBytes, size },
  );
}

/** Bytes of single files as they are, beside the base64 of file sessions. */
export const routes: readonly Route[] = [readRaw, writeRaw, removeRaw, statFile];
