import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { ConfigError } from "../lib/config.ts";
import { cleanText } from "../lib/secrets.ts";
import type { Log, OwnEngine, ServerConfig, WorkspaceConfig } from "../lib/host.ts";

/** How to reach an engine that this server runs. Both may be others when it is started again. */
export interface EngineAccess {
  readonly baseUrl: string;
  readonly username: string;
  readonly password: string;
}

/** An engine that this server runs; it is started again whenever it ends. */
export interface EngineProcess extends OwnEngine {
  readonly access: EngineAccess;
  /** Starts it. It answers some seconds later; until then the proxy says that it cannot be reached. */
  start(log: Log): void;
  /** Ends it and all that it started; resolves when it is gone. */
  stop(): Promise<void>;
  /** Has it ended, without waiting for that: for when the process exits. */
  kill(): void;
}

/** Waits between two starts, milliseconds: doubled each time, from the first to the second. */
const backoffMs = [500, 30_000] as const;
/** Whatever ran this long had started well. */
const healthyMs = 60_000;
/** How much of what it printed before it ended is told: lines, and characters of each. */
const mostLines = 5;
const mostCharacters = 200;
/** When it is ended by force, milliseconds after it was asked: later than its watcher would have done that. */
const endWithinMs = 6000;

/**
 * The settings with the engine that this server runs, for every local workspace without an engine URL. Throws a
 * ConfigError when there is none such, for then nobody would use it.
 */
function withEngine(config: ServerConfig, access: EngineAccess): ServerConfig {
  const workspaces = config.workspaces.map((workspace) =>
    needsEngine(workspace) ? { ...workspace, opencode: reachedBy(workspace, access) } : workspace,
  );
  if (workspaces.some((workspace, index) => workspace !== config.workspaces[index])) {
    return Object.freeze({ ...config, workspaces });
  }
  throw new ConfigError(
    config.workspaces.length === 0
      ? "--engine starts an engine for a workspace, and there is none; add --workspace PATH."
      : "--engine has nothing to do: every workspace has an engine URL already; leave one of the two out.",
  );
}

/** Asks for the access each time, as it may change: a copy would be of the first start for ever. */
function reachedBy({ opencode }: WorkspaceConfig, access: EngineAccess): WorkspaceConfig["opencode"] {
  return {
    ...opencode,
    get baseUrl() {
      return access.baseUrl;
    },
    get username() {
      return access.username;
    },
    get password() {
      return access.password;
    },
  };
}

function needsEngine({ workspaceType, opencode }: WorkspaceConfig): boolean {
  return workspaceType === "local" && !opencode.baseUrl?.trim();
}

/** Finds the command and prepares an engine for the first workspace that needs one; null when the settings want none. */
export async function prepareEngineFor(
  config: ServerConfig,
): Promise<{ config: ServerConfig; engine: EngineProcess } | null> {
  if (!config.engine.start) return null;
  const workspace = config.workspaces.find(needsEngine) ?? config.workspaces[0];
  const cwd = workspace?.path ?? process.cwd();
  const command = findEngine(process.env["PATH"] ?? "", [process.cwd(), import.meta.dirname]);
  if (command === null) {
    throw new ConfigError(
      "--engine needs the command opencode on the PATH or in node_modules; install it: npm i -g opencode-ai.",
    );
  }
  const engine = await prepareEngine(command, cwd);
  return { config: withEngine(config, engine.access), engine };
}

/** The `opencode` command: the first on the PATH, else of the nearest `node_modules` above one of the directories. */
function findEngine(path: string, directories: readonly string[]): string | null {
  const names = process.platform === "win32" ? ["opencode.exe", "opencode.cmd"] : ["opencode"];
  const places = path.split(delimiter).filter(Boolean);
  for (const start of directories) {
    for (let dir = start; ; dir = dirname(dir)) {
      places.push(join(dir, "node_modules", ".bin"));
      if (dir === dirname(dir)) break;
    }
  }
  const candidates = places.flatMap((place) => names.map((name) => join(place, name)));
  return candidates.find((candidate) => existsSync(candidate)) ?? null;
}

