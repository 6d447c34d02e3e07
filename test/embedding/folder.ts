import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { buildOnce } from "../support/build.ts";
import { freshDirectory } from "../support/server.ts";

const repo = join(import.meta.dirname, "../..");

/** Where the examples of the README lie. */
export const examples: string = join(repo, "examples");

/** An empty folder with an example, this package and the named packages installed. */
export async function exampleFolder(example: string, packages: readonly string[]): Promise<string> {
  await buildOnce();
  const dir = await freshDirectory("example");
  mkdirSync(join(dir, "node_modules"));
  symlinkSync(repo, join(dir, "node_modules/openwork-server"));
  for (const name of packages) {
    symlinkSync(join(repo, "test/node_modules", name), join(dir, "node_modules", name));
  }
  writeFileSync(join(dir, "package.json"), '{ "type": "module" }\n');
  cpSync(join(examples, example), join(dir, example));
  return dir;
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Runs a program in a folder until `stop`; waits until it answers on the port. */
export async function runExample(
  command: readonly string[],
  dir: string,
): Promise<{ url: string; stop(): void }> {
  const port = await freePort();
  const [program = "", ...args] = command;
  const child: ChildProcess = spawn(program, args, {
    cwd: dir,
    env: { PATH: process.env["PATH"] ?? "", HOME: dir, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk) => (output += String(chunk)));
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const url = `http://localhost:${port}`;
  for (const last = Date.now() + 20_000; ;) {
    const answer = await fetch(url).catch(() => null);
    if (answer) {
      await answer.text();
      return { url, stop: kill };
    }
    if (child.exitCode !== null || Date.now() > last) {
      kill();
      throw new Error(`The example did not answer:\n${output}`);
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
}
