import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, describe } from "vitest";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { createHandler, type Handler } from "../../handlers/index.ts";
import { Feed } from "../../lib/feed.ts";
import { eventStream } from "../../lib/http/sse.ts";
import { Quota } from "../../lib/quota.ts";
import { clientToken, memoryHost, put, startMemoryServer } from "../support/memory-host.ts";
import { eventually, SessionClient, startDiskServer } from "./support.ts";

/** A server-sent event as a browser would see it. */
interface Received {
  id: string;
  event: string;
  data: any; // oxlint-disable-line typescript/no-explicit-any -- tests look into events of every shape
}

/** Reads a stream of events from a handler. */
class Stream {
  readonly response: Response;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(response: Response) {
    this.response = response;
    const body = response.body ?? new ReadableStream<Uint8Array<ArrayBuffer>>();
    this.#reader = body.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async open(
    handler: Handler,
    path: string,
    options: { token?: string; headers?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<Stream> {
    const headers = { authorization: `Bearer ${options.token ?? clientToken}`, ...options.headers };
    const { signal } = options;
    return new Stream(
      await handler(new Request(`http://server.test${path}`, { headers, ...(signal ? { signal } : {}) })),
    );
  }

  /** The next event; null at the end of the stream. */
  async next(): Promise<Received | null> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end >= 0) {
        const block = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        const field = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
        if (block.includes("data:"))
          return { id: field("id"), event: field("event"), data: JSON.parse(field("data")) };
        continue;
      }
      const { done, value } = await this.#reader.read();
      if (done) return null;
      this.#text += value;
    }
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}