/**
 * Becomes the command that follows it, beside a watcher that reads the other end of this process's pipe: it meets
 * its end when this process closes it or is gone, in whatever way. Then it asks the engine to end, and ends what
 * that started: commands of an agent run in groups of their own and outlive the engine. The engine itself must not
 * be the one in the background, for there a shell has programs ignore Ctrl-C. `$$` is the engine in both. Small Linux
 * images have no `ps`, and other systems no such `/proc`, where the name of a program stands in parentheses.
 */
const leash = `exec 3<&0 </dev/null
(
  trap '' TERM HUP
  read -r line <&3
  left=$(if [ -r /proc/self/stat ]
    then cat /proc/[0-9]*/stat | awk '{ pid = $1; sub(/^.*[)] /, ""); print $2, pid, $3 }'
    else ps -A -o ppid= -o pid= -o pgid=
    fi | awk -v engine=$$ '
    { parent[$2] = $1; group[$2] = $3 }
    END { for (pid in parent) if (group[pid] != engine)
      for (above = parent[pid]; above in parent; above = parent[above])
        if (above == engine) { print pid; break } }')
  kill -TERM $$ $left
  sleep 0.2
  kill -KILL $left
  tries=0
  while [ $tries -lt 50 ] && kill -0 $$; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL 0
) >/dev/null 2>&1 &
exec 3<&-
exec "$@"`;

/**
 * Chooses port and password of an engine for a directory; {@link EngineProcess.start} starts it. It outlives this
 * process only on Windows, and there only when this process is ended by force.
 */
async function prepareEngine(command: string, cwd: string): Promise<EngineProcess> {
  const access = new LocalAccess(await freePort());
  return new Supervised(access, () => {
    const args = ["serve", "--hostname", "127.0.0.1", "--port", String(access.port)];
    const env = engineEnvironment(process.env, access);
    return process.platform === "win32"
      ? spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] })
      : // A group of its own, so that what it starts ends with it.
        spawn("sh", ["-c", leash, "sh", command, ...args], { cwd, env, detached: true, stdio: "pipe" });
  });
}

/** A port of this machine and a password that nobody else knows. */
class LocalAccess implements EngineAccess {
  readonly username = "opencode";
  #port: number;
  #password = newPassword();

  constructor(port: number) {
    this.#port = port;
  }

