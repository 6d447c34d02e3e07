import { parseFlags, parseSettings, resolveConfig } from "../../lib/config.ts";
import type { ServerConfig } from "../../lib/host.ts";

/** What a test gives; everything else is a Linux machine with home /home/u, started in /work. */
export interface Given {
  argv?: readonly string[];
  env?: Record<string, string | undefined>;
  /** An object as it would be after parsing, or the text of server.json. */
  file?: unknown;
  cwd?: string;
  home?: string;
  configPath?: string;
  realPath?: (path: string) => string | null;
}

let made = 0;

/** Resolves settings with tokens configured unless the test says otherwise, so that nothing is served unnamed. */
export function resolve(given: Given = {}): { config: ServerConfig; warnings: string[] } {
  const { argv = [], env = {}, file = null, cwd = "/work", home = "/home/u" } = given;
  return resolveConfig({
    flags: parseFlags(argv),
    env: { OPENWORK_TOKEN: "ct", OPENWORK_HOST_TOKEN: "ht", ...env },
    file: typeof file === "string" ? parseSettings(file) : file,
    cwd,
    home,
    configPath: given.configPath ?? "/home/u/.config/openwork/server.json",
    ...(given.realPath && { realPath: given.realPath }),
    randomToken: () => `random-${(made += 1)}`,
  });
}

/** The settings alone. */
export function config(given: Given = {}): ServerConfig {
  return resolve(given).config;
}

/** The warnings alone, as one text. */
export function warnings(given: Given = {}): string {
  return resolve(given).warnings.join("\n");
}