describe("file events as server-sent events", () => {
  test("begin now, carry cursors as ids, and go on after Last-Event-ID", async () => {
    const { handler, workspace, storage } = await startMemoryServer();
    const path = `/workspace/${workspace}/files/events`;
    const stream = await Stream.open(handler, path);
    expect(Object.fromEntries(stream.response.headers)).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    expect(await stream.next()).toEqual({
      id: "0",
      event: "ready",
      data: { cursor: 0, workspaceId: workspace },
    });
    for (const name of ["a", "b", "c"]) await put(storage, name, name);
    for (const [index, name] of ["a", "b", "c"].entries()) {
      expect(await stream.next()).toMatchObject({
        id: String(index + 1),
        event: "",
        data: { type: "write", path: name },
      });
    }
    await stream.cancel();
    const resumed = await Stream.open(handler, `${path}?since=0`, { headers: { "last-event-id": "2" } });
    expect(await resumed.next()).toMatchObject({ event: "ready", data: { cursor: 2 } });
    expect(await resumed.next()).toMatchObject({ id: "3", data: { path: "c" } });
    const fromStart = await Stream.open(handler, `${path}?since=1`);
    await fromStart.next();
    expect(await fromStart.next()).toMatchObject({ id: "2", data: { path: "b" } });
    expect(await fromStart.next()).toMatchObject({ id: "3", data: { path: "c" } });
    await handler.close();
    expect(await resumed.next()).toBeNull();
    expect(await fromStart.next()).toBeNull();
  });

  test("a change right after the answer began is told, whoever made it", async () => {
    for (const at of ["/files/events", "/events"]) {
      const server = await startDiskServer();
      for (let n = 0; n < 300; n += 1) writeFileSync(join(server.dir, `file-${n}`), "");
      const stream = await Stream.open(server.handler, `/workspace/${server.workspace}${at}`, {
        headers: { accept: "text/event-stream" },
      });
      writeFileSync(join(server.dir, "opencode.json"), '{"plugin":["news@1.0.0"]}');
      expect(await stream.next()).toMatchObject({ event: "ready" });
      expect(JSON.stringify((await stream.next())?.data)).toContain("opencode.json");
      await stream.cancel();
      await server.stop();
    }
  });

  test("a change right after a session was opened is told to a request that waits from the start", async () => {
    const server = await startDiskServer();
    for (let n = 0; n < 300; n += 1) writeFileSync(join(server.dir, `file-${n}`), "");
    const session = await SessionClient.open(server.client, server.workspace);
    writeFileSync(join(server.dir, "file-299"), "news");
    const { json } = await session.events("since=0&wait=5");
    expect(json).toMatchObject({ items: [{ seq: 1, type: "write", path: "file-299" }], cursor: 1 });
    await server.stop();
  });

  test("a reader from another life, or behind what is kept, is told to reset", async () => {
    const { handler, workspace } = await startMemoryServer();
    const stream = await Stream.open(handler, `/workspace/${workspace}/files/events?since=1234`);
    await stream.next();
    expect(await stream.next()).toEqual({ id: "0", event: "reset", data: { cursor: 0 } });
    await handler.close();
  });

  test("leave no listener behind, whichever side goes away", async () => {
    const host = memoryHost();
    const handler = await createHandler(host);
    const { id } = host.config.workspaces[0] ?? { id: "" };
    const path = `/workspace/${id}/files/events`;
    const streams: Stream[] = [];
    for (let n = 0; n < 32; n += 1) streams.push(await Stream.open(handler, path));
    expect((await Stream.open(handler, path)).response.status).toBe(429);
    for (const stream of streams) await stream.next();
    for (const stream of streams) await stream.cancel();
    const aborter = new AbortController();
    const aborted: Stream[] = [];
    for (let n = 0; n < 32; n += 1)
      aborted.push(await Stream.open(handler, path, { signal: aborter.signal }));
    expect((await Stream.open(handler, path)).response.status).toBe(429);
    aborter.abort();
    await eventually(async () => {
      const stream = await Stream.open(handler, path);
      expect(stream.response.status).toBe(200);
      await stream.cancel();
    });
    const head = new Request(`http://server.test${path}`, {
      method: "HEAD",
      headers: { authorization: `Bearer ${clientToken}` },
    });
    for (let n = 0; n < 40; n += 1) expect((await handler(head.clone())).status).toBe(200);
    await handler.close();
  });

  test("end when the token is revoked", async () => {
    const { handler, client, workspace, storage } = await startMemoryServer();
    const { json } = await client.post("/tokens", { scope: "viewer" }, { token: null, host: true });
    const stream = await Stream.open(handler, `/workspace/${workspace}/files/events`, { token: json.token });
    await stream.next();
    await client.delete(`/tokens/${json.id}`, { token: null, host: true });
    await put(storage, "secret", "news");
    expect(await stream.next()).toBeNull();
    await handler.close();
  });

  test("workspace events come the same way to whoever accepts them so", async () => {
    const { handler, workspace, client } = await startMemoryServer();
    const stream = await Stream.open(handler, `/workspace/${workspace}/events`, {
      headers: { accept: "text/event-stream" },
    });
    expect(await stream.next()).toMatchObject({ event: "ready" });
    await client.post(`/workspace/${workspace}/plugins`, { spec: "one@1.0.0" });
    expect(await stream.next()).toMatchObject({ id: "1", data: { reason: "plugins" } });
    expect((await client.get(`/workspace/${workspace}/events`)).json.items).toHaveLength(1);
    await handler.close();
  });
});

test("a silent stream beats, and a feed knows no reader once its stream has ended", async () => {
  const feed = new Feed<{ seq: number }>(10);
  const slots = new Quota({ perToken: 1, total: 1 }, { message: "full", retryAfter: 1 });
  const gone = new AbortController();
  const reply = eventStream({
    signal: gone.signal,
    next: async (_waitMs, signal) =>
      (await feed.wait(0, 30, signal)).items.map((item) => ({ id: item.seq, data: item })),
    onEnd: slots.take("token").release,
  });
  const stream = "stream" in reply ? new Response(reply.stream).body : null;
  const reader = stream?.pipeThrough(new TextDecoderStream()).getReader();
  expect((await reader?.read())?.value).toMatch(/^retry: \d+\n\n$/);
  expect((await reader?.read())?.value).toMatch(/^: .+\n\n$/);
  const reading = reader?.read();
  expect(slots.taken).toBe(1);
  gone.abort();
  expect((await reading)?.done).toBe(true);
  expect([feed.waiting, slots.taken]).toEqual([0, 0]);
  expect(() => slots.take("token")).not.toThrow();
  expect(createMemoryStorage()).toBeTruthy();
});
