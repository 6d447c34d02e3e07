import { randomUUID } from "node:crypto";
import { homedir } from "node:os";
import { parseFlags, resolveConfig, settingsPath } from "../../lib/config.ts";
import type { ServerConfig } from "../../lib/host.ts";
import type { SettingsFile } from "../../lib/settings/file.ts";
import { pathsFor } from "../../lib/settings/paths.ts";
import { realDirectory } from "../node/machine.ts";

/**
 * The settings of a server inside another program: given as server.json would give them (relative paths are taken
 * from the current directory), the rest by their defaults. The environment is not read. Throws ConfigError.
 */
export function configure(settings: SettingsFile = {}): ServerConfig {
  const place = { flags: parseFlags([]), env: {}, cwd: process.cwd(), home: homedir() };
  const paths = pathsFor(place.cwd, place.home);
  const workspaces = settings.workspaces?.map((entry) => ({
    ...entry,
    path: paths.resolve(place.cwd, entry.path),
  }));
  const { config } = resolveConfig({
    ...place,
    configPath: settingsPath(place).path,
    file: workspaces ? { ...settings, workspaces } : settings,
    realPath: realDirectory,
    randomToken: randomUUID,
  });
  return config;
}
