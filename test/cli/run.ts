import { spawn } from "node:child_process";
import { join } from "node:path";
import { buildOnce } from "../support/build.ts";

/** How a run of the command ended and what it printed. */
export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the built command to its end. Nothing of this process's environment but PATH is passed on. */
export async function run(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Run> {
  const command = join(await buildOnce(), "adapters/cli.js");
  const child = spawn(process.execPath, [command, ...args], {
    cwd: options.cwd ?? "/",
    env: { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => void (text.stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => void (text.stderr += chunk));
  const killer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(killer);
  return { code, ...text };
}
