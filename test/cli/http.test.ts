import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { fetchWithIdleLimit } from "../../adapters/node/fetch.ts";
import { ListenError, type HttpServer } from "../../adapters/http-server.ts";
import { NodeResponse, startHttpServer } from "../../adapters/node/http.ts";

let server: HttpServer | undefined;
const logged: string[] = [];

async function serve(answer: (request: Request) => Promise<Response>): Promise<HttpServer> {
  server = await startHttpServer({
    host: "127.0.0.1",
    port: 0,
    answer,
    log: (_level, body) => void logged.push(body),
  });
  return server;
}

afterEach(async () => {
  server?.stop();
  await server?.drained(0);
  server = undefined;
  logged.length = 0;
});

/** Writes bytes on a fresh connection and reads until the other side closes. */
function raw(text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(server?.port ?? 0, "127.0.0.1", () => socket.write(text));
    let answer = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => void (answer += chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
  });
}

/** The address a request arrived under. */
const echo = async (request: Request): Promise<Response> => NodeResponse.json({ url: request.url });
const closing = "Connection: close\r\n\r\n";
const bodyOf = (answer: string): unknown => JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4));

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i += 1) {
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
  expect(condition()).toBe(true);
}

describe("what is no request", () => {
  test.each([
    ["rubbish", "hello\r\n\r\n", 400],
    [
      "two lengths",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      400,
    ],
    ["no host", `GET / HTTP/1.1\r\n${closing}`, 400],
    ["a host that moves the path", `GET / HTTP/1.1\r\nHost: a/tokens?x=\r\n${closing}`, 400],
    ["a host that is none", `GET / HTTP/1.1\r\nHost: a:b:c\r\n${closing}`, 400],
    ["a target that is none", `GET foo HTTP/1.1\r\nHost: a\r\n${closing}`, 400],
    ["endless headers", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, 431],
  ])("%s is refused in JSON", async (_name, text, status) => {
    await serve(echo);
    const answer = await raw(text);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(bodyOf(answer)).toEqual({ code: "invalid_request", message: expect.any(String) });
  });
  test.each([
    ["absolute form", `GET http://other/x?y HTTP/1.1\r\nHost: a\r\n${closing}`, "http://a/x?y"],
    ["absolute form without path", `GET http://other HTTP/1.1\r\nHost: a\r\n${closing}`, "http://a/"],
    ["asterisk form", `OPTIONS * HTTP/1.1\r\nHost: a\r\n${closing}`, "http://a/"],
    ["an IPv6 host", `GET /x HTTP/1.1\r\nHost: [::1]:80\r\n${closing}`, "http://[::1]:80/x"],
  ])("%s is understood", async (_name, text, url) => {
    await serve(echo);
    expect(bodyOf(await raw(text))).toEqual({ url });
  });
});

test("a handler that throws gives a JSON 500 without internals, a log line, and a server that goes on", async () => {
  let calls = 0;
  const { port } = await serve(async (request) => {
    calls += 1;
    if (calls === 1) throw new Error("secret detail");
    return echo(request);
  });
  const bad = await fetch(`http://127.0.0.1:${port}/a?b`);
  const text = await bad.text();
  expect([bad.status, text.includes("secret"), JSON.parse(text).code]).toEqual([
    500,
    false,
    "internal_error",
  ]);
  await until(() => logged.length > 0);
  expect(logged).toEqual(["GET /a failed"]);
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
});

/** A stream that gives a chunk every 20 ms, until told to break or let go. */
function ticking(): {
  body: ReadableStream<Uint8Array>;
  breakIt: () => void;
  state: { cancelled: boolean };
} {
  const state = { cancelled: false };
  let control: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      control = controller;
      const timer = setInterval(() => {
        if (state.cancelled) clearInterval(timer);
        else controller.enqueue(new TextEncoder().encode("tick\n"));
      }, 20);
      timer.unref();
    },
    cancel() {
      state.cancelled = true;
    },
  });
  return {
    body,
    state,
    breakIt() {
      state.cancelled = true;
      control.error(new Error("source broke"));
    },
  };
}

