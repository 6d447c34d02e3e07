import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import { createMemoryHost } from "../../adapters/memory-host.ts";
import { createClient, OpenWorkError, type Client, type ErrorCode } from "../../client/index.ts";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { programs } from "../contract/subject.ts";
import { buildOnce } from "../support/build.ts";
import { bundleForWeb } from "../support/bundle.ts";

/** What the formatter may change is left out. */
const squeezed = (text: string): string => text.replaceAll(/[\s;|,()]+/g, "");

let handler: Handler;
let client: Client;
let id: string;

function connect(overrides: Partial<Parameters<typeof createClient>[0]> = {}): Client {
  return createClient({
    url: "http://server.test/",
    token: "c",
    hostToken: "h",
    clientId: "tests",
    retryDelayMs: 5,
    fetch: (input, init) => handler(new Request(input, init)),
    ...overrides,
  });
}

beforeAll(async () => {
  handler = await createHandler(createMemoryHost({ settings: { token: "c", hostToken: "h" } }));
  client = connect();
  id = (await client.request("GET /workspaces")).activeId ?? "";
});
afterAll(() => handler?.close());

/** Allows the write that waits first. */
async function allowNext(): Promise<void> {
  for await (const { items } of client.approvals()) {
    const [first] = items;
    if (!first) continue;
    const params = { approvalId: first.id };
    await client.request("POST /approvals/:approvalId", { params, body: { reply: "allow" } });
    break;
  }
}

