import type { Host, Log } from "../lib/host.ts";
import { createPortableHost, portableConfig, type PortableSettings } from "./portable-host.ts";
import { createMemoryStorage } from "./storage/memory.ts";

export type { PortableSettings } from "./portable-host.ts";

/** A host in memory. */
export interface MemoryHostOptions extends PortableSettings {
  /** First content of the first workspace: text or bytes by path. */
  files?: Readonly<Record<string, string | Uint8Array>>;
  /** Where log records go. Default: nowhere. */
  log?: Log;
}

/**
 * A host that keeps everything in memory, for embedding, demos and tests; runs on every runtime. Tokens that are
 * not set are random: `host.config.clientToken` and `host.config.hostToken` tell them. Throws ConfigError.
 */
export function createMemoryHost(options: MemoryHostOptions = {}): Host {
  const { config, warnings } = portableConfig(options);
  const log = options.log ?? (() => {});
  for (const warning of warnings) log("WARN", warning);
  const first = `workspace-${config.workspaces[0]?.id ?? ""}`;
  return createPortableHost(
    config,
    (name) => createMemoryStorage({ name, ...(name === first && options.files && { files: options.files }) }),
    log,
  );
}
