import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startBrowser } from "../support/browser.ts";
import { clientToken, hostToken, startServer, type TestServer } from "../support/server.ts";

let server: TestServer;
let browser: Browser;
let page: Page;
const faults: string[] = [];

beforeAll(async () => {
  server = await startServer({ flags: ["--approval", "manual"] });
  browser = await startBrowser();
  page = await browser.newPage();
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("dialog", (dialog) => faults.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url)) faults.push(`foreign request: ${request.url()}`);
    if (request.url().includes(hostToken)) faults.push("a token in a URL");
  });
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

async function add(spec: string): Promise<number> {
  return (await server.request("POST", "~/plugins", { json: { spec } })).status;
}

describe("the built-in page in a real browser", () => {
  it("asks for tokens, says so when they are wrong, and keeps them out of the address", async () => {
    await page.goto(`${server.url}/ui`);
    await page.fill("#host-token", "nonsense");
    await page.click("button[type=submit]");
    await page.waitForSelector("#sign-in-error:not([hidden])");
    await page.goto(`${server.url}/ui#token=${clientToken}&hostToken=${hostToken}`);
    await page.reload();
    await page.waitForSelector("#approvals:not([hidden])");
    expect(page.url()).toBe(`${server.url}/w/${server.id}/ui`);
    expect(await page.textContent("#facts")).toContain(server.workspace);
  });

  it("shows a write with its diff the moment it waits; allow applies it, deny does not", async () => {
    await writeFile(join(server.workspace, "opencode.jsonc"), '{\n  "plugin": ["one"] // first\n}\n');
    const allowed = add("two");
    await page.waitForSelector(".approval");
    expect(await page.textContent(".approval .added")).toBe('+  "plugin": ["one", "two"] // first');
    expect(await page.textContent(".approval .removed")).toBe('-  "plugin": ["one"] // first');
    expect(await page.title()).toMatch(/^\(1\)/);
    await page.click(".allow");
    expect(await allowed).toBe(200);
    await page.waitForSelector(".approval", { state: "detached" });
    const denied = add("three");
    await page.click(".deny");
    expect(await denied).toBe(403);
    await page.waitForSelector("#nothing:not([hidden])");
  });

  it("shows hostile names harmlessly and asks nothing of other servers", async () => {
    const hostile = '<img src=x onerror="alert(1)"><script>alert(2)</script>';
    const denied = add(hostile);
    await page.waitForSelector(".approval");
    expect(await page.textContent(".approval h3")).toContain("<img src=x");
    expect(await page.locator(".approval img, .approval script").count()).toBe(0);
    await page.click(".deny");
    expect(await denied).toBe(403);
    expect(faults).toEqual([]);
  });

  it("forgets the tokens when asked, and works on a phone's screen without scrolling sideways", async () => {
    await page.setViewportSize({ width: 360, height: 700 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(wide).toBeLessThanOrEqual(360);
    await page.click("#sign-out");
    await page.waitForSelector("#sign-in:not([hidden])");
    expect(await page.evaluate(() => localStorage.length)).toBe(0);
  });
});
