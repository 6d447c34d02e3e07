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
  page.on("response", (response) => {
    if (response.status() === 404) faults.push(`not there: ${response.url()}`);
  });
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
  it("asks for tokens, says so when they are wrong, and takes those of a link into the open page, out of the address", async () => {
    await page.goto(`${server.url}/ui`);
    await page.fill("#host-token", "nonsense");
    await page.click("button[type=submit]");
    await page.waitForSelector("#sign-in-error:not([hidden])");
    await page.goto(`${server.url}/ui#token=${clientToken}&hostToken=${hostToken}`);
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

  it("names characters that hide themselves or turn others around", async () => {
    const denied = add("good\u202egnp.exe\u200b");
    await page.waitForSelector(".approval");
    const shown = await page.locator(".approval").textContent();
    expect(shown).not.toMatch(/[\u202e\u200b]/);
    expect(await page.textContent(".approval h3")).toContain("good\\u{202e}gnp.exe\\u{200b}");
    expect(await page.textContent(".approval .added")).toContain("good\\u{202e}gnp.exe\\u{200b}");
    expect(await page.textContent(".approval .left")).toMatch(/^\d+ s left$/);
    await page.click(".deny");
    expect(await denied).toBe(403);
  });

  it.each([
    ["an hour ahead", 3_600_000],
    ["an hour behind", -3_600_000],
  ])("counts down rightly on a device whose clock is %s", async (_, aheadMs) => {
    const device = await browser.newPage();
    await device.addInitScript((ahead) => {
      const now = Date.now.bind(Date);
      Date.now = () => now() + ahead;
    }, aheadMs);
    await device.goto(`${server.url}/ui#hostToken=${hostToken}`);
    await device.waitForSelector("#approvals:not([hidden])");
    const denied = add("seven");
    await device.waitForSelector(".approval");
    const left = (): Promise<number> =>
      device.locator(".approval .left").evaluate((shown) => parseInt(shown.textContent ?? "", 10));
    // Of thirty, and it may take some to be looked at.
    const first = await left();
    expect(first).toBeGreaterThan(10);
    expect(first).toBeLessThanOrEqual(31);
    await expect.poll(left, { timeout: 5000 }).toBeLessThan(first);
    await device.click(".deny");
    expect(await denied).toBe(403);
    await device.close();
  });

  it("leaves the keyboard at the heading when a request is answered, not on the buttons of the next", async () => {
    const both = [add("four"), add("five")];
    await page.waitForFunction(() => document.querySelectorAll(".approval").length === 2);
    await page.focus(".deny");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelectorAll(".approval").length === 1);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("waiting");
    await page.keyboard.press("Enter");
    await page.click(".deny");
    expect(await Promise.all(both)).toEqual([403, 403]);
  });

  it("shows thousands of changed lines as few elements, coloured over their whole width", async () => {
    const template = Array.from(
      { length: 3000 },
      (_, i) => `line ${i} ${"wide ".repeat(i === 0 ? 99 : 1)}`,
    ).join("\n");
    const saving = server.request("POST", "~/commands", { json: { name: "long", template } });
    await page.waitForSelector('.approval .added:has-text("line 2999")');
    expect(await page.locator(".approval .diff *").count()).toBeLessThan(10);
    const [room = 0, coloured] = await page.evaluate(() => {
      const diff = document.querySelector(".approval .diff");
      return [diff?.clientWidth ?? 0, diff?.querySelector(".added")?.getBoundingClientRect().width];
    });
    expect(room).toBeGreaterThan(100);
    expect(Math.floor(coloured ?? 0)).toBe(room);
    await page.click(".deny");
    await saving;
  });

  it("keeps its tokens when a link brings others that nobody knows", async () => {
    await page.goto(`${server.url}/ui#hostToken=nonsense`);
    await page.reload();
    await page.waitForSelector("#approvals:not([hidden])");
    expect(await page.evaluate(() => Object.values(localStorage))).toContain(hostToken);
  });

  it("follows the approvals once, whoever signs out and in again meanwhile", async () => {
    let polls = 0;
    const count = (request: { url(): string }): void => {
      if (request.url().includes("wait=50")) polls += 1;
    };
    await page.click("#sign-out");
    await page.fill("#host-token", hostToken);
    await page.click("button[type=submit]");
    await page.waitForSelector("#approvals:not([hidden])");
    page.on("request", count);
    const denied = add("six");
    await page.click(".deny");
    expect(await denied).toBe(403);
    await page.waitForSelector("#nothing:not([hidden])");
    await new Promise((resolve) => setTimeout(resolve, 300));
    // One that is under way may end; then a request comes and goes, each heard of by one poll.
    expect(polls).toBeLessThanOrEqual(3);
    await page.click("#sign-out");
    const waits = add("seven");
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await page.textContent("#connection")).toBe("not signed in");
    expect(await page.locator(".approval").count()).toBe(0);
    expect(await page.evaluate(() => document.title)).toBe("OpenWork Server");
    await page.fill("#host-token", hostToken);
    await page.click("button[type=submit]");
    await page.click(".deny");
    expect(await waits).toBe(403);
    page.off("request", count);
    expect(faults).toEqual([]);
  });

  it.each([390, 1280])(
    "shows every letter of a change on a screen of %i pixels: long lines are wrapped",
    async (width) => {
      await page.setViewportSize({ width, height: 844 });
      const template = `${"many words ".repeat(30)}\n${"x".repeat(300)}`;
      const saving = server.request("POST", "~/commands", { json: { name: "wide", template } });
      await page.waitForSelector(".approval");
      const widths = async (selector: string): Promise<number[]> =>
        page.locator(selector).evaluate(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth]);
      const [inside = 0, room] = await widths(".approval .diff");
      expect(inside).toBeGreaterThan(100);
      expect(inside).toBe(room);
      expect(await widths("html")).toEqual([width, width]);
      await page.click(".deny");
      expect((await saving).status).toBe(403);
      await page.setViewportSize({ width: 1280, height: 720 });
    },
  );

  it("says that it cannot reach the server, and that it can again although nothing waits", async () => {
    await page.waitForSelector("#nothing:not([hidden])");
    await page.route("**/approvals*", (route) => route.abort());
    const denied = add("eight");
    await page.waitForSelector("#connection.down");
    expect(await page.textContent("#connection")).toBe("not reachable, trying again…");
    await page.unroute("**/approvals*");
    await page.waitForSelector("#connection:not(.down)", { timeout: 20_000 });
    await page.route("**/approvals/*", (route) => route.abort());
    await page.click(".deny");
    await page.waitForFunction(
      () => document.querySelector(".approval .error")?.textContent === "not reachable",
    );
    await page.unroute("**/approvals/*");
    await page.click(".deny");
    expect(await denied).toBe(403);
  });

  it("says which of two tokens is not accepted, and of a write that changes no line that it does not", async () => {
    const signIn = async (host: string, client: string): Promise<void> => {
      await page.click("#sign-out");
      await page.fill("#host-token", host);
      await page.fill("#client-token", client);
      await page.keyboard.press("Enter");
      await page.waitForSelector("#status:not([hidden])");
    };
    await signIn("nonsense", clientToken);
    expect(await page.isVisible("#host-refused")).toBe(true);
    await signIn("", clientToken);
    expect(await page.isVisible("#not-host")).toBe(true);
    expect(await page.isVisible("#host-refused")).toBe(false);
    await signIn(hostToken, "nonsense");
    expect(await page.textContent("#facts")).toContain("the client token is not accepted");
    await signIn(hostToken, "");
    expect(await page.textContent("#facts")).toContain("need the client token too");
    await signIn(hostToken, clientToken);
    const denied = add("one");
    await page.waitForSelector(".approval");
    expect(await page.textContent(".approval .diff")).toBe("No line of a file changes.");
    await page.click(".deny");
    expect(await denied).toBe(403);
  });

  it.each([
    ["--read-only", "#read-only", "#auto"],
    ["--approval=auto", "#auto", "#read-only"],
  ])("started with %s it does not promise that a write will wait", async (flag, notice, other) => {
    const quiet = await startServer({ flags: ["--approval", "manual", ...flag.split("=")] });
    const visitor = await browser.newPage();
    await visitor.goto(`${quiet.url}/ui#token=${clientToken}&hostToken=${hostToken}`);
    await visitor.waitForSelector(`${notice}:not([hidden])`);
    expect(await visitor.isVisible(other)).toBe(false);
    expect(await visitor.innerText("#approvals")).not.toContain("A write shows up here");
    await visitor.close();
    await quiet.stop();
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
