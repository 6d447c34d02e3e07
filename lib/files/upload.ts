import { ApiError } from "../errors.ts";
import type { Context } from "../route.ts";
import type { Staged } from "../storage.ts";

/**
 * Takes the bytes of an upload in beside their target. Ends with the client: nothing of a broken upload stays,
 * also when it asked for a deferred answer. Throws `file_too_large`, `request_withdrawn` and storage errors.
 */
export async function stageUpload(
  { request, workspace }: Pick<Context, "request" | "workspace">,
  path: string,
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
): Promise<Staged> {
  const { signal } = request;
  try {
    return await workspace.storage.stage(path, body, { maxBytes, signal });
  } catch (cause) {
    if (!signal.aborted) throw cause;
    throw new ApiError(
      "request_withdrawn",
      "The client went away during the upload; nothing was kept.",
      undefined,
      { cause },
    );
  }
}
