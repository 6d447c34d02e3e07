import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe } from "vitest";
import { processRuntime } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";
import { buildOnce } from "../support/build.ts";

const repo = join(import.meta.dirname, "../..");
const gaps = {
  bareRefusals: "Bun.serve refuses what is no HTTP request itself, without a body.",
  webSocketRelay: "Bun.serve does not lend the connection of a WebSocket.",
};

describe("the single-file binary", () => {
  beforeAll(async () => {
    await buildOnce();
    execFileSync(process.execPath, [join(repo, "scripts/build-bin.mjs")], { stdio: "pipe" });
  }, 60_000);
  behaviour(processRuntime("the binary", gaps, () => [join(repo, "out/openwork-server")]));
});
