import { createHash } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBrowser } from "../support/browser.ts";
import { type Engine, startEngine } from "../support/engine.ts";
import { type ModelStub, startModelStub, stubConfig } from "../support/model-stub.ts";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";

const reply = "The answer comes word by word.";
const clientId = "a-page";

/** What a page is given; the token is never in an address. */
interface Access {
  base: string;
  token: string;
  clientId: string;
}

/** A server of nothing but an empty page: its origin is another one than that of the server under test. */
function startPages(): Promise<Upstream> {
  return startUpstream((_req, res) => {
    res.writeHead(200, { "content-type": "text/html" });
    res.end("<!doctype html><title>A page of somebody else</title>");
    return true;
  });
}

/** Runs in the page: makes a session, prompts, and follows the answer on the stream of events. */
async function converse({ base, token, clientId: client }: Access): Promise<{
  listed: number;
  session: string;
  parts: string[];
  types: string[];
  answer: string;
}> {
  const headers = { authorization: `Bearer ${token}`, "x-openwork-client-id": client };
  async function call(method: string, path: string, json?: unknown): Promise<unknown> {
    const body = json === undefined ? {} : { body: JSON.stringify(json) };
    const type = json === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(base + path, { method, headers: { ...headers, ...type }, ...body });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }
  const before = (await call("GET", "/session")) as unknown[];
  const leaving = new AbortController();
  const stream = await fetch(`${base}/event`, { headers, signal: leaving.signal });
  const { id } = (await call("POST", "/session", { title: "from a page" })) as { id: string };
  const prompt = call("POST", `/session/${id}/message`, { parts: [{ type: "text", text: "Say it." }] });
  const parts: string[] = [];
  const types: string[] = [];
  let buffered = "";
  const decoder = new TextDecoder();
  if (!stream.body) throw new Error("a stream of events without a body");
  const reader = stream.body.getReader();
  while (!types.includes("session.idle")) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (buffered + decoder.decode(value, { stream: true })).split("\n");
    buffered = lines.pop() ?? "";
    for (const line of lines.filter((text) => text.startsWith("data: "))) {
      const { type, properties } = JSON.parse(line.slice(6)) as {
        type: string;
        properties: { delta?: string };
      };
      types.push(type);
      if (type === "message.part.delta" && properties.delta !== undefined) parts.push(properties.delta);
    }
  }
  leaving.abort();
  const message = (await prompt) as { parts: { type: string; text?: string }[] };
  const answer = message.parts.flatMap(({ type, text }) => (type === "text" ? [text ?? ""] : [])).join("");
  return { listed: before.length, session: id, parts, types, answer };
}

/** Runs in the page: opens a terminal, has its shell say something, and closes it. */
async function useTerminal({ base, token, clientId: client }: Access): Promise<{
  pty: string;
  protocol: string;
  output: string;
  code: number;
  removed: number;
}> {
  const headers = { authorization: `Bearer ${token}`, "x-openwork-client-id": client };
  const made = await fetch(`${base}/pty`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ command: "/bin/sh", args: [], title: "from a page" }),
  });
  const { id } = (await made.json()) as { id: string };
  const protocols = ["openwork", `openwork.bearer.${token}`];
  const socket = new WebSocket(`${base.replace(/^http/, "ws")}/pty/${id}/connect`, protocols);
  socket.binaryType = "arraybuffer";
  const decoder = new TextDecoder();
  let output = "";
  const closed = new Promise<number>((resolve) => {
    socket.addEventListener("close", ({ code }) => resolve(code));
  });
  socket.addEventListener("open", () => socket.send("echo $((40 + 2))-from-the-page\n"));
  socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
    output += typeof data === "string" ? data : decoder.decode(data);
    if (output.includes("42-from-the-page")) socket.close(1000);
  });
  const code = await closed;
  const removed = await fetch(`${base}/pty/${id}`, { method: "DELETE", headers });
  return { pty: id, protocol: socket.protocol, output, code, removed: removed.status };
}

/** Runs in the page: whether an answer can be read, and whether the WebSocket of a terminal opens. */
async function tryBoth({ base, token, pty }: Access & { pty: string }): Promise<[boolean, boolean]> {
  const headers = { authorization: `Bearer ${token}` };
  const read = await fetch(`${base}/session`, { headers }).then(
    () => true,
    () => false,
  );
  const opened = await new Promise<boolean>((resolve) => {
    const protocols = ["openwork", `openwork.bearer.${token}`];
    const socket = new WebSocket(`${base.replace(/^http/, "ws")}/pty/${pty}/connect`, protocols);
    socket.addEventListener("open", () => {
      socket.close();
      resolve(true);
    });
    socket.addEventListener("error", () => resolve(false));
  });
  return [read, opened];
}

