import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { buildOnce } from "../support/build.ts";
import { freshDirectory } from "../support/server.ts";

const repo = join(import.meta.dirname, "../..");

/** Where the examples of the README lie. */
export const examples: string = join(repo, "examples");

/** Packages that the tests have a stand-in for: too large to be installed for what little is used. */
const standIns = new Map([["next", join(import.meta.dirname, "programs/next")]]);

/** The text of an example whose workspace has an engine. */
function withEngine(text: string, engine: string): string {
  const workspace = (path: string): string => `workspaces: [{ path: "${path}", baseUrl: "${engine}" }]`;
  return text
    .replace('workspaces: [{ path: "." }]', workspace("."))
    .replace('hostToken: "a-host-token" }', `hostToken: "a-host-token", ${workspace("/workspace")} }`);
}

/**
 * An empty folder with an example, this package and the named packages installed. The example is as it is, but for the
 * address of an `engine` in its settings.
 */
export async function exampleFolder(
  example: string,
  packages: readonly string[],
  engine?: string,
): Promise<string> {
  await buildOnce();
  const dir = await freshDirectory("example");
  mkdirSync(join(dir, "node_modules"));
  symlinkSync(repo, join(dir, "node_modules/openwork-server"));
  for (const name of packages) {
    const link = join(dir, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(standIns.get(name) ?? join(repo, "test/node_modules", name), link);
  }
  writeFileSync(join(dir, "package.json"), '{ "type": "module" }\n');
  const text = readFileSync(join(examples, example), "utf8");
  writeFileSync(join(dir, example), engine === undefined ? text : withEngine(text, engine));
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
  command: (port: number) => readonly string[],
  dir: string,
): Promise<{ url: string; stop(): void }> {
  const port = await freePort();
  const [program = "", ...args] = command(port);
  const child: ChildProcess = spawn(program, args, {
    cwd: dir,
    env: { PATH: process.env["PATH"] ?? "", HOME: dir, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk) => (output += String(chunk)));
  const kill = (): void => {
    process.off("exit", kill);
    child.kill("SIGKILL");
  };
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
