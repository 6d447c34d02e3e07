import * as v from "valibot";
import { download, downloadRoute } from "../lib/files/download.ts";
import { ApiError } from "../lib/errors.ts";
import { findInMailbox, listMailbox, notInMailbox, outbox } from "../lib/files/mailbox.ts";
import { insistOnOpenFile } from "../lib/protected-paths.ts";
import { route, type Route } from "../lib/route.ts";

const path = "/workspace/:id/artifacts";

const listArtifacts = route({
  method: "GET",
  path,
  access: "client",
  summary: "The files that the workspace offers, newest first.",
  answer: v.object({
    items: v.array(v.object({ id: v.string(), path: v.string(), size: v.number(), updatedAt: v.number() })),
  }),
  async handle({ services, workspace }) {
    const { enabled } = services.host.config.outbox;
    return { json: { items: enabled ? await listMailbox(workspace.storage, outbox) : [] } };
  },
});

const downloadArtifact = route({
  ...downloadRoute,
  method: "GET",
  path: `${path}/:artifactId`,
  access: "client",
  summary: "The bytes of a file that the workspace offers; conditions and one byte range are honoured.",
  errors: [
    "outbox_disabled",
    "invalid_artifact",
    "artifact_not_found",
    "precondition_failed",
    "range_not_satisfiable",
  ],
  async handle(context) {
    if (!context.services.host.config.outbox.enabled) {
      throw new ApiError(
        "outbox_disabled",
        "The outbox of this server is switched off (OPENWORK_OUTBOX_ENABLED).",
      );
    }
    const { storage } = context.workspace;
    const file = await findInMailbox(storage, outbox, context.params["artifactId"] ?? "");
    return download(context.request, storage, file, {
      missing: () => notInMailbox(outbox),
      check: (entry) => insistOnOpenFile(context, entry),
    });
  },
});

/** The endpoints of the outbox (wire contract, 10.11). */
export const routes: readonly Route[] = [listArtifacts, downloadArtifact];