describe("the client", () => {
  it("knows what every endpoint takes and answers", async () => {
    const config = await client.request("GET /workspace/:id/config", { params: { id } });
    expectTypeOf(config).toExtend<{ opencode: unknown; updatedAt: number | null }>();
    expect(config).toMatchObject({ opencode: {}, openwork: {} });
    // @ts-expect-error The path names a workspace.
    await client.request("GET /workspace/:id/config", {}).catch(() => null);
    // @ts-expect-error There is no such endpoint.
    await client.request("GET /nowhere").catch(() => null);
    const token = await client.request("POST /tokens", { body: { scope: "viewer" } });
    expect(token.token).toMatch(/^owt_/);
    await client.request("DELETE /tokens/:tokenId", { params: { tokenId: token.id } });
  });

  it("follows approvals while another call waits for one", async () => {
    const leaving = new AbortController();
    const write = client.request("POST /workspace/:id/plugins", { params: { id }, body: { spec: "p" } });
    for await (const { items } of client.approvals({ signal: leaving.signal })) {
      const [first] = items;
      if (!first) continue;
      const params = { approvalId: first.id };
      await client.request("POST /approvals/:approvalId", { params, body: { reply: "allow" } });
      leaving.abort();
    }
    expect((await write).items).toEqual([{ spec: "p", source: "config", scope: "project" }]);
  });

  it("follows workspace events from now on", async () => {
    const leaving = new AbortController();
    const events = client.events(id, { signal: leaving.signal });
    const next = events.next();
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    const write = client.request("PATCH /workspace/:id/config", {
      params: { id },
      body: { opencode: { a: 1 } },
    });
    await allowNext();
    await write;
    expect((await next).value).toMatchObject({ items: [{ reason: "config" }] });
    leaving.abort();
    expect((await events.next()).done).toBe(true);
  });

  it("follows file events over broken connections, from the last one on", async () => {
    const leaving = new AbortController();
    const seen: (string | null)[] = [];
    const broken = connect({
      fetch: async (_input, init) => {
        seen.push(new Headers(init?.headers).get("last-event-id"));
        const at = seen.length;
        return new Response(`id: ${at}\ndata: {"n":${at}}\n\n: still here\n\nid: 9\nda`);
      },
    });
    const got: unknown[] = [];
    for await (const event of broken.fileEvents(id, { signal: leaving.signal })) {
      got.push(event);
      if (got.length === 2) leaving.abort();
    }
    expect(got).toEqual([
      { id: "1", event: "message", data: { n: 1 } },
      { id: "2", event: "message", data: { n: 2 } },
    ]);
    expect(seen).toEqual([null, "1"]);
  });

  it("takes a stream that is silent for too long for broken, and goes on from the last event", async () => {
    const leaving = new AbortController();
    const seen: (string | null)[] = [];
    let cancelled = 0;
    const silent = connect({
      silenceMs: 1000,
      fetch: async (_input, init) => {
        seen.push(new Headers(init?.headers).get("last-event-id"));
        const at = seen.length;
        const body = new ReadableStream<Uint8Array>({
          async start(controller) {
            // A sign of life is enough, an event is none needed.
            for (let beat = 0; beat < 5; beat += 1) {
              controller.enqueue(new TextEncoder().encode(": still here\n\n"));
              await new Promise((resolve) => {
                setTimeout(resolve, 250);
              });
            }
            controller.enqueue(new TextEncoder().encode(`id: ${at}\ndata: ${at}\n\n`));
          },
          cancel: () => {
            cancelled += 1;
            // As of a connection whose other end is gone.
            return new Promise(() => {});
          },
        });
        return new Response(body);
      },
    });
    const got: unknown[] = [];
    for await (const event of silent.fileEvents(id, { signal: leaving.signal })) {
      got.push(event.data);
      if (got.length === 2) leaving.abort();
    }
    expect(got).toEqual([1, 2]);
    expect(seen).toEqual([null, "1"]);
    expect(cancelled).toBeGreaterThan(0);
  });

  it("throws typed errors", async () => {
    const error = await connect({ token: "wrong" })
      .request("GET /status")
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(OpenWorkError);
    expect(error).toMatchObject({ code: "unauthorized", status: 401 });
    expectTypeOf<OpenWorkError["code"]>().toEqualTypeOf<ErrorCode>();
    const odd = connect({ fetch: async () => new Response("<html>", { status: 418 }) });
    await expect(odd.request("GET /status")).rejects.toMatchObject({ code: "invalid_answer", status: 418 });
  });

  it("repeats what may be repeated, and nothing else", async () => {
    let calls = 0;
    const flaky = connect({
      fetch: async (input, init) => {
        calls += 1;
        if (calls < 3) throw new TypeError("connection refused");
        return handler(new Request(input, init));
      },
    });
    expect(await flaky.request("GET /health")).toMatchObject({ ok: true });
    expect(calls).toBe(3);
    calls = 0;
    const post = flaky.request("POST /tokens", { body: { scope: "viewer" } });
    await expect(post).rejects.toMatchObject({ code: "unreachable", status: 0 });
    expect(calls).toBe(1);
    calls = -100;
    await expect(flaky.request("GET /health")).rejects.toMatchObject({ code: "unreachable" });
    expect(calls).toBe(-96);
  });

  it("sends no parameter that would make the address another endpoint's", async () => {
    const sent: string[] = [];
    const watching = connect({
      fetch: (input, init) => {
        const request = new Request(input, init);
        sent.push(new URL(request.url).pathname);
        return handler(request);
      },
    });
    for (const name of ["..", ".", ""]) {
      const call = watching.request("DELETE /workspace/:id/commands/:name", { params: { id, name } });
      await expect(call).rejects.toMatchObject({ code: "invalid_path", status: 400 });
    }
    expect(sent).toEqual([]);
    await watching
      .request("DELETE /workspace/:id/skills/:name", { params: { id, name: "../x" } })
      .catch(() => null);
    expect(sent).toEqual([`/workspace/${id}/skills/..%2Fx`]);
  });

  it("sends bytes and forms as they are", async () => {
    let received = "";
    const watching = connect({
      fetch: async (input, init) => {
        received = await new Request(input, init).text();
        return Response.json({});
      },
    });
    for (const body of [new Blob(["bytes"]), new TextEncoder().encode("bytes"), "bytes"]) {
      received = "";
      const query = { path: "a" };
      await watching.request("PUT /workspace/:id/files/raw", { params: { id }, query, body });
      expect(received).toBe("bytes");
    }
    const form = new FormData();
    form.set("file", new Blob(["bytes"]), "a");
    await watching.request("POST /workspace/:id/inbox", { params: { id }, body: form });
    expect(received).toMatch(/name="file"; filename="a"[^]*\r\n\r\nbytes\r\n/);
  });

  it("tells of an answer that breaks off as of any failure", async () => {
    const cut = connect({
      fetch: async () => new Response('{"items": [', { headers: { "content-type": "application/json" } }),
    });
    await expect(cut.request("GET /workspaces")).rejects.toBeInstanceOf(OpenWorkError);
  });

  it("follows events also of a server that is away at first", { timeout: 15_000 }, async () => {
    let calls = 0;
    const late = connect({
      retries: 0,
      fetch: async (input, init) => {
        calls += 1;
        if (calls === 1) throw new TypeError("refused");
        return handler(new Request(input, init));
      },
    });
    const events = late.events(id, { signal: AbortSignal.timeout(12_000) });
    const first = events.next();
    await expect.poll(() => calls, { timeout: 8000 }).toBeGreaterThan(2);
    const write = client.request("POST /workspace/:id/plugins", { params: { id }, body: { spec: "late" } });
    await allowNext();
    await write;
    expect((await first).value).toMatchObject({ items: [{ reason: "plugins" }] });
    await events.return(undefined);
  });

  it("hands over that a file is still what the caller has", async () => {
    const put = client.request("PUT /workspace/:id/files/raw", {
      params: { id },
      query: { path: "same.txt" },
      body: "same",
    });
    await allowNext();
    const params = { id };
    const query = { path: "same.txt" };
    const headers = { "if-none-match": `"${(await put).revision}"` };
    const answer = await client.request("GET /workspace/:id/files/raw", { params, query, headers });
    expect([answer.status, await answer.text()]).toEqual([304, ""]);
  });

  it("does not ask again for an answer that is no JSON", async () => {
    let calls = 0;
    const odd = connect({
      fetch: async () => {
        calls += 1;
        return new Response("<html>", { headers: { "content-type": "application/json" } });
      },
    });
    await expect(odd.request("GET /workspaces")).rejects.toMatchObject({
      code: "invalid_answer",
      status: 200,
    });
    expect(calls).toBe(1);
  });

  it("gives up at once when its caller does", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    const never = connect({ fetch: (_input, init) => Promise.reject(init?.signal?.reason as Error) });
    await expect(never.request("GET /health", { signal })).rejects.toThrow("enough");
  });
});

