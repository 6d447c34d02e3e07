import { type ChildProcess, spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { workspaceId } from "../../lib/hash.ts";
import { buildOnce } from "./build.ts";

/** The tokens that every started server is given. */
export const clientToken = "client-token-of-the-tests";
export const hostToken = "host-token-of-the-tests";

/** How long a server may take to listen, milliseconds: the machine may be busy. */
const startLimitMs = 20_000;

/** How a test server is started; what is absent is made fresh and removed by `stop`. */
export interface ServerOptions {
  /** The served directory. `null`: none is passed. */
  workspace?: string | null;
  /** The HOME of the process. */
  home?: string;
  /** Added to `--approval auto`; of a repeated flag the last one wins. */
  flags?: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** The program and what comes before the flags. Default: this Node and the built command. */
  command?: readonly string[];
}

/** Credentials and body of a request. */
export interface RequestOptions {
  /** Bearer token; the client token unless told otherwise, `null` for none. */
  token?: string | null;
  /** Sends the host token's header. */
  host?: boolean;
  json?: unknown;
  headers?: Readonly<Record<string, string>>;
}

/** A JSON object of which a test knows what it looks for. */
export type Json = Record<string, unknown>;

/** A whole answer. */
export interface Answer<T = Json> {
  status: number;
  headers: Headers;
  text: string;
  /** The parsed body, in the shape that the test says it has; `{}` when it is not JSON. */
  json: T;
}

/** A server in a process of its own. */
export interface TestServer {
  url: string;
  home: string;
  /** Real path of the served directory; empty when there is none. */
  workspace: string;
  /** Id of the served directory. */
  id: string;
  pid: number;
  /** Everything printed so far, both streams. */
  log(): string;
  /** One request; the path may begin with `~`, which stands for `/workspace/<id>`. */
  request<T = Json>(method: string, path: string, options?: RequestOptions): Promise<Answer<T>>;
  /** Ends the process (SIGTERM unless told otherwise), waits for it, and removes what `startServer` made. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  /** Settles when the process has ended, for whatever reason. */
  exited: Promise<Exit>;
}

/** How a process ended. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A fresh directory, as the real path that programs report. */
export async function freshDirectory(prefix: string): Promise<string> {
  return realpathSync(await mkdtemp(join(tmpdir(), `openwork-${prefix}-`)));
}

/** Starts the built command on a free port and waits until it listens. Rejects, with what it printed, when it ends instead. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const command = join(await buildOnce(), "adapters/cli.js");
  const made: string[] = [];
  async function fresh(prefix: string): Promise<string> {
    const dir = await freshDirectory(prefix);
    made.push(dir);
    return dir;
  }
  const home = options.home ?? (await fresh("home"));
  const given = options.workspace === undefined ? await fresh("workspace") : options.workspace;
  if (given !== null) await mkdir(given, { recursive: true });
  const workspace = given === null ? "" : realpathSync(given);
  const flags = [...(workspace ? ["--workspace", workspace] : []), "--approval", "auto", "--port", "0"];
  const [program = process.execPath, ...before] = options.command ?? [process.execPath, command];
  const child = spawn(program, [...before, ...flags, ...(options.flags ?? [])], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      OPENWORK_TOKEN: clientToken,
      OPENWORK_HOST_TOKEN: hostToken,
      ...options.env,
    },
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { output, exited } = observe(child);
  const url = await listening(child, output, exited);
  const id = workspace ? workspaceId(workspace) : "";
  return {
    url,
    home,
    workspace,
    id,
    pid: child.pid ?? 0,
    log: () => output.text,
    exited,
    request: (method, path, request = {}) =>
      send(method, url + path.replace(/^~/, `/workspace/${id}`), request),
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      const exit = await exited;
      for (const dir of made) await rm(dir, { recursive: true, force: true, maxRetries: 3 });
      return exit;
    },
  };
}

function observe(child: ChildProcess): { output: { text: string }; exited: Promise<Exit> } {
  const output = { text: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => void (output.text += text));
  }
  // A test run that is broken off must not leave servers behind.
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      process.off("exit", kill);
      resolve({ code, signal });
    });
  });
  return { output, exited };
}

function listening(child: ChildProcess, output: { text: string }, exited: Promise<Exit>): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`The server did not listen within ${startLimitMs} ms:\n${output.text}`));
    }, startLimitMs);
    child.stdout?.on("data", () => {
      const url = /listening on (http:\/\/\S+?)["\s]/.exec(output.text)?.[1];
      if (url === undefined) return;
      clearTimeout(timer);
      resolve(url);
    });
    void exited.then(({ code, signal }) => {
      clearTimeout(timer);
      reject(new Error(`The server ended (${code ?? signal}) before it listened:\n${output.text}`));
    }, reject);
  });
}

async function send<T>(method: string, url: string, options: RequestOptions): Promise<Answer<T>> {
  const token = options.token === undefined ? clientToken : options.token;
  const response = await fetch(url, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(options.host ? { "x-openwork-host-token": hostToken } : {}),
      ...(options.json === undefined ? {} : { "content-type": "application/json" }),
      ...options.headers,
    },
    ...(options.json === undefined ? {} : { body: JSON.stringify(options.json) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: parse(text) as T };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
