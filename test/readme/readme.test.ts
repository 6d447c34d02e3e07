import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { settingsMarkdown } from "../../lib/config.ts";

const repository = resolve(import.meta.dirname, "../..");
const readme = await readFile(join(repository, "README.md"), "utf8");

/** The shell blocks that follow a `<!-- tour: … -->` mark, joined. */
function tour(who: string): string {
  const blocks = [
    ...readme.matchAll(new RegExp(`<!-- tour: ${who} -->\\s*\`\`\`sh\\n([\\s\\S]*?)\`\`\``, "g")),
  ];
  return blocks.map((block) => block[1]).join("\n");
}

/** The formatter may align the columns of a table; its words are what counts. */
function words(text: string): string {
  return text.replaceAll(/[-\s]+/g, " ").trim();
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

describe("the README", () => {
  it("lists every setting as the server has it", () => {
    const table = /<!-- settings -->([\s\S]*)<!-- \/settings -->/.exec(readme)?.[1] ?? "";
    expect(words(table)).toBe(words(settingsMarkdown()));
  });

  it("has a tour that works when pasted, and changes one line", async () => {
    const home = await mkdtemp(join(tmpdir(), "readme-"));
    const project = join(home, "my-project");
    await mkdir(project);
    const before = '{\n  // mine\n  "model": "a/b",\n  "plugin": ["one"], // the first\n}\n';
    await writeFile(join(project, "opencode.jsonc"), before);
    const port = await freePort();
    const env = { ...process.env, HOME: home };
    const start = tour("server").replace(
      /npm start -- (.*)/,
      `exec node ${repository}/dist/adapters/cli.js --port ${port} $1`,
    );
    const server = spawn("bash", ["-c", start], { env, cwd: home, stdio: "pipe" });
    try {
      await new Promise<void>((listening, failed) => {
        server.stdout.on("data", (data) => String(data).includes("listening") && listening());
        server.once("exit", (code) => failed(new Error(`the server ended with ${code}`)));
      });
      const script = `set -eu\n${tour("client").replace("127.0.0.1:8787", `127.0.0.1:${port}`)}`;
      const { stdout } = await promisify(execFile)("bash", ["-c", script], { env, cwd: home });
      expect(stdout).toContain('"allowed":true');
      expect(stdout).toContain('"action":"plugins.add"');
      expect(stdout).toContain("+++ b/opencode.jsonc");
      const after = await readFile(join(project, "opencode.jsonc"), "utf8");
      const changed = after.split("\n").filter((line, i) => line !== before.split("\n")[i]);
      expect(changed).toEqual(['  "plugin": ["one", "opencode-wakatime"], // the first']);
    } finally {
      server.kill("SIGTERM");
      await rm(home, { recursive: true, force: true });
    }
  });
});
