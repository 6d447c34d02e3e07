import { request as httpRequest } from "node:http";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ApiError } from "../../lib/errors.ts";
import { readBody } from "../../lib/http/request-body.ts";
import { Quota } from "../../lib/quota.ts";
import { clientToken, configOf, startMemoryServer, workspaceAt } from "../support/memory-host.ts";
import { clientToken as serverToken, startServer } from "../support/server.ts";
import { eventually, SessionClient } from "../files/support.ts";

const mebibyte = 1024 * 1024;
const asHost = { host: true, token: null } as const;

/** A body of a text and so many blanks, after which nothing more comes until it is ended. */
class SlowBody {
  readonly body: ReadableStream<Uint8Array>;
  /** Resolves when all that came has been taken. */
  readonly taken: Promise<void>;
  #finish: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(bytes: number, text = "", pieceSize = mebibyte) {
    const blanks = new Uint8Array(pieceSize).fill(32);
    let left = bytes;
    let taken: (() => void) | undefined;
    this.taken = new Promise((resolve) => (taken = resolve));
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#finish = controller;
          if (text !== "") controller.enqueue(new TextEncoder().encode(text));
        },
        pull(controller) {
          if (left > 0) controller.enqueue(blanks.subarray(0, Math.min(left, pieceSize)));
          else taken?.();
          left -= pieceSize;
        },
      },
      { highWaterMark: 0 },
    );
  }

  end(text = ""): void {
    if (text !== "") this.#finish?.enqueue(new TextEncoder().encode(text));
    this.#finish?.close();
  }

  fail(): void {
    this.#finish?.error(new Error("gone"));
  }
}

function request(path: string, token: string, body: ReadableStream<Uint8Array>): Request {
  const init = { method: "POST", headers: { authorization: `Bearer ${token}` }, body, duplex: "half" };
  return new Request(`http://server.test${path}`, init as RequestInit);
}

/** Memory in use when all garbage is gone. */
async function memoryInUse(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  for (let round = 0; round < 3; round += 1) {
    if (typeof collect !== "function") throw new Error("no gc");
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

describe("exhaustion: JSON bodies that are being read at the same time", () => {
  test("are bounded together and for one token, and room comes back when they end or break off", async () => {
    const { handler, client } = await startMemoryServer();
    const open = async (): Promise<{ token: string; path: string }> => {
      const { token } = (await client.post("/tokens", { scope: "collaborator" }, asHost)).json;
      const { path } = await SessionClient.open(client, workspace, { token });
      return { token, path: `${path}/write-batch` };
    };
    const [{ id: workspace }] = (await client.get("/workspaces")).json.items;
    const [one, two] = [await open(), await open()];
    const first = new SlowBody(400 * mebibyte);
    const reading = handler(request(one.path, one.token, first.body));
    await first.taken;
    const before = await memoryInUse();
    const own = await handler(request(one.path, one.token, new SlowBody(100 * mebibyte).body));
    expect(own.status).toBe(429);
    expect(Number(own.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await own.json()).toMatchObject({
      code: "too_many_requests",
      details: { perToken: 448 * mebibyte },
    });
    for (let n = 0; n < 20; n += 1) {
      const more = await handler(request(two.path, two.token, new SlowBody(200 * mebibyte).body));
      expect(await more.json()).toMatchObject({
        code: "too_many_requests",
        details: { total: 512 * mebibyte },
      });
    }
    expect((await memoryInUse()) - before).toBeLessThan(16 * mebibyte);
    // Whoever sends little is served all the while.
    expect((await client.post("/tokens", { scope: "viewer" }, asHost)).status).toBe(201);
    first.end();
    expect(await (await reading).json()).toMatchObject({ code: "invalid_json" });
    const broken = new SlowBody(400 * mebibyte);
    const breaking = handler(request(two.path, two.token, broken.body));
    broken.fail();
    expect((await breaking).status).toBeGreaterThanOrEqual(400);
    const last = new SlowBody(300 * mebibyte);
    const served = handler(request(two.path, two.token, last.body));
    last.end();
    expect(await (await served).json()).toMatchObject({ code: "invalid_json" });
    await handler.close();
  }, 30_000);

  test("count until their request is answered, also while the host is asked", async () => {
    const config = configOf({ approval: { mode: "manual", timeoutMs: 20_000 } });
    const { handler, client, workspace } = await startMemoryServer(config);
    const { path } = await SessionClient.open(client, workspace);
    const body = new SlowBody(400 * mebibyte, '{"writes":[{"path":"a","contentBase64":""}]');
    const writing = handler(request(`${path}/write-batch`, clientToken, body.body));
    await body.taken;
    body.end("}");
    const [approval] = (await client.get("/approvals?wait=20", asHost)).json.items;
    const again = new SlowBody(100 * mebibyte);
    expect((await handler(request(`${path}/write-batch`, clientToken, again.body))).status).toBe(429);
    await client.post(`/approvals/${approval.id}`, { reply: "deny" }, asHost);
    expect((await writing).status).toBe(403);
    const free = new SlowBody(100 * mebibyte);
    const reading = handler(request(`${path}/write-batch`, clientToken, free.body));
    free.end();
    expect((await reading).status).toBe(400);
    await handler.close();
  }, 30_000);
});

test("a body of single bytes costs what its bytes do", async () => {
  const { handler, workspace } = await startMemoryServer();
  const before = await memoryInUse();
  const bytes = 300_000;
  const body = new SlowBody(bytes, '{"ttlSeconds":60', 1);
  const reading = handler(request(`/workspace/${workspace}/files/sessions`, clientToken, body.body));
  await body.taken;
  expect((await memoryInUse()) - before).toBeLessThan(20 * bytes);
  body.end("}");
  expect(await (await reading).json()).toMatchObject({ session: { canWrite: true } });
  await handler.close();
});

test("a body is the same in whatever pieces it comes", async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 9000 }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(sizes, async (lengths) => {
      const pieces = lengths.map((length, n) => new Uint8Array(length).map((_, at) => at * 7 + n));
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          for (const piece of pieces) controller.enqueue(piece);
          controller.close();
        },
      });
      const bytes = await readBody(request("/", "", body), {
        maxBytes: 1_000_000,
        tooLarge: () => new ApiError("body_too_large", ""),
        take: () => undefined,
      });
      expect(Buffer.from(bytes).equals(Buffer.concat(pieces))).toBe(true);
    }),
  );
});

