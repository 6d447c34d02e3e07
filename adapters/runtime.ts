import type { RunningServer, StartOptions } from "./local/server.ts";

/** Starts with the native server of the runtime that this process is; loads nothing of the others. */
export async function startServer(options: StartOptions): Promise<RunningServer> {
  const { startServer: start } =
    "Bun" in globalThis
      ? await import("./bun.ts")
      : "Deno" in globalThis
        ? await import("./deno.ts")
        : await import("./node.ts");
  return start(options);
}
