import { WatchedBody } from "../changes/content.ts";
import type { StagedContents } from "../changes/diff.ts";
import { ApiError } from "../errors.ts";
import type { Context } from "../route.ts";
import type { Staged } from "../storage.ts";

/** An upload that waits beside its target. */
export interface Upload {
  staged: Staged;
  /** What a host is shown of it; nothing where no host is asked. */
  contents: StagedContents;
}

/**
 * Takes the bytes of an upload in beside their target. Ends with the client: nothing of a broken upload stays,
 * also when it asked for a deferred answer. Throws `file_too_large`,
 * `request_withdrawn`, `unauthorized` (its token was revoked meanwhile) and storage errors.
 */
export async function stageUpload(
  { request, workspace, services, caller }: Pick<Context, "request" | "workspace" | "services" | "caller">,
  path: string,
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
): Promise<Upload> {
  const { signal } = request;
  // Watching costs time and a copy: only for a host who will be asked.
  const watched = services.host.config.approval.mode === "manual" ? new WatchedBody(body) : null;
  let staged: Staged;
  try {
    staged = await workspace.storage.stage(path, watched?.stream ?? body, { maxBytes, signal });
  } catch (cause) {
    if (!signal.aborted) throw cause;
    throw new ApiError(
      "request_withdrawn",
      "The client went away during the upload; nothing was kept.",
      undefined,
      { cause },
    );
  }
  try {
    // An upload may take long enough for its token to be revoked.
    await services.authenticator.insistStillValid(caller);
  } catch (error) {
    await workspace.storage.discard(staged);
    throw error;
  }
  return { staged, contents: watched ? new Map([[staged.id, watched.content()]]) : new Map() };
}
