import { ApiError } from "./errors.ts";
import { matchesGlob } from "./glob.ts";
import type { Context } from "./route.ts";
import { scopeReaches, type Scope } from "./scopes.ts";
import type { Entry } from "./storage.ts";

/**
 * Whether the contents of a path are closed to viewers (I05): a pattern matches one of its names, in any case,
 * for a file system may not tell cases apart. A protected directory closes what is below it.
 */
function isProtectedPath(patterns: readonly string[], path: string): boolean {
  if (patterns.length === 0) return false;
  const names = path.toLowerCase().split("/");
  return patterns.some((pattern) => names.some((name) => matchesGlob(pattern.toLowerCase(), name)));
}

/** Whether a caller of this scope may not see the contents of a path. */
export function isClosedTo(scope: Scope, patterns: readonly string[], path: string): boolean {
  return !scopeReaches(scope, "collaborator") && isProtectedPath(patterns, path);
}

/** Refuses the contents of a protected path to a viewer: `forbidden` with the reason `protected`. */
export function insistOnOpenPath(context: Pick<Context, "caller" | "services">, path: string): void {
  const { caller, services } = context;
  if (!isClosedTo(caller.scope, services.host.config.protectedPaths, path)) return;
  throw new ApiError("forbidden", "This file is protected: its name is one that viewers may not read.", {
    reason: "protected",
    required: "collaborator",
    scope: caller.scope,
  });
}

/** The same for a file that was looked at: neither its name nor the one a link leads to may be protected. */
export function insistOnOpenFile(
  context: Pick<Context, "caller" | "services">,
  entry: Pick<Entry, "path" | "real">,
): void {
  insistOnOpenPath(context, entry.path);
  if (entry.real !== undefined) insistOnOpenPath(context, entry.real);
}
