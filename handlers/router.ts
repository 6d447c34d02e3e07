import { Router } from "itty-router";
import type { Target } from "../lib/paths.ts";
import type { Route } from "../lib/route.ts";

/** The routes of one path, by method, and the raw path parameters. */
export interface Match {
  methods: ReadonlyMap<string, Route>;
  params: Readonly<Record<string, string>>;
}

type Methods = Map<string, Route>;

/**
 * Finds the routes of a path. Patterns are compiled by itty-router; they are grouped by the segments that
 * tell areas apart, because trying some hundred expressions in a row would cost more than a small request.
 * Matching is exact: case-sensitive, no trailing and no doubled slash (wire contract, section 4).
 */
export class RouteTable {
  readonly #exact = new Map<string, Match>();
  readonly #groups = new Map<string, ReturnType<typeof Router>>();

  constructor(routes: readonly Route[]) {
    const byPath = new Map<string, Methods>();
    for (const route of routes) {
      const methods = byPath.get(route.path) ?? new Map<string, Route>();
      if (methods.has(route.method)) throw new Error(`two routes for ${route.method} ${route.path}`);
      byPath.set(route.path, methods.set(route.method, route));
    }
    for (const [path, methods] of byPath) this.#add(path, methods);
  }

  /** The routes of a path as sent (dot segments resolved, not decoded), or null. */
  find(target: Pick<Target, "path" | "segments">): Match | null {
    const { path } = target;
    const exact = this.#exact.get(path);
    if (exact) return exact;
    const group = this.#groups.get(groupOf(target.segments));
    if (!group) return null;
    for (const [, pattern, [methods], template] of group.routes) {
      const found = pattern.exec(path);
      if (!found || (path.endsWith("/") && !template?.endsWith("*"))) continue;
      // The table registers nothing but maps of methods as handlers.
      return { methods: methods as unknown as Methods, params: found.groups ?? {} };
    }
    return null;
  }

  #add(path: string, methods: Methods): void {
    if (!path.includes(":") && !path.includes("*")) {
      this.#exact.set(path, { methods, params: {} });
      return;
    }
    const key = groupOf(path.slice(1).split("/"));
    const group = this.#groups.get(key) ?? Router();
    this.#groups.set(key, group);
    group.all(path, methods as never);
  }
}

/** The first segment, and below workspaces the third as well. */
function groupOf(segments: readonly string[]): string {
  return segments[0] === "workspace" ? `workspace ${segments[2] ?? ""}` : (segments[0] ?? "");
}
