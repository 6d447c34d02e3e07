import { askEngine, parsedOrText } from "../engine.ts";
import { ApiError } from "../errors.ts";
import { isJsonObject } from "../json.ts";
import { isInside } from "../paths.ts";
import { directoriesOf } from "../proxy/directory.ts";
import type { Context } from "../route.ts";

const oneSession: RegExp = /^\/(?:api\/|experimental\/)?session\/(ses[^/]*)/i;
const sessionList: RegExp = /^\/(?:(?:api\/|experimental\/)?session|session\/[^/]+\/children)$/i;

/** Whether a call's answer is a list of sessions. */
export const listsSessions = (path: string): boolean => sessionList.test(path);

/**
 * Refuses a call about a session of a directory that is not served here (I06). An engine has one store for all that
 * its user ever had it work on, and finds a session by its id alone.
 */
export async function insistOnServedSession(context: Context, path: string): Promise<void> {
  const id = oneSession.exec(path)?.[1];
  const roots = servedDirectories(context);
  if (id === undefined || roots === null) return;
  const { services, workspace, signal } = context;
  const request = { method: "GET", path: `/session/${encodeURIComponent(id)}`, signal };
  const response = await askEngine(services.host.fetch, workspace.config.opencode, request);
  const directory = directoryOf(parsedOrText(await response.text().catch(() => "")));
  // Without one the engine has no such session, and says so itself.
  if (directory === null || isServed(directory, roots)) return;
  const message = "This session belongs to a directory that is none of the workspaces served here.";
  throw new ApiError("forbidden", message, { reason: "directory" });
}

/** A list of sessions without those of directories that are not served here. */
export function servedSessions(context: Context, list: unknown): unknown {
  const roots = servedDirectories(context);
  if (roots === null) return list;
  const isOurs = (session: unknown): boolean => {
    const directory = directoryOf(session);
    return directory === null || isServed(directory, roots);
  };
  if (Array.isArray(list)) return list.filter(isOurs);
  return isJsonObject(list) && Array.isArray(list["data"])
    ? { ...list, data: list["data"].filter(isOurs) }
    : list;
}

/** Null where it is the engine's own affair: the workspace names no directory. */
function servedDirectories({ services, workspace }: Context): string[] | null {
  if (!workspace.config.opencode.directory?.trim()) return null;
  return directoriesOf(services.workspaces.list.filter((one) => services.workspaces.has(one)));
}

const isServed = (directory: string, roots: readonly string[]): boolean =>
  roots.some((root) => isInside(root, directory));

function directoryOf(session: unknown): string | null {
  if (!isJsonObject(session)) return null;
  const { directory, location } = session;
  if (typeof directory === "string") return directory;
  return isJsonObject(location) && typeof location["directory"] === "string" ? location["directory"] : null;
}