/** A server that treats one request after another as the steps say, and the rest as the last one. */
async function scripted(
  ...steps: ((res: ServerResponse) => void)[]
): Promise<{ url: string; asked: string[]; stop(): void }> {
  const asked: string[] = [];
  const server = createServer((req, res) => {
    asked.push(`${req.method} ${req.url} ${req.headers["last-event-id"] ?? ""}`.trim());
    steps[Math.min(asked.length, steps.length) - 1]?.(res);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, stop };
}

/** As over a network that is gone: the connection stays, and nothing comes. */
const silence = (): void => {};
const json = { "content-type": "application/json" };

describe("the client, over a network that went without a word", () => {
  it("sends a poll again that nobody answers, in whole or in part", async () => {
    const server = await scripted(
      silence,
      (res) => void res.writeHead(200, { ...json, "content-length": 100 }).write('{"items":'),
      (res) => void res.writeHead(200, json).end('{"items":[],"cursor":7}'),
    );
    const lonely = createClient({ url: server.url, silenceMs: 300, retryDelayMs: 5 });
    const query = { wait: 0.2 };
    expect(await lonely.request("GET /approvals", { query })).toEqual({ items: [], cursor: 7 });
    expect(server.asked.length).toBe(3);
    server.stop();
  });

  it("gives up in the end, and says why", async () => {
    const server = await scripted(silence);
    const lonely = createClient({ url: server.url, silenceMs: 200, retries: 1, retryDelayMs: 5 });
    const polled = lonely.request("GET /workspace/:id/events", { params: { id: "w" }, query: { wait: 0 } });
    await expect(polled).rejects.toMatchObject({
      code: "unreachable",
      status: 0,
      message: expect.stringContaining("nothing came for 200 ms"),
    });
    expect(server.asked.length).toBe(2);
    server.stop();
  });

  it("follows on when a poll or a stream is never answered", { timeout: 20_000 }, async () => {
    const stream = 'id: 4\ndata: {"n":4}\n\n';
    const events = await scripted(
      silence,
      (res) => void res.writeHead(200, { "content-type": "text/event-stream" }).write(stream),
    );
    const options = { silenceMs: 200, retries: 0, retryDelayMs: 5 };
    const signal = AbortSignal.timeout(15_000);
    const followed = createClient({ url: events.url, ...options }).fileEvents("w", { since: "3", signal });
    expect((await followed.next()).value).toEqual({ id: "4", event: "message", data: { n: 4 } });
    expect(events.asked).toEqual(["GET /workspace/w/files/events 3", "GET /workspace/w/files/events 3"]);
    events.stop();

    const polls = await scripted(
      silence,
      (res) => void res.writeHead(200, json).end('{"items":[],"cursor":1}'),
    );
    const approvals = createClient({ url: polls.url, ...options }).approvals({ signal });
    expect((await approvals.next()).value).toEqual({ items: [], cursor: 1 });
    polls.stop();
  });

  it("waits as long as it takes for what the host must decide", async () => {
    const server = await scripted((res) => {
      setTimeout(() => res.writeHead(201, json).end('{"token":"owt_x"}'), 700);
    });
    const patient = createClient({ url: server.url, silenceMs: 100 });
    const made = await patient.request("POST /tokens", { body: { scope: "viewer" } });
    expect(made.token).toBe("owt_x");
    server.stop();
  });
});

describe("the client's package", () => {
  it("is less than 10 KB, minified and compressed", async () => {
    const { code, imports } = await bundleForWeb("client/index.ts", { minify: true });
    expect(imports).toEqual([]);
    expect(gzipSync(code).length).toBeLessThan(10_000);
  });

  it("has types made from today's routes", async () => {
    const dist = await buildOnce();
    const args = [join(dist, "../scripts/client-types.mjs"), "--print"];
    const made = execFileSync(process.execPath, args, { encoding: "utf8", timeout: 20_000 });
    const kept = readFileSync(join(import.meta.dirname, "../../client/api.ts"), "utf8");
    expect(squeezed(kept) === squeezed(made), "npm run client:types brings client/api.ts up to date").toBe(
      true,
    );
  });

  it.each(["node22", "node24", "bun", "deno"] as const)("runs on %s", async (program) => {
    const script = `
      const { createClient, OpenWorkError } = await import(${JSON.stringify(join(await buildOnce(), "client/index.js"))});
      const client = createClient({ url: "http://x", fetch: async () => Response.json({ ok: true }) });
      const down = createClient({ url: "http://127.0.0.1:1", retries: 0 });
      const error = await down.request("GET /health").catch((error) => error);
      console.log(JSON.stringify([await client.request("GET /health"), error instanceof OpenWorkError, error.code]));`;
    const flags = program === "deno" ? ["eval", script] : ["-e", script];
    const output = execFileSync(programs[program], flags, { encoding: "utf8", timeout: 20_000 });
    expect(JSON.parse(output)).toEqual([{ ok: true }, true, "unreachable"]);
  });
});
