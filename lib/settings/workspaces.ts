import { workspaceId } from "../hash.ts";
import type { WorkspaceConfig } from "../host.ts";
import type { WorkspaceEntry } from "./file.ts";
import type { Paths } from "./paths.ts";
import { parseList, readText, readVerbatim, type Sources } from "./sources.ts";
import { settings } from "./table.ts";

/** What a workspace without its own engine settings gets. */
interface SharedEngine {
  baseUrl: string | undefined;
  directory: string | undefined;
  username: string | undefined;
  password: string | undefined;
}

/** What finding the workspaces needs to know of the machine and of the other settings. */
export interface WorkspaceInput {
  sources: Sources;
  paths: Paths;
  cwd: string;
  configDir: string;
  /** The directory that a path really is, links resolved; null when there is none. */
  realPath(path: string): string | null;
  /** Whether the current directory stands in for workspaces that nobody named. */
  serveCwd: boolean;
}

type Entry = Omit<WorkspaceEntry, "path"> & { path: string };

const filled = (value: string | null | undefined): string | undefined =>
  value === null || value === undefined || value.trim() === "" ? undefined : value;

/** Entries with absolute paths: flags replace the variable, the variable the file. Paths of the file are relative to its directory (I90). */
function entries({ sources, paths, cwd, configDir, serveCwd }: WorkspaceInput): Entry[] {
  const fromCwd = (path: string): Entry => ({ path: paths.resolve(cwd, path) });
  const flags = sources.flags.workspaces.filter((path) => path.trim() !== "");
  if (flags.length > 0) return flags.map(fromCwd);
  const variable = filled(sources.env["OPENWORK_WORKSPACES"]);
  if (variable !== undefined) {
    return parseList(variable, "OPENWORK_WORKSPACES", (text) => sources.warn(text)).map(fromCwd);
  }
  const listed = sources.file.workspaces;
  // An empty list says "none": it is also what stays behind when the last workspace is deleted.
  if (listed)
    return listed.map((entry) => Object.assign({}, entry, { path: paths.resolve(configDir, entry.path) }));
  return serveCwd && !paths.isRoot(cwd) ? [fromCwd(cwd)] : [];
}

/** Leaves one entry per real directory, the first (I95), and tells about the others. */
function distinct(list: readonly Entry[], { realPath, sources }: WorkspaceInput): Entry[] {
  const seen = new Map<string, string>();
  const kept: Entry[] = [];
  for (const entry of list) {
    const isLocal = entry.workspaceType !== "remote";
    const real = isLocal ? realPath(entry.path) : null;
    const earlier = seen.get(entry.path) ?? (real === null ? undefined : seen.get(real));
    if (earlier !== undefined) {
      sources.warn(`Workspace ${entry.path} is the same directory as ${earlier} and left out.`);
      continue;
    }
    seen.set(entry.path, entry.path);
    if (real !== null) seen.set(real, entry.path);
    kept.push(entry);
  }
  return kept;
}

function defined<T extends object>(parts: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const present = Object.entries(parts).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

function workspaceOf(entry: Entry, shared: SharedEngine, paths: Paths): WorkspaceConfig {
  const { path } = entry;
  const workspaceType = entry.workspaceType ?? "local";
  const baseUrl = filled(entry.baseUrl) ?? shared.baseUrl;
  const given = entry.directory ?? shared.directory;
  const directory = given !== undefined && workspaceType === "local" ? paths.expand(given) : given;
  return {
    id: workspaceId(path),
    name: filled(entry.name) ?? paths.basename(path),
    path,
    workspaceType,
    ...defined({ baseUrl, directory }),
    opencode: defined({
      baseUrl,
      directory: filled(directory)?.trim() ?? (workspaceType === "local" ? path : undefined),
      username: filled(entry.opencodeUsername) ?? shared.username,
      password: filled(entry.opencodePassword) ?? shared.password,
    }),
  };
}

/** The workspaces to serve, in order, each with its engine access after all fallbacks (wire contract, section 2). */
export function resolveWorkspaces(input: WorkspaceInput): WorkspaceConfig[] {
  const list = distinct(entries(input), input);
  const { sources, paths } = input;
  const shared: SharedEngine = {
    baseUrl: readText(sources, settings.engineUrl)?.value,
    directory: list.length === 1 ? readText(sources, settings.engineDirectory)?.value : undefined,
    // As they are, like those of a workspace: a blank is a character of a password.
    username: readVerbatim(sources, settings.engineUser),
    password: readVerbatim(sources, settings.enginePassword),
  };
  const workspaces = list.map((entry) => workspaceOf(entry, shared, paths));
  for (const { path, baseUrl } of workspaces) {
    // Not quoted: it may hold a password.
    if (baseUrl !== undefined && !isHttp(baseUrl))
      sources.warn(
        `The engine URL for ${path} is not an http or https address: its engine cannot be reached.`,
      );
  }
  return workspaces;
}

function isHttp(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}
