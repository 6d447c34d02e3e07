import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { buildOnce } from "../support/build.ts";

/** How a child process ended, and what it printed. */
export interface End {
  killed: boolean;
  out: string;
}

/** Runs a script of this directory in a process of its own, on the built storages; rejects when it fails by itself. */
export async function runChild(script: string, job: object): Promise<End> {
  const dist = await buildOnce();
  const path = fileURLToPath(new URL(script, import.meta.url));
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, [path, JSON.stringify({ dist, ...job })]);
    let out = "";
    let complaints = "";
    running.stdout.on("data", (chunk) => (out += String(chunk)));
    running.stderr.on("data", (chunk) => (complaints += String(chunk)));
    running.on("error", reject);
    running.on("close", (code, signal) => {
      const killed = signal === "SIGKILL";
      if (!killed && code !== 0) reject(new Error(complaints));
      else resolve({ killed, out });
    });
  });
}
