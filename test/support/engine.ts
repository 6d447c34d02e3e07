import { spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freshDirectory } from "./server.ts";

/** The engine's command. */
export const engineCommand: string = fileURLToPath(new URL("../node_modules/.bin/opencode", import.meta.url));
/** A cold start on a busy machine, milliseconds. */
const startLimitMs = 40_000;

/** How an engine is started. */
export interface EngineOptions {
  /** The workspace that it works in. */
  directory: string;
  /** Asked for by Basic authentication, with the user name `opencode`. */
  password?: string;
  env?: Readonly<Record<string, string>>;
}

/** The real OpenCode engine in a process of its own, offline and with a home of its own. */
export interface Engine {
  url: string;
  home: string;
  log(): string;
  /** What the engine answers about its workspace, as JSON. */
  get<T>(path: string): Promise<T>;
  /** Makes it read its files again at the next request. */
  dispose(): Promise<void>;
  stop(): Promise<void>;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** Starts the engine and waits until it answers. Rejects, with what it printed, when it does not. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  if (!existsSync(engineCommand)) throw new Error("The engine is not installed: run `npm run tools` first.");
  const directory = realpathSync(options.directory);
  const home = await freshDirectory("engine");
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(engineCommand, ["serve", "--hostname", "127.0.0.1", "--port", String(port)], {
    cwd: directory,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      XDG_CONFIG_HOME: join(home, ".config"),
      XDG_DATA_HOME: join(home, ".local/share"),
      XDG_STATE_HOME: join(home, ".local/state"),
      XDG_CACHE_HOME: join(home, ".cache"),
      OPENCODE_DISABLE_MODELS_FETCH: "1",
      OPENCODE_DISABLE_AUTOUPDATE: "1",
      // Plugins are listed and not loaded: before the first one the engine installs a package from the network.
      OPENCODE_PURE: "1",
      npm_config_registry: "http://127.0.0.1:9",
      ...(options.password === undefined ? {} : { OPENCODE_SERVER_PASSWORD: options.password }),
      ...options.env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  let ended = false;
  const exited = new Promise<void>((resolve) => {
    child.once("error", (error) => (output += String(error)));
    child.once("close", () => {
      ended = true;
      process.off("exit", kill);
      resolve();
    });
  });

  const query = `directory=${encodeURIComponent(directory)}`;
  const headers: Record<string, string> = {};
  if (options.password !== undefined)
    headers["authorization"] = `Basic ${btoa(`opencode:${options.password}`)}`;
  function ask(method: string, path: string, timeoutMs: number): Promise<Response> {
    const target = `${url}${path}${path.includes("?") ? "&" : "?"}${query}`;
    return fetch(target, { method, headers, signal: AbortSignal.timeout(timeoutMs) });
  }
  const engine: Engine = {
    url,
    home,
    log: () => output,
    async get<T>(path: string) {
      const response = await ask("GET", path, 30_000);
      if (!response.ok)
        throw new Error(`The engine answered ${response.status} to ${path}: ${await response.text()}`);
      return (await response.json()) as T;
    },
    async dispose() {
      const response = await ask("POST", "/instance/dispose", 30_000);
      await response.text();
    },
    async stop() {
      kill();
      await exited;
      await rm(home, { recursive: true, force: true, maxRetries: 3 });
    },
  };
  // A request in the first moments may never be answered: short patience, and again.
  for (const last = Date.now() + startLimitMs; ;) {
    const answer = await ask("GET", "/config", 1500).catch(() => null);
    await answer?.text();
    if (answer?.ok) return engine;
    if (ended || Date.now() > last) {
      await engine.stop();
      throw new Error(`The engine did not answer:\n${output}`);
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
  }
}
