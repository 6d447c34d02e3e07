import { describe, expect, it } from "vitest";
import { routes } from "../../handlers/index.ts";
import type { Route } from "../../lib/route.ts";
import { scopeReaches, type Scope } from "../../lib/scopes.ts";
import { configOf, hostToken, startMemoryServer, type Client } from "../support/memory-host.ts";

/** Every kind of caller there is; `scope` null means that the credential counts for nothing. */
const callers = [
  { name: "no token", scope: null, host: false },
  { name: "garbage", scope: null, host: false },
  { name: "revoked", scope: null, host: false },
  { name: "viewer", scope: "viewer", host: false },
  { name: "collaborator", scope: "collaborator", host: false },
  { name: "client token", scope: "collaborator", host: false },
  { name: "owner", scope: "owner", host: true },
  { name: "owner by Basic", scope: "owner", host: true },
  { name: "host token", scope: null, host: true },
] as const satisfies readonly { name: string; scope: Scope | null; host: boolean }[];

type CallerKind = (typeof callers)[number];

async function credentials(client: Client, kind: CallerKind): Promise<Record<string, string>> {
  const issue = async (scope: Scope): Promise<{ id: string; token: string }> =>
    (await client.post("/tokens", { scope }, { host: true, token: null })).json;
  switch (kind.name) {
    case "no token":
      return {};
    case "garbage":
      return {
        authorization: "Bearer owt_00000000000000000000000000000000",
        "x-openwork-host-token": "nope",
      };
    case "revoked": {
      const { id, token } = await issue("owner");
      expect((await client.delete(`/tokens/${id}`, { host: true, token: null })).status).toBe(200);
      return { authorization: `Bearer ${token}` };
    }
    case "client token":
      return { authorization: "Bearer client-token" };
    case "owner by Basic":
      return { authorization: `Basic ${btoa(`opencode:${(await issue("owner")).token}`)}` };
    case "host token":
      return { "x-openwork-host-token": hostToken };
    default:
      return { authorization: `Bearer ${(await issue(kind.scope)).token}` };
  }
}

/** What the table promises before the handler is reached: a status and code, or null when the caller gets through. */
function expected(
  route: Route,
  given: CallerKind,
  readOnly: boolean,
): { status: number; code: string } | null {
  const counts = given.name !== "owner by Basic" || route.basic;
  const kind = counts ? given : { ...given, scope: null, host: false };
  if (route.access === "client" && kind.scope === null) return { status: 401, code: "unauthorized" };
  if (route.access === "host" && !kind.host) return { status: 401, code: "unauthorized" };
  if (route.access !== "public" && route.writes && readOnly) return { status: 403, code: "read_only" };
  if (route.access === "client" && kind.scope !== null && !scopeReaches(kind.scope, route.scope)) {
    return { status: 403, code: "forbidden" };
  }
  return null;
}

/** A method that reaches the route: one for all methods may stand beside one for GET alone. */
function methodFor(route: Route): string {
  if (route.method !== "ALL") return route.method;
  return routes.some((other) => other.path === route.path && other.method === "GET") ? "POST" : "GET";
}

async function outcome(
  route: Route,
  kind: CallerKind,
  readOnly: boolean,
): Promise<{ status: number; code: string }> {
  const started = await startMemoryServer(configOf());
  const headers = await credentials(started.client, kind);
  // The same stores once more, read-only: tokens can be issued on a writable server only.
  const server = readOnly
    ? await startMemoryServer(configOf({ readOnly: true }), {
        tokenStore: started.host.tokenStore,
        settings: started.host.settings,
      })
    : started;
  const path = route.path.replace(":id", server.workspace).replace(/:\w+/g, "x").replace(/\*$/, "x");
  const method = methodFor(route);
  const sends = method !== "GET" && route.body !== undefined;
  const answer = await server.client.send(method, path, {
    token: null,
    headers,
    ...(sends ? { json: {} } : {}),
  });
  await server.handler.close();
  return { status: answer.status, code: answer.json?.code ?? "" };
}

describe("every route × every kind of caller × {writable, read-only}", () => {
  for (const route of routes) {
    for (const readOnly of [false, true]) {
      it(`${route.method} ${route.path} (${readOnly ? "read-only" : "writable"})`, async () => {
        for (const kind of callers) {
          const want = expected(route, kind, readOnly);
          const got = await outcome(route, kind, readOnly);
          if (want) expect({ caller: kind.name, ...got }).toEqual({ caller: kind.name, ...want });
          else {
            expect(["unauthorized", "read_only", "method_not_allowed", "internal_error"]).not.toContain(
              got.code,
            );
            expect({ caller: kind.name, status: got.status }).not.toEqual({ caller: kind.name, status: 500 });
          }
        }
      });
    }
  }

  it("has a table worth walking", () => {
    expect(routes.length).toBeGreaterThan(30);
    expect(routes.every((route) => route.summary.length > 10)).toBe(true);
    const writing = routes.filter((route) => route.writes && route.access === "client");
    expect(writing.every((route) => route.scope !== "viewer")).toBe(true);
  });
});
