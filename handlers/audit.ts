import * as v from "valibot";
import { serverLog } from "../lib/audit.ts";
import { route, type Route } from "../lib/route.ts";
import { cleanText } from "../lib/secrets.ts";
import { auditEntrySchema } from "./schemas.ts";

const limitQuery = v.object({ limit: v.optional(v.string()) });
const answer = v.object({ items: v.array(auditEntrySchema) });
const defaultLimit = 50;
const mostEntries = 200;

/** A positive number cut to an integer, at most 200; anything else means 50. */
function limitOf(text: string | undefined): number {
  const number = Number(text?.trim() || Number.NaN);
  return number >= 1 ? Math.min(Math.floor(number), mostEntries) : defaultLimit;
}

/** An entry without the credentials that its texts may name, such as those in the address of a plugin (I04). */
function withoutSecrets(entry: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const texts = Object.entries(entry).filter(
    (field): field is [string, string] => typeof field[1] === "string",
  );
  return { ...entry, ...Object.fromEntries(texts.map(([key, text]) => [key, cleanText(text)])) };
}

/** Audit logs (wire contract, section 8). */
export const routes: readonly Route[] = [
  route({
    method: "GET",
    path: "/workspace/:id/audit",
    access: "client",
    query: limitQuery,
    answer,
    summary: "What was done in a workspace and by whom, newest first.",
    handle: async ({ services, workspace, query, caller }) => {
      const items = await services.audit.read(workspace, limitOf(query.limit));
      return { json: { items: caller.scope === "viewer" ? items.map(withoutSecrets) : items } };
    },
  }),
  route({
    method: "GET",
    path: "/audit",
    access: "host",
    query: limitQuery,
    answer,
    summary: "What was done to the server itself (tokens), newest first.",
    handle: async ({ services, query }) => ({
      json: { items: await services.audit.read({ id: serverLog }, limitOf(query.limit)) },
    }),
  }),
];