test("a client that goes away in the middle of its body is no fault of the server", async () => {
  const server = await startServer();
  const { port } = new URL(server.url);
  const headers = { authorization: `Bearer ${serverToken}` };
  const path = `/workspace/${server.id}/files/sessions`;
  const sending = httpRequest({ port, method: "POST", path, headers });
  sending.once("error", () => undefined);
  sending.write("{");
  await new Promise((resolve) => setTimeout(resolve, 300));
  sending.destroy();
  await eventually(() => expect(server.log()).toMatch(/POST \S+\/files\/sessions 499/));
  expect(server.log()).not.toContain("Error");
  await server.stop();
});

describe("a quota", () => {
  const refusal = { message: "full", retryAfter: 3 };

  test("takes nothing when it refuses, and a share gives back what it took, once", () => {
    const quota = new Quota({ perToken: 10, total: 15 }, refusal);
    const share = quota.take("one", 4);
    share.add(6);
    expect(() => share.add(1)).toThrow("full");
    const other = quota.take("two", 5);
    expect(() => quota.take("two", 1)).toThrow(
      expect.objectContaining({ status: 429, details: { total: 15 } }),
    );
    expect(quota.taken).toBe(15);
    share.release();
    share.release();
    share.add(3);
    expect(quota.taken).toBe(5);
    other.release();
    expect(quota.taken).toBe(0);
    expect(() => quota.take("one", 10)).not.toThrow();
  });
});

test("held requests are capped per token, and others are still answered", async () => {
  const workspaces = [workspaceAt("/work-a")];
  const { handler, client, workspace } = await startMemoryServer(configOf({ workspaces }));
  const { token } = (await client.post("/tokens", { scope: "owner" }, asHost)).json;
  const session = await SessionClient.open(client, workspace, { token });
  const { cursor } = (await session.snapshot()).json;
  const gone = new AbortController();
  const paths = [
    "/approvals?wait=50",
    `/workspace/${workspace}/events?wait=50`,
    `${session.path}/catalog/events?wait=50&since=${cursor}`,
  ];
  const held = Array.from({ length: 64 }, (_, n) =>
    client.get(paths[n % paths.length] ?? "", { token, signal: gone.signal }),
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (const path of paths) {
    const refused = await client.get(path, { token });
    expect(refused).toMatchObject({
      status: 429,
      json: { code: "too_many_requests", details: { perToken: 64 } },
    });
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    expect((await client.get(path.replace("wait=50", "wait=0"), { token })).status).toBe(200);
  }
  const other = client.get(`/workspace/${workspace}/events?wait=0.1`);
  expect((await other).status).toBe(200);
  gone.abort();
  expect((await Promise.all(held)).every(({ status }) => status === 200)).toBe(true);
  expect((await client.get(`/workspace/${workspace}/events?wait=0.1`, { token })).status).toBe(200);
  await handler.close();
});
