import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { programs } from "../contract/subject.ts";
import { buildOnce } from "../support/build.ts";
import { freshDirectory, startServer } from "../support/server.ts";

/** How Node lists a built-in module that was loaded. */
const prefix = "NativeModule ";

/** What would take up to several megabytes each, in every server, for what few of them do. */
const unneeded = new Set([
  "https",
  "internal/blocklist",
  "internal/crypto/webcrypto",
  "internal/deps/undici/undici",
  "internal/util/diff",
  "readline",
  "tls",
  "worker_threads",
  "zlib",
]);

/** Loaded before the command; it imports nothing, which would load more than it names. */
const probe = `process.on("exit", () => process.getBuiltinModule("node:fs").writeFileSync(
  process.env.LOADED, JSON.stringify(process.moduleLoadList)));`;

let command: string;
let dir: string;

beforeAll(async () => {
  command = join(await buildOnce(), "bin/openwork-server.js");
  dir = await freshDirectory("start");
}, 120_000);
afterAll(() => rm(dir, { recursive: true, force: true }));

const runtimes = [
  ["Node 20", programs.node20],
  ["Node 22", programs.node22],
  ["Node 24", programs.node24],
] as const;

it.each(runtimes)(
  "A start on %s and the first answers load no module that they do not need",
  async (name, program) => {
    const list = join(dir, `${name}.json`);
    const server = await startServer({
      command: [program, "--import", `data:text/javascript,${encodeURIComponent(probe)}`, command],
      env: { LOADED: list },
    });
    const answers = [await server.request("GET", "/health"), await server.request("GET", "~/config")];
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    await server.stop();
    const loaded = (JSON.parse(readFileSync(list, "utf8")) as string[])
      .filter((entry) => entry.startsWith(prefix))
      .map((entry) => entry.slice(prefix.length));
    expect(loaded).toContain("http");
    expect(loaded.filter((entry) => unneeded.has(entry))).toEqual([]);
  },
);
