import { askEngine, parsedOrText } from "../engine.ts";
import { ApiError } from "../errors.ts";
import { isJsonObject } from "../json.ts";
import { isInside } from "../paths.ts";
import { directoriesOf } from "../proxy/directory.ts";
import type { Context } from "../route.ts";
import type { Workspace } from "../workspaces.ts";

const oneSession: RegExp = /^\/(?:api\/|experimental\/)?session\/(ses[^/]*)/i;
const sessionList: RegExp = /^\/(?:(?:api\/|experimental\/)?session|session\/[^/]+\/children)$/i;

const history: RegExp = /^\/sync\/history$/i;

/** For so long what an engine said is believed, milliseconds: it may be told to move a session past this server. */
const trustMs = 10_000;
const mostRemembered = 1000;

/** What an engine said about directories. The oldest is forgotten for the newest. */
class Memory {
  readonly #known = new Map<string, { directory: string; at: number }>();

  /** What is known still, or is found out now. What is not found is not remembered. */
  async get(key: string, find: () => Promise<string | null>): Promise<string | null> {
    const known = this.#known.get(key);
    if (known && performance.now() - known.at < trustMs) return known.directory;
    const directory = await find();
    this.#known.delete(key);
    if (directory === null) return null;
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < mostRemembered) break;
      this.#known.delete(oldest);
    }
    this.#known.set(key, { directory, at: performance.now() });
    return directory;
  }
}

/** For each workspace: the directories of its sessions, and its own in the engine's words. */
const memories = new WeakMap<Workspace, { sessions: Memory; own: Memory }>();

function memoryOf(workspace: Workspace): { sessions: Memory; own: Memory } {
  const known = memories.get(workspace) ?? { sessions: new Memory(), own: new Memory() };
  memories.set(workspace, known);
  return known;
}

/** Whether a call's answer is a list of sessions. */
export const listsSessions = (path: string): boolean => sessionList.test(path);

/** The session that a call is about, by its path. */
export const sessionIn = (path: string): string | null => oneSession.exec(path)?.[1] ?? null;

/**
 * Refuses a call about a session of a directory that is not served here (I06): it would be read, or work, there. An
 * engine has one store for all that its user ever had it work on, and finds a session by its id alone.
 */
export async function insistOnServedSession(context: Context, id: string): Promise<void> {
  if (!hasDirectory(context)) return;
  const { workspace } = context;
  const path = `/session/${encodeURIComponent(id)}`;
  const find = async (): Promise<string | null> => directoryOf(await answerOf(context, workspace, path));
  const directory = await memoryOf(workspace).sessions.get(id, find);
  // Without one the engine has no such session, and says so itself.
  if (directory === null || isServed(directory, servedDirectories(context))) return;
  if (isServed(directory, await realDirectories(context))) return;
  const message = "This session belongs to a directory that is none of the workspaces served here.";
  throw new ApiError("forbidden", message, { reason: "directory" });
}

/**
 * Refuses a call that answers with all that was ever said in any session of the engine (I06). It names sessions by
 * their ids alone, of any length and number: nothing that could be left out on the way.
 */
export function insistOnNoHistory(context: Context, path: string): void {
  if (!history.test(path) || !hasDirectory(context)) return;
  const message =
    "This call shows every session that the engine knows, also those of directories that are not served here; it needs the scope owner.";
  const { scope } = context.caller;
  throw new ApiError("forbidden", message, { reason: "directory", required: "owner", scope });
}

/** A list of sessions without those of directories that are not served here. */
export async function servedSessions(context: Context, list: unknown): Promise<unknown> {
  const sessions = isJsonObject(list) ? list["data"] : list;
  if (!hasDirectory(context) || !Array.isArray(sessions)) return list;
  const given = servedDirectories(context);
  const isGiven = (session: unknown): boolean => isOf(session, given);
  const real = sessions.every(isGiven) ? [] : await realDirectories(context);
  const ours = sessions.filter((session) => isGiven(session) || isOf(session, real));
  return isJsonObject(list) ? { ...list, data: ours } : ours;
}

/** Otherwise it is the engine's own affair. */
const hasDirectory = ({ workspace }: Context): boolean =>
  Boolean(workspace.config.opencode.directory?.trim());

const servedHere = ({ services }: Context): Workspace[] =>
  services.workspaces.list.filter((one) => services.workspaces.has(one));

const servedDirectories = (context: Context): string[] => directoriesOf(servedHere(context));

/**
 * The same in the engine's words: a session has the directory that its own really was, links resolved. Only the
 * engine can tell, which may see other files than this server does.
 */
async function realDirectories(context: Context): Promise<string[]> {
  const { baseUrl } = context.workspace.config.opencode;
  const sharing = servedHere(context).filter(({ config }) => config.opencode.baseUrl === baseUrl);
  const found = sharing.map((workspace) => {
    const find = async (): Promise<string | null> => directoryOf(await answerOf(context, workspace, "/path"));
    return memoryOf(workspace).own.get(workspace.config.opencode.directory ?? "", find);
  });
  return (await Promise.all(found)).filter((directory) => directory !== null);
}

async function answerOf({ services, signal }: Context, workspace: Workspace, path: string): Promise<unknown> {
  const request = { method: "GET", path, signal };
  const response = await askEngine(services.host.fetch, workspace.config.opencode, request);
  return parsedOrText(await response.text().catch(() => ""));
}

const isServed = (directory: string, roots: readonly string[]): boolean =>
  roots.some((root) => isInside(root, directory));

function isOf(session: unknown, roots: readonly string[]): boolean {
  const directory = directoryOf(session);
  return directory === null || isServed(directory, roots);
}

/** Where a session, or the engine, works. */
function directoryOf(answer: unknown): string | null {
  if (!isJsonObject(answer)) return null;
  const { directory, location } = answer;
  if (typeof directory === "string") return directory;
  return isJsonObject(location) && typeof location["directory"] === "string" ? location["directory"] : null;
}
