import * as v from "valibot";
import { ApiError } from "../lib/errors.ts";
import {
  findInMailbox,
  inbox,
  listMailbox,
  notInMailbox,
  resolveInMailbox,
  type MailboxItem,
} from "../lib/files/mailbox.ts";
import { download, downloadRoute } from "../lib/files/download.ts";
import { insistOnPlainBody } from "../lib/http/content-encoding.ts";
import { readForm } from "../lib/http/multipart.ts";
import { lookBeforeWrite } from "../lib/changes/overwrite.ts";
import { absolutePath } from "../lib/paths.ts";
import { insistOnOpenFile } from "../lib/protected-paths.ts";
import { requestBody } from "../lib/http/request-body.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import type { Storage } from "../lib/storage.ts";
import { stageUpload, type Upload } from "../lib/files/upload.ts";

const path = "/workspace/:id/inbox";

/** What a form may take beside its file. */
const formOverhead = 1024 * 1024;

const listInbox = route({
  method: "GET",
  path,
  access: "client",
  summary: "The files in the inbox, newest first.",
  answer: v.object({
    items: v.array(
      v.object({
        id: v.string(),
        path: v.string(),
        size: v.number(),
        updatedAt: v.number(),
        name: v.string(),
      }),
    ),
  }),
  async handle({ services, workspace }) {
    if (!services.host.config.inbox.enabled) return { json: { items: [] } };
    const items = await listMailbox(workspace.storage, inbox);
    return { json: { items: items.map(named) } };
  },
});

const downloadInboxItem = route({
  ...downloadRoute,
  method: "GET",
  path: `${path}/:inboxId`,
  access: "client",
  summary: "The bytes of a file in the inbox; conditions and one byte range are honoured.",
  errors: [
    "inbox_disabled",
    "invalid_inbox_item",
    "inbox_item_not_found",
    "precondition_failed",
    "range_not_satisfiable",
  ],
  async handle(context) {
    insistOnInbox(context);
    const { storage } = context.workspace;
    const file = await findInMailbox(storage, inbox, context.params["inboxId"] ?? "");
    return download(context.request, storage, file, {
      missing: () => notInMailbox(inbox),
      check: (entry) => insistOnOpenFile(context, entry),
    });
  },
});

const uploadToInbox = route({
  accepts: ["multipart/form-data"],
  method: "POST",
  path,
  access: "client",
  scope: "collaborator",
  writes: true,
  guard: insistOnInbox,
  summary:
    "Puts the file of a form into the inbox: at the query's path, else the field path, else its own name.",
  query: v.object({ path: v.optional(v.string()) }),
  answer: v.object({ ok: v.literal(true), path: v.string(), bytes: v.number() }),
  errors: [
    "inbox_disabled",
    "invalid_payload",
    "file_required",
    "invalid_path",
    "file_too_large",
    "unsupported_media_type",
    "conflict",
  ],
  async handle(context) {
    const { storage } = context.workspace;
    const { wanted, upload } = await receive(context, context.query.path ?? "");
    try {
      const destination = await resolveDestination(storage, wanted);
      return { json: await keep(context, destination, upload) };
    } catch (error) {
      await storage.discard(upload.staged);
      throw error;
    }
  },
});

function named({ id, path, size, updatedAt }: MailboxItem): MailboxItem & { name: string } {
  return { id, path, size, updatedAt, name: path.slice(path.lastIndexOf("/") + 1) };
}

function insistOnInbox({ services }: Pick<Context, "services">): void {
  if (services.host.config.inbox.enabled) return;
  throw new ApiError("inbox_disabled", "The inbox of this server is switched off (OPENWORK_INBOX_ENABLED).");
}

interface Received {
  /** The path as the client names it. */
  wanted: string;
  upload: Upload;
}

/** Reads the form to its end, the first file into a staged body: the field that names its place may follow it. */
async function receive(context: Context, fromQuery: string): Promise<Received> {
  const { storage } = context.workspace;
  const { maxBytes } = context.services.host.config.inbox;
  let wanted = fromQuery.trim();
  let filename = "";
  let upload: Upload | null = null;
  insistOnPlainBody(context.request);
  const contentType = contentTypeOf(context.request);
  try {
    for await (const part of readForm(formBody(context, maxBytes), contentType)) {
      if (part.kind === "field") {
        if (part.name === "path" && wanted === "") wanted = part.value.trim();
      } else if (part.name === "file" && part.filename.trim() !== "" && upload === null) {
        ({ filename } = part);
        const place = await stagingPlace(storage, wanted, filename);
        upload = await stageUpload(context, place, part.body, maxBytes);
      }
    }
    if (!upload) throw new ApiError("file_required", 'The form needs a part "file" with a filename.');
    return { wanted: wanted === "" ? filename : wanted, upload };
  } catch (error) {
    if (upload) await storage.discard(upload.staged);
    throw error;
  }
}

function contentTypeOf(request: Request): string {
  const type = request.headers.get("content-type") ?? "";
  if (/multipart\/form-data/i.test(type)) return type;
  throw new ApiError(
    "invalid_payload",
    'The body must be multipart/form-data with the file as its part "file".',
  );
}

/** The body, refused as soon as it is certain to be too large whatever the form holds beside its file. */
function formBody({ request }: Context, maxBytes: number): ReadableStream<Uint8Array> {
  return requestBody(request, maxBytes + formOverhead, (size) => {
    const message = `The file is larger than the ${maxBytes} bytes that the inbox takes.`;
    return new ApiError("file_too_large", message, { maxBytes, size });
  });
}

/**
 * Where bytes wait whose place is not certain yet: beside the file that the names known so far point to, and
 * beside none when they point nowhere, for the field `path` may still come and be right.
 */
async function stagingPlace(storage: Storage, wanted: string, filename: string): Promise<string> {
  if (wanted !== "") return resolveDestination(storage, wanted);
  try {
    const guess = await resolveDestination(storage, filename);
    const entry = await storage.stat(guess);
    if (!entry || entry.kind === "file") return guess;
  } catch {
    // The name is refused later, unless a path makes it irrelevant.
  }
  return `${inbox.base}/upload-${crypto.randomUUID()}`;
}

/** The path in the workspace of an upload; control characters in names are refused (I43). */
async function resolveDestination(storage: Storage, wanted: string): Promise<string> {
  if (/\p{Cc}/u.test(wanted)) {
    throw new ApiError("invalid_path", "The name of the file holds control characters.");
  }
  const destination = `${inbox.base}/${await resolveInMailbox(storage, inbox, wanted)}`;
  await lookBeforeWrite(storage, destination);
  return destination;
}

function keep(
  context: Context,
  destination: string,
  { staged, contents }: Upload,
): Promise<{ ok: true; path: string; bytes: number }> {
  const absolute = absolutePath(context.workspace.path, destination);
  const shown = destination.slice(inbox.base.length + 1);
  return context.services.changes.run(context, {
    action: "workspace.inbox.upload",
    summary: `Upload ${JSON.stringify(shown)} (${staged.size} bytes) to the inbox`,
    paths: [absolute],
    targets: [absolute],
    contents,
    onConflict: "refuse",
    async plan(view) {
      await lookBeforeWrite(view, destination);
      return {
        changes: [{ op: "write", path: destination, body: staged }],
        answer: () => ({ ok: true, path: shown, bytes: staged.size }),
      };
    },
  });
}

/** The endpoints of the inbox (wire contract, 10.10). */
export const routes: readonly Route[] = [listInbox, downloadInboxItem, uploadToInbox];
