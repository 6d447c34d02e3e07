import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { createLocalHost } from "../../adapters/local/host.ts";
import { candidatesOf, ripgrepTurns } from "../../adapters/ripgrep.ts";
import { eventually } from "../files/support.ts";
import { configOf, workspaceAt } from "../support/memory-host.ts";

it("ends quietly when the search is given up in the middle of a line", async () => {
  const dir = await mkdtemp(join(tmpdir(), "ripgrep-"));
  try {
    const command = join(dir, "rg");
    const whole = '{"type":"match","data":{"path":{"text":"./a"}}}';
    await writeFile(
      command,
      `#!/bin/sh\nprintf '%s\\n%s' '${whole}' '${whole.slice(0, 30)}'\nexec sleep 30\n`,
    );
    await chmod(command, 0o755);
    const given = new AbortController();
    const found: string[] = [];
    const query = { text: "x", caseSensitive: true, ignored: false };
    for await (const path of candidatesOf(command, dir, query, given.signal, ripgrepTurns())) {
      found.push(path);
      setTimeout(() => given.abort(), 100);
    }
    expect(found).toEqual(["a"]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

it("runs four times at once; further searches wait, and do not when they are given up", async () => {
  const dir = await mkdtemp(join(tmpdir(), "ripgrep-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const script = "#!/bin/sh\necho $$ >> started\nuntil [ -e go ]; do sleep 0.02; done\n";
  await writeFile(join(dir, "rg"), script, { mode: 0o755 });
  vi.stubEnv("PATH", `${dir}${delimiter}${process.env["PATH"] ?? ""}`);
  onTestFinished(() => void vi.unstubAllEnvs());
  const workspace = workspaceAt(dir);
  const host = createLocalHost(configOf({ workspaces: [workspace], dataDir: dir }), globalThis, {
    log: () => undefined,
  });
  const givenUp = new AbortController();
  async function search(signal: AbortSignal): Promise<number> {
    let count = 0;
    const query = { text: "x", caseSensitive: true, ignored: true };
    for await (const _ of host.grep?.(workspace, query, signal) ?? []) count += 1;
    return count;
  }
  const started = async (): Promise<number> =>
    (await readFile(join(dir, "started"), "utf8")).trim().split("\n").length;
  const others = Array.from({ length: 9 }, () => search(new AbortController().signal));
  const last = search(givenUp.signal);
  await eventually(async () => expect(await started()).toBeGreaterThanOrEqual(4));
  // Time for more of them, if there were any.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await started()).toBe(4);
  givenUp.abort();
  expect(await last).toBe(0);
  await writeFile(join(dir, "go"), "");
  expect(await Promise.all(others)).toEqual(others.map(() => 0));
  expect(await started()).toBe(9);
});