  get port(): number {
    return this.#port;
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get password(): string {
    return this.#password;
  }

  /** Before another start: a program that took the port meanwhile keeps it, and may have been sent the password. */
  async renew(): Promise<void> {
    const port = await freePort(this.#port).catch(() => freePort());
    if (port === this.#port) return;
    this.#port = port;
    this.#password = newPassword();
  }
}

const newPassword = (): string => randomBytes(24).toString("base64url");

/** The engine runs whatever an agent wants run: the tokens of this server are not for it to see. */
function engineEnvironment(env: NodeJS.ProcessEnv, access: EngineAccess): NodeJS.ProcessEnv {
  const passed = Object.entries(env).filter(([name]) => !name.startsWith("OPENWORK_"));
  return {
    ...Object.fromEntries(passed),
    OPENCODE_SERVER_USERNAME: access.username,
    OPENCODE_SERVER_PASSWORD: access.password,
  };
}

/** A port that is free now: the wanted one, if there is one. */
function freePort(wanted = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(wanted, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

class Supervised implements EngineProcess {
  readonly access: LocalAccess;
  readonly #spawn: () => ChildProcess;
  #child: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #restart: NodeJS.Timeout | undefined;
  #waitMs: number = backoffMs[0];
  #stopping = false;
  #restarting: Promise<void> | null = null;
  #startedAt = 0;
  /** How it ended and when it is started again; null while it runs. */
  #end: { how: string; startsAt: number } | null = null;
  /** What it printed last. */
  #lines: string[] = [];
  #log: Log = () => {};

  constructor(access: LocalAccess, start: () => ChildProcess) {
    this.access = access;
    this.#spawn = start;
  }

  get baseUrl(): string {
    return this.access.baseUrl;
  }

  start(log: Log): void {
    this.#log = log;
    const startedAt = Date.now();
    this.#startedAt = startedAt;
    this.#end = null;
    this.#lines = [];
    const child = this.#spawn();
    this.#child = child;
    log("INFO", `Starting the engine (process ${child.pid ?? "none"}) at ${this.access.baseUrl}`);
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface(stream).on("line", (line) => this.#printed(line));
    }
    this.#ended = new Promise((resolve) => {
      const end = (why: string): void => {
        if (this.#child !== child) return;
        // What it started may have outlived it; when it was asked to end its watcher sees to that.
        const asked = this.#stopping || this.#restarting !== null;
        if (!asked) this.#signal("SIGKILL");
        this.#child = null;
        resolve();
        if (!asked) this.#startLater(log, why, Date.now() - startedAt);
      };
      child.once("error", (error) => end(error.message));
      child.once("exit", (code, signal) => end(`with ${signal ?? `status ${code}`}`));
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#untilEnded();
  }

  restart(): Promise<void> {
    this.#restarting ??= this.#untilEnded()
      .finally(() => {
        this.#restarting = null;
      })
      .then(() => this.#startAnew());
    return this.#restarting;
  }

  async #startAnew(): Promise<void> {
    // Without a port now: it ends at once, and is tried again later.
    await this.access.renew().catch(() => undefined);
    // Meanwhile it may have been stopped, or started.
    if (!this.#stopping && this.#child === null) this.start(this.#log);
  }

  trouble(): { message: string; printed: string } | null {
    const printed = this.#lines.join(" | ");
    if (this.#end) {
      const { how, startsAt } = this.#end;
      const seconds = Math.max(0, Math.ceil((startsAt - Date.now()) / 1000));
      const message = `The engine that this server runs ended (${how}); it is started again in ${seconds} s.`;
      return { message, printed };
    }
    const ranMs = Date.now() - this.#startedAt;
    if (ranMs >= healthyMs) return null;
    const seconds = Math.round(ranMs / 1000);
    const message = `The engine that this server runs was started ${seconds} s ago and does not answer yet.`;
    return { message, printed };
  }

  #printed(line: string): void {
    this.#log("INFO", `[opencode] ${line}`);
    // Without the escapes that colour it.
    // oxlint-disable-next-line no-control-regex
    const plain = cleanText(line.replace(/\u001b\[[\d;]*m/g, "").trim()).slice(0, mostCharacters);
    if (plain !== "") this.#lines = [...this.#lines, plain].slice(-mostLines);
  }

  async #untilEnded(): Promise<void> {
    clearTimeout(this.#restart);
    this.#askToEnd();
    const timer = setTimeout(() => this.#signal("SIGKILL"), endWithinMs);
    await this.#ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping = true;
    this.#askToEnd();
  }

  #askToEnd(): void {
    if (process.platform === "win32") this.#signal("SIGKILL");
    else this.#child?.stdin?.end();
  }

  #startLater(log: Log, why: string, ranMs: number): void {
    if (ranMs >= healthyMs) [this.#waitMs] = backoffMs;
    this.#end = { how: why, startsAt: Date.now() + this.#waitMs };
    log("WARN", `The engine ended (${why}); it is started again in ${this.#waitMs / 1000} s.`);
    this.#restart = setTimeout(() => void this.#startAnew(), this.#waitMs);
    this.#waitMs = Math.min(this.#waitMs * 2, backoffMs[1]);
  }

  #signal(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    try {
      if (process.platform === "win32") this.#child?.kill(signal);
      else process.kill(-pid, signal);
    } catch {
      // Gone already.
    }
  }
}
