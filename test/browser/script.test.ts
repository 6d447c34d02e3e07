import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { script } from "../../ui/script.ts";

const repo = join(import.meta.dirname, "../..");

it("the script of the page is made from today's modules", () => {
  const args = [join(repo, "scripts/ui-script.mjs"), "--print"];
  const made = execFileSync(process.execPath, args, { encoding: "utf8", timeout: 20_000 });
  const kept = readFileSync(join(repo, "ui/script.ts"), "utf8");
  expect(kept === made, "npm run ui:script brings ui/script.ts up to date").toBe(true);
});

it("the script of the page is one file that imports nothing", () => {
  expect(script).not.toMatch(/^\s*(?:import|export)\b/m);
  expect(script).toContain("import.meta.url");
});
