import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
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

  it("is what the container image takes", () => {
    const [, path = ""] =
      /COPY --from=build \/source\/(\S+)/.exec(readFileSync(join(repo, "Containerfile"), "utf8")) ?? [];
    expect(existsSync(join(repo, path)), path).toBe(true);
    expect(path).toBe("out/openwork-server");
  });

  it.each([
    ["x86_64", "x64"],
    ["aarch64", "aarch64"],
  ])("is made by the Bun of the tests in an image for %s", (machine, name) => {
    const [, word = ""] =
      /(\S*@oven\/bun-.*@[\d.]+"?)/.exec(readFileSync(join(repo, "Containerfile"), "utf8")) ?? [];
    const named = execFileSync("sh", ["-c", `uname() { echo ${machine}; }; echo ${word}`], {
      encoding: "utf8",
    });
    const tools = JSON.parse(readFileSync(join(repo, "test/package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    const { "@oven/bun-linux-x64": version = "" } = tools.dependencies;
    expect(named.trim()).toBe(`@oven/bun-linux-${name}@${version}`);
  });

  behaviour(processRuntime("the binary", gaps, () => [join(repo, "out/openwork-server")]));
});
