import { execFile, spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { eventually } from "../files/support.ts";
import { clientToken, type TestServer } from "./server.ts";

const run = promisify(execFile);
const script = join(import.meta.dirname, "../../examples/mirror.mjs");
/** How long two sides may take to become the same, milliseconds. */
export const settleMs = 60_000;

/** The example in a process of its own, and what it printed. */
export class Mirror {
  readonly #child: ChildProcess;
  readonly exited: Promise<number | null>;
  text = "";

  constructor(server: TestServer, target: string, ...flags: string[]) {
    this.#child = spawn(process.execPath, [script, server.url, clientToken, server.id, target, ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => void (this.text += text));
    this.exited = new Promise((resolve) => {
      this.#child.once("close", resolve);
    });
  }

  kill(signal?: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** What was reported of one kind. */
  lines(what: string): string[] {
    return this.text.split("\n").filter((line) => line.startsWith(what));
  }
}

/** What `diff -r` says of two trees. */
export async function differences(a: string, b: string): Promise<string> {
  const options = { maxBuffer: 50_000_000 };
  return run("diff", ["-rq", a, b], options).then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout,
  );
}

export async function expectSame(a: string, b: string): Promise<void> {
  await eventually(async () => expect(await differences(a, b)).toBe(""), settleMs);
}
