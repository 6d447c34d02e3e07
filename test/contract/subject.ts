import { join } from "node:path";
import { workspaceId } from "../../lib/hash.ts";
import { buildOnce } from "../support/build.ts";
import { clientToken, hostToken, startServer } from "../support/server.ts";
import { startWorker } from "../support/worker.ts";

/** How a subject is started. */
export interface SubjectOptions {
  approval?: "auto" | "manual";
  env?: Record<string, string>;
  /** Default: a free one. */
  port?: number;
}

/** A running server of one runtime. */
export interface Subject {
  url: string;
  /** Id of its workspace. */
  id: string;
  /** Where its workspace is on this machine's disk; empty where it is not. */
  workspace: string;
  /** Sent with every request. */
  headers?: Record<string, string>;
  /** Everything printed so far; empty where nobody can read it. */
  log(): string;
  /** Sends a signal to its process, where it has one. */
  kill(signal: NodeJS.Signals): void;
  /** Ends it in order, with SIGTERM unless told otherwise; resolves when it is gone. */
  stop(signal?: NodeJS.Signals): Promise<{ code: number | null }>;
}

/** Where a runtime falls short, each with the sentence that says why. The suite knows these and no others. */
export interface Gaps {
  /** Refuses what is no HTTP request itself, without a body. */
  bareRefusals?: string;
  /** There is no process to start, to stop or to listen to. */
  noProcess?: string;
  /** Nothing tells the server that a client went away. */
  noDisconnect?: string;
  /** Passes a WebSocket's messages on, not its bytes: a lost side is told of by a close code. */
  webSocketRelay?: string;
  /** A WebSocket's caller cannot be made to wait. */
  noCallerPause?: string;
  /** A body that is still arriving when the server is told to stop is lost. */
  noLateBody?: string;
}

/** A runtime that the suite runs on. */
export interface Runtime {
  name: string;
  gaps: Gaps;
  start(options?: SubjectOptions): Promise<Subject>;
}

const modules = join(import.meta.dirname, "../node_modules");

/** The programs of the other runtimes, as their packages bring them: no install script has to run. */
export const programs: Readonly<Record<"node20" | "node22" | "node24" | "bun" | "deno", string>> = {
  node20: process.execPath,
  node22: join(modules, "node-22/bin/node"),
  node24: join(modules, "node-24/bin/node"),
  bun: join(modules, "@oven/bun-linux-x64/bin/bun"),
  deno: join(modules, "@deno/linux-x64-glibc/deno"),
};

/** A runtime that runs the built command in a process of its own. */
export function processRuntime(
  name: string,
  gaps: Gaps,
  command: (dist: string) => readonly string[],
): Runtime {
  return {
    name,
    gaps,
    async start({ approval = "auto", env = {}, port = 0 } = {}) {
      const server = await startServer({
        command: command(await buildOnce()),
        flags: ["--approval", approval, "--port", String(port)],
        env: { NO_COLOR: "1", ...env },
      });
      return {
        url: server.url,
        id: server.id,
        workspace: server.workspace,
        log: server.log,
        kill: (signal) => void process.kill(server.pid, signal),
        stop: async (signal) => ({ code: (await server.stop(signal)).code }),
      };
    },
  };
}

/** A Worker in workerd, of one Durable Object class. */
export function workerRuntime(
  name: string,
  /** `path` is where the server is below the origin. */
  { path = "", ...worker }: { entry: string; className: string; bindingName: string; path?: string },
): Runtime {
  return {
    name,
    gaps: {
      noProcess: "A Worker has no process, no log file and no port of its own.",
      noDisconnect: "In front of a Durable Object the platform keeps a request going when its client leaves.",
      bareRefusals: "The platform refuses what is no HTTP request itself.",
    },
    async start({ approval = "auto", env = {} } = {}) {
      const running = await startWorker({
        ...worker,
        bindings: {
          OPENWORK_TOKEN: clientToken,
          OPENWORK_HOST_TOKEN: hostToken,
          OPENWORK_APPROVAL_MODE: approval,
          OPENWORK_LOG_REQUESTS: "0",
          ...env,
        },
      });
      return {
        url: (await running.ready).origin + path,
        id: workspaceId("/workspace"),
        workspace: "",
        // Under load it was seen to reset a kept connection that the next request had just taken: each has its own.
        headers: { connection: "close" },
        log: () => "",
        kill() {},
        async stop() {
          await running.dispose();
          return { code: 0 };
        },
      };
    },
  };
}

/** workerd, with the Worker over the storage of a Durable Object. */
export const workerd: Runtime = workerRuntime("workerd", {
  entry: "adapters/cloudflare.ts",
  className: "OpenWorkServer",
  bindingName: "OPENWORK_SERVER",
});