describe("a page of another origin in a real browser, with a collaborator's token (I60, I64, I65)", () => {
  let stub: ModelStub;
  let engine: Engine;
  let server: TestServer;
  let pages: Upstream;
  let strangers: Upstream;
  let browser: Browser;
  let page: Page;
  let access: Access;
  let session: string;
  let pty: string;
  const asked: string[] = [];

  beforeAll(async () => {
    const workspace = await freshDirectory("browser-chat");
    stub = await startModelStub(null, reply);
    await writeFile(join(workspace, "opencode.json"), JSON.stringify(stubConfig(stub)));
    engine = await startEngine({ directory: workspace, password: "pw" });
    [pages, strangers] = await Promise.all([startPages(), startPages()]);
    server = await startServer({
      workspace,
      flags: ["--opencode-base-url", engine.url, "--cors", pages.url],
      env: { OPENWORK_OPENCODE_USERNAME: "opencode", OPENWORK_OPENCODE_PASSWORD: "pw" },
    });
    const issued = await server.request<{ token: string }>("POST", "/tokens", {
      host: true,
      json: { scope: "collaborator" },
    });
    access = { base: `${server.url}/w/${server.id}/opencode`, token: issued.json.token, clientId };
    browser = await startBrowser();
    page = await browser.newPage();
    page.on("request", (request) => asked.push(request.url()));
    page.on("websocket", (socket) => asked.push(socket.url()));
    await page.goto(pages.url);
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    await Promise.all([pages?.stop(), strangers?.stop(), engine?.stop(), stub?.stop()]);
    if (server) await rm(server.workspace, { recursive: true, force: true, maxRetries: 3 });
  });

  test("it holds a conversation and sees the answer come in parts", async () => {
    const seen = await page.evaluate(converse, access);
    ({ session } = seen);
    expect(seen.listed).toBe(0);
    expect(seen.types).toEqual(expect.arrayContaining(["server.connected", "session.created"]));
    expect(seen.parts.length).toBeGreaterThan(2);
    expect(seen.parts.join("")).toBe(reply);
    expect(seen.answer).toBe(reply);
  }, 120_000);

  test("it reads the engine's description, which comes compressed", async () => {
    const coming = page.waitForResponse((response) => response.url().endsWith("/doc"));
    const paths = await page.evaluate(async ({ base, token }) => {
      const response = await fetch(`${base}/doc`, { headers: { authorization: `Bearer ${token}` } });
      return Object.keys(((await response.json()) as { paths: object }).paths).length;
    }, access);
    expect(paths).toBeGreaterThan(100);
    expect(await (await coming).headerValue("content-encoding")).toBe("gzip");
  });

  test("it runs a terminal", async () => {
    const seen = await page.evaluate(useTerminal, access);
    ({ pty } = seen);
    expect(seen).toMatchObject({ protocol: "openwork", code: 1000, removed: 200 });
    expect(seen.output).toContain("42-from-the-page");
  });

  test("the audit log tells the story, with who did it", async () => {
    const audit = await server.request<{
      items: { actor: Record<string, string>; action: string; target: string; outcome?: string }[];
    }>("GET", "~/audit");
    const story = audit.json.items.toReversed();
    expect(story.map(({ action, target, outcome }) => [action, target, outcome])).toEqual(
      [
        "POST /session",
        `POST /session/${session}/message`,
        "POST /pty",
        `GET /pty/${pty}/connect`,
        `DELETE /pty/${pty}`,
      ].map((target) => ["opencode.proxy", target, undefined]),
    );
    const tokenHash = createHash("sha256").update(access.token).digest("hex");
    const actor = { type: "remote", scope: "collaborator", tokenHash };
    for (const entry of story) expect(entry.actor).toMatchObject(actor);
    expect(story[0]?.actor["clientId"]).toBe(clientId);
  });

  test("no address held the token, and a page of an origin that is not allowed gets nothing", async () => {
    expect(asked.some((url) => url.startsWith("ws:"))).toBe(true);
    expect(asked.filter((url) => url.includes(access.token))).toEqual([]);
    expect(server.log()).not.toContain(access.token);
    const stranger = await browser.newPage();
    await stranger.goto(strangers.url);
    const made = await server.request<{ id: string }>("POST", `/w/${server.id}/opencode/pty`, {
      json: { command: "/bin/sh", args: [] },
    });
    const attempt = { ...access, pty: made.json.id };
    expect(await stranger.evaluate(tryBoth, attempt)).toEqual([false, false]);
    expect(await page.evaluate(tryBoth, attempt)).toEqual([true, true]);
  });
});
