import * as v from "valibot";
import { route, type Route } from "../lib/route.ts";
import type { Services } from "../lib/services.ts";

/** Stands for the address of the server, which depends on the caller, in the text that is kept. */
const anyServer = "https://server.invalid";

/** The description of this API; `table` gives every route, this one included. */
export function openapiRoutes(table: () => readonly Route[]): readonly Route[] {
  // Anybody may ask, and making the schemas takes long: once for each server.
  const texts = new WeakMap<Services, Promise<string>>();
  const describe = async ({ host }: Services): Promise<string> => {
    // Loaded here because few servers are ever asked.
    const { describeApi } = await import("../lib/openapi/document.ts");
    return JSON.stringify(describeApi({ routes: table(), version: host.version, serverUrl: anyServer }));
  };
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
      handle: async ({ services, publicAddress }) => {
        const kept = texts.get(services) ?? describe(services);
        texts.set(services, kept);
        const serverUrl = JSON.stringify(publicAddress.origin + publicAddress.base).slice(1, -1);
        return { jsonText: (await kept).replaceAll(anyServer, () => serverUrl) };
      },
    }),
  ];
}
