import { randomUUID } from "node:crypto";
import { homedir } from "node:os";
import {
  helpText,
  isVerbose,
  mistypedKeyWarnings,
  parseFlags,
  parseSettings,
  resolveConfig,
  settingsPath,
  unknownFlagWarnings,
} from "../lib/config.ts";
import type { ServerConfig } from "../lib/host.ts";
import { startLines, verboseLines } from "../lib/start-lines.ts";
import { version } from "../lib/version.ts";
import type { EngineProcess } from "./engine-process.ts";
import type { RunningServer } from "./local/server.ts";
import {
  canWriteTo,
  ignoresHangUp,
  leaveTerminal,
  readSettingsFile,
  realDirectory,
  workspaceProblem,
} from "./node/machine.ts";
import { startServer } from "./runtime.ts";

/** What a command line, an environment and a settings file come to. */
interface Settings {
  config: ServerConfig;
  verbose: boolean;
}

function complain(text: string): void {
  process.stderr.write(`openwork-server: ${text}\n`);
}

/** Directories that the server runs with, but not as it should. */
function directoryWarnings({ workspaces, readOnly, dataDir }: ServerConfig): string[] {
  // Else the first write that is made tells, when it cannot be recorded.
  const unwritable = canWriteTo(dataDir)
    ? []
    : [`The data directory ${dataDir} cannot be written: no write would be in the audit log.`];
  // A workspace that is not what it should be would look as if it were empty.
  const bad = workspaces
    .filter(({ workspaceType }) => workspaceType === "local")
    .map(({ path }) => [path, workspaceProblem(path, readOnly)] as const)
    .filter(([, problem]) => problem !== null)
    .map(([path, problem]) => `Workspace ${path} ${problem}.`);
  return [...unwritable, ...bad];
}

/** Reads flags, environment and settings file; null when the command line only asked for a text. */
async function readSettings(argv: readonly string[]): Promise<Settings | null> {
  const flags = parseFlags(argv);
  const asks = (name: string): boolean => flags.values[name] !== undefined;
  if (asks("version")) process.stdout.write(`${version}\n`);
  else if (asks("help")) process.stdout.write(helpText());
  if (asks("version") || asks("help")) return null;

  const place = { flags, env: process.env, cwd: process.cwd(), home: homedir() };
  const { path, named } = settingsPath(place);
  const text = readSettingsFile(path);
  const file = text === null ? null : parseSettings(text, path);
  const { config, warnings } = resolveConfig({
    ...place,
    configPath: path,
    file,
    realPath: realDirectory,
    randomToken: randomUUID,
  });
  const unknown = await unknownFlagWarnings(flags.unknown);
  const missing =
    text === null && named ? [`The settings file ${path} does not exist; defaults are used.`] : [];
  const mistyped = await mistypedKeyWarnings(file, path);
  for (const warning of [...unknown, ...missing, ...mistyped, ...warnings]) complain(warning);
  return { config, verbose: isVerbose(flags) };
}

/** The first signal lets running requests finish (I99), a second one from a person does not wait. */
function stopOnSignal(server: RunningServer, engine: EngineProcess | undefined): void {
  // Before the first listener: Deno takes them all over with it.
  const staysUp = ignoresHangUp();
  let stopping = false;
  async function stop(): Promise<void> {
    if (stopping) process.exit(130);
    stopping = true;
    try {
      await server.close();
      await engine?.stop();
      process.exit(0);
    } catch (error) {
      complain(error instanceof Error ? (error.stack ?? error.message) : String(error));
      process.exit(1);
    }
  }
  process.on("SIGTERM", () => void stop());
  process.on("SIGINT", () => void stop());
  // A terminal that closes tells it, and then its shell does once more: that is nobody's wish to hurry.
  process.on("SIGHUP", () => {
    if (staysUp) return;
    // After everything else that happens then, which may still write to it.
    process.on("exit", leaveTerminal);
    if (!stopping) void stop();
  });
}

/**
 * What nobody caught is logged with its stack. A rejection belongs to one request and leaves the others alone;
 * after an exception the process is in no known state, so it ends, and what is on disk is whole at any moment.
 */
function reportCrashes(server: RunningServer): void {
  const report = (error: unknown): void =>
    server.log("ERROR", "An unexpected error", {
      "exception.stacktrace": error instanceof Error ? error.stack : String(error),
    });
  process.on("unhandledRejection", report);
  process.on("uncaughtException", (error) => {
    report(error);
    const code: unknown = Reflect.get(error, "code");
    // A peer that went away at a bad moment is no damage.
    if (code === "ECONNRESET" || code === "EPIPE") return;
    server.flushLog();
    process.exit(1);
  });
}

async function serve({ config, verbose }: Settings): Promise<void> {
  const prepared = config.engine.start
    ? await (await import("./engine-process.ts")).prepareEngineFor(config)
    : null;
  const engine = prepared?.engine;
  const server = await startServer({
    config: prepared?.config ?? config,
    ...(engine && { ownEngine: engine }),
  });
  stopOnSignal(server, engine);
  reportCrashes(server);
  // Only now: where one keeps the server from starting, that is all there is to say.
  for (const warning of directoryWarnings(config)) complain(warning);
  // Whoever reads the log may go away before the server does, and a terminal takes both with it.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  process.on("exit", server.flushLog);
  const lines = [...startLines(config, server), ...(verbose ? verboseLines(config) : [])];
  for (const line of lines) server.log("INFO", line);
  server.flushLog();
  // Only now: whoever fails to take the address starts no engine.
  process.on("exit", () => engine?.kill());
  engine?.start(server.log);
}

/** Runs the command. Exit status 1, with a sentence on standard error, when the server cannot be started. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    const settings = await readSettings(argv);
    if (settings) await serve(settings);
  } catch (error) {
    const expected = ["ConfigError", "ListenError", "ApiError", "StorageError"];
    const isExpected = error instanceof Error && expected.includes(error.name);
    complain(
      isExpected ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
    process.exit(1);
  }
}
