import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chromium, type Browser } from "playwright-core";
import packed from "@sparticuz/chromium";

const system = "/usr/bin/chromium";

/** Debian's Chromium, installed now where that is possible; elsewhere the one that comes packed in an npm package. */
async function executable(): Promise<string> {
  if (!existsSync(system) && existsSync("/usr/bin/apt-get") && process.getuid?.() === 0) {
    execFileSync("apt-get", ["update", "-qq"], { stdio: "ignore" });
    execFileSync("apt-get", ["install", "-y", "-qq", "chromium"], { stdio: "ignore", timeout: 240_000 });
  }
  return existsSync(system) ? system : packed.executablePath();
}

/** Starts a real browser that talks to nobody but the pages under test. */
export async function startBrowser(): Promise<Browser> {
  const quiet = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
  ];
  return chromium.launch({
    executablePath: await executable(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", ...quiet],
  });
}
