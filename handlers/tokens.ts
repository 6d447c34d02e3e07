import * as v from "valibot";
import { ApiError } from "../lib/errors.ts";
import { serverLog } from "../lib/audit.ts";
import { meant } from "../lib/json.ts";
import { route, type Route } from "../lib/route.ts";
import { isScope, scopes } from "../lib/scopes.ts";
import { longestLabel, type IssuedToken } from "../lib/tokens.ts";

const itemSchema = v.object({
  id: v.string(),
  scope: v.picklist(scopes),
  createdAt: v.number(),
  label: v.optional(v.string()),
});

/** Issued tokens (wire contract, 10.2); made and revoked by the host. */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/tokens",
    access: "host",
    answer: v.object({ items: v.array(itemSchema) }),
    summary: "Issued tokens, newest first, never their values.",
    handle: async ({ services }) => ({ json: { items: (await services.tokens.list()).map(item) } }),
  }),
  route({
    method: "POST",
    path: "/tokens",
    access: "host",
    writes: true,
    body: v.object(
      { scope: meant({ type: "string", enum: [...scopes] }), label: meant({ type: "string" }) },
      "an object {scope, label?} is expected",
    ),
    answer: v.object({ ...itemSchema.entries, token: v.string() }),
    success: [201],
    errors: ["invalid_scope", "insufficient_storage"],
    summary: "Issues a token of a scope; its value is shown here and never again.",
    handle: async ({ services, body, caller }) => {
      const scope = typeof body.scope === "string" ? body.scope.trim() : body.scope;
      if (!isScope(scope)) throw new ApiError("invalid_scope", `scope must be one of ${scopes.join(", ")}.`);
      const label = typeof body.label === "string" ? body.label.trim() || undefined : undefined;
      if (label !== undefined && label.length > longestLabel) {
        throw new ApiError("invalid_payload", `label must have at most ${longestLabel} characters.`, {
          path: "label",
        });
      }
      const { token, issued } = await services.tokens.create(scope, label);
      const summary = `Issued a ${scope} token${label ? ` "${label}"` : ""}`;
      const record = { actor: caller.actor, action: "tokens.create", target: issued.id, summary };
      try {
        await services.audit.record(serverLog, [record]);
      } catch (error) {
        // A token that nobody was given must not stay behind.
        await services.tokens.revoke(issued.id);
        throw error;
      }
      return { status: 201, json: { ...item(issued), token } };
    },
  }),
  route({
    method: "DELETE",
    path: "/tokens/:tokenId",
    access: "host",
    writes: true,
    answer: v.object({ ok: v.literal(true) }),
    errors: ["token_not_found"],
    summary: "Revokes a token at once; what it has waiting for approval is withdrawn.",
    handle: async ({ services, params, caller }) => {
      const revoked = await services.tokens.revoke(params["tokenId"] ?? "");
      if (!revoked)
        throw new ApiError("token_not_found", "There is no token of this id; GET /tokens lists them.");
      services.approvals.withdrawToken(revoked.hash);
      const summary = `Revoked a ${revoked.scope} token${revoked.label ? ` "${revoked.label}"` : ""}`;
      await services.audit.record(serverLog, [
        { actor: caller.actor, action: "tokens.revoke", target: revoked.id, summary },
      ]);
      return { json: { ok: true } };
    },
  }),
];

function item({ id, scope, createdAt, label }: IssuedToken): Omit<IssuedToken, "hash"> {
  return label === undefined ? { id, scope, createdAt } : { id, scope, createdAt, label };
}