describe("streams", () => {
  test.each([
    ["GET", "fast", NodeResponse],
    ["POST", "fast", NodeResponse],
    ["GET", "built-in", Response],
    ["POST", "built-in", Response],
  ] as const)(
    "a client that leaves a %s stream of the %s class lets its source go",
    async (method, _name, Class) => {
      const source = ticking();
      const { port } = await serve(async (request) => {
        if (method === "POST") await request.text();
        return new Class(source.body, { headers: { "content-type": "text/event-stream" } });
      });
      const gone = new AbortController();
      const response = await fetch(`http://127.0.0.1:${port}/`, {
        method,
        signal: gone.signal,
        ...(method === "POST" && { body: "x" }),
      });
      expect(response.headers.get("content-type")).toBe("text/event-stream");
      const reader = response.body?.getReader();
      expect(new TextDecoder().decode((await reader?.read())?.value)).toContain("tick");
      gone.abort();
      await until(() => source.state.cancelled);
    },
  );
  test("a source that breaks ends the connection, so that the client sees a torn answer, and nothing else", async () => {
    const source = ticking();
    const { port } = await serve(async () => new NodeResponse(source.body));
    const response = await fetch(`http://127.0.0.1:${port}/`);
    source.breakIt();
    await expect(response.text()).rejects.toThrow();
  });
  test("headers go out before the first chunk", async () => {
    const { port } = await serve(async () => new NodeResponse(new ReadableStream(), { status: 201 }));
    const answer = await new Promise<IncomingMessage>((resolve) => {
      httpRequest({ port, path: "/" }, resolve).end();
    });
    expect(answer.statusCode).toBe(201);
    answer.on("error", () => {});
    answer.destroy();
  });
  test("several cookies stay several", async () => {
    const headers = new Headers([
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
    ]);
    const { port } = await serve(async () => new Response("x", { headers }));
    const response = await fetch(`http://127.0.0.1:${port}/`);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  });
  test("HEAD of a stream has no body and lets the source go", async () => {
    const source = ticking();
    const { port } = await serve(async () => new NodeResponse(source.body, { headers: { "x-y": "z" } }));
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: "HEAD" });
    expect([response.headers.get("x-y"), await response.text()]).toEqual(["z", ""]);
    await until(() => source.state.cancelled);
  });
});

test("a connection that came to be idle is kept, and closed by a stop", async () => {
  const { port, stop, drained } = await serve(echo);
  await (await fetch(`http://127.0.0.1:${port}/`)).text();
  const started = performance.now();
  stop();
  await drained(30_000);
  expect(performance.now() - started).toBeLessThan(20_000);
});

test("a stop cuts what has not finished in time", async () => {
  const { port, stop, drained } = await serve(() => new Promise<Response>(() => {}));
  const answer = fetch(`http://127.0.0.1:${port}/`).catch((error: unknown) => error);
  await new Promise((resolve) => {
    setTimeout(resolve, 100);
  });
  stop();
  await drained(200);
  expect(await answer).toBeInstanceOf(Error);
});

test("an address in use is a ListenError", async () => {
  const { port } = await serve(echo);
  const again = startHttpServer({ host: "127.0.0.1", port, answer: echo, log: () => {} });
  await expect(again).rejects.toThrow(ListenError);
});

test("I65: requests to the engine have no idle limit, where the built-in client has one", async () => {
  const slow = createServer((_request, response) => {
    response.flushHeaders();
    setTimeout(() => response.end("late"), 2500);
  });
  await new Promise<void>((resolve) => {
    slow.listen(0, "127.0.0.1", resolve);
  });
  const url = `http://127.0.0.1:${(slow.address() as AddressInfo).port}/`;
  const [limited, free] = await Promise.allSettled(
    [500, 0].map(async (limit) => (await fetchWithIdleLimit(limit)(url)).text()),
  );
  slow.closeAllConnections();
  slow.close();
  expect(limited?.status).toBe("rejected");
  expect(free).toEqual({ status: "fulfilled", value: "late" });
});
