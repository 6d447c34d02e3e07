import * as v from "valibot";
import { route, type Route } from "../lib/route.ts";

/** The description of this API; `table` gives every route, this one included. */
export function openapiRoutes(table: () => readonly Route[]): readonly Route[] {
  return [
    route({
      method: "GET",
      path: "/openapi.json",
      access: "public",
      answer: v.looseObject({
        openapi: v.literal("3.1.1"),
        info: v.looseObject({}),
        paths: v.looseObject({}),
      }),
      summary: "This description, in OpenAPI 3.1.",
      handle: async ({ services, outside }) => {
        // Loaded here because few servers are ever asked.
        const { describeApi } = await import("../lib/openapi/document.ts");
        const serverUrl = outside.origin + outside.base;
        return { json: describeApi({ routes: table(), version: services.host.version, serverUrl }) };
      },
    }),
  ];
}
