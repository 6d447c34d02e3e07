import { isJsonObject } from "../json.ts";
import { misshapen, opencodeObject, type OpencodeFile } from "./config.ts";
import { absolutePath } from "../paths.ts";
import { compareCodePoints, StorageError, type ReadableStorage } from "../storage.ts";

/** A plugin as listed (wire contract, 10.5). */
export interface PluginItem {
  spec: string;
  source: "config" | "dir.project" | "dir.global";
  scope: "project" | "global";
  path?: string;
}

/** The order in which the engine loads plugins, as every answer tells it. */
export const loadOrder: readonly string[] = ["config.global", "config.project", "dir.global", "dir.project"];

/** Where a workspace keeps plugin files, and where below `~/.config/opencode` the user does. */
const pluginDirs = { project: ".opencode/plugins", global: "plugins" } as const;

/** Specs that name a place, not a package: nothing in them is a version. */
const placeSpec: RegExp = /^(?:file:|https?:|git:|\/|[a-z][a-z0-9+.-]{0,30}:\/\/)/i;

/** The name by which specs are compared: without the version of a package. */
export function pluginName(spec: string): string {
  const name = spec.trim();
  if (placeSpec.test(name)) return name;
  const version = name.indexOf("@", 1);
  return version < 0 ? name : name.slice(0, version);
}

/** The specs of the opencode file, in order; what is no text is skipped. */
export function configuredSpecs(config: unknown): string[] {
  const plugin = isJsonObject(config) ? config["plugin"] : undefined;
  if (typeof plugin === "string") return [plugin];
  return Array.isArray(plugin) ? plugin.filter((spec) => typeof spec === "string") : [];
}

/** The file as it should be with one more plugin; a plugin of that name changes nothing. */
export function withPlugin(file: OpencodeFile, spec: string): Record<string, unknown> {
  const config = opencodeObject(file);
  const plugin = config["plugin"] ?? [];
  if (typeof plugin !== "string" && !Array.isArray(plugin))
    throw misshapen(file, ["plugin"], "a list of plugins or one plugin");
  const name = pluginName(spec);
  if (configuredSpecs(config).some((present) => pluginName(present) === name)) return config;
  return { ...config, plugin: [plugin, spec].flat() };
}

/** The file as it should be without the plugins of that name; a name that is not there changes nothing. */
export function withoutPlugin(file: OpencodeFile, spec: string): Record<string, unknown> {
  const config = opencodeObject(file);
  const name = pluginName(spec);
  const goes = (present: unknown): boolean => typeof present === "string" && pluginName(present) === name;
  const plugin = config["plugin"];
  if (!configuredSpecs(config).some(goes)) return config;
  return { ...config, plugin: [plugin].flat().filter((present) => !goes(present)) };
}

/** A file, or a link out of the root, where the directory would be holds no plugins. */
function nothingThere(error: unknown): null {
  if (error instanceof StorageError && (error.code === "not_a_directory" || error.code === "outside"))
    return null;
  throw error;
}

/** The plugin files directly in a directory, sorted by name (I54). `shownPath` makes of their storage path the `path` of the answer. */
export async function pluginFiles(
  storage: Pick<ReadableStorage, "list">,
  location: string,
  scope: "project" | "global",
): Promise<PluginItem[]> {
  const dir = pluginDirs[scope];
  const entries = (await storage.list(dir).catch(nothingThere)) ?? [];
  return entries
    .filter((entry) => entry.kind === "file" && /\.[jt]s$/.test(entry.path))
    .toSorted((a, b) => compareCodePoints(a.path, b.path))
    .map((entry) => {
      const absolute = absolutePath(location, entry.path);
      const path = scope === "project" ? entry.path : absolute;
      return { spec: `file://${absolute}`, source: `dir.${scope}`, scope, path };
    });
}
