import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientToken, startServer, type TestServer } from "../support/server.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";

let upstream: Upstream;
let server: TestServer;
let port: number;

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startServer({ flags: ["--opencode-base-url", upstream.url] });
  port = Number(new URL(server.url).port);
});

afterAll(async () => {
  await server?.stop();
  await upstream?.stop();
});

/** Sends bytes as they are and returns all that comes until the server closes or half a second passes in silence. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text, "latin1"));
    let answer = "";
    const done = (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(500, done);
    socket.on("data", (data) => (answer += data.toString("latin1")));
    socket.on("end", done).on("error", reject);
  });
}

/** An answer may follow the JSON of another. */
const statuses = (answer: string): number[] =>
  [...answer.matchAll(/(?:^|\})HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));
const auth = `Host: x\r\nAuthorization: Bearer ${clientToken}\r\n`;
/** A request that must never arrive upstream as one of its own. */
const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";

async function arrivals(text: string): Promise<{ answer: string; urls: string[] }> {
  const before = upstream.arrived.length;
  const answer = await raw(text);
  return { answer, urls: upstream.arrived.slice(before).map(({ method, url }) => `${method} ${url}`) };
}

describe("requests that two servers might read differently (CVE-2025-59139)", () => {
  test.each([
    [
      "length beside chunks",
      `POST /opencode/a HTTP/1.1\r\n${auth}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      "chunks beside length",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      "two lengths",
      `POST /opencode/a HTTP/1.1\r\n${auth}Content-Length: 0\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    ],
    ["a length list", `POST /opencode/a HTTP/1.1\r\n${auth}Content-Length: 0, 5\r\n\r\n${hidden}`],
    ["a signed length", `POST /opencode/a HTTP/1.1\r\n${auth}Content-Length: +5\r\n\r\nhello`],
    ["a hexadecimal length", `POST /opencode/a HTTP/1.1\r\n${auth}Content-Length: 0x5\r\n\r\nhello`],
    [
      "an unknown coding",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      "chunked not last",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    [
      "a blank before the colon",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ["a folded header", `POST /opencode/a HTTP/1.1\r\n${auth}X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n`],
    ["a bare line feed in a header", `GET /opencode/a HTTP/1.1\r\n${auth}X-A: b\nX-Evil: 1\r\n\r\n`],
    [
      "a broken chunk size",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n`,
    ],
    ["a NUL in a header", `GET /opencode/a HTTP/1.1\r\n${auth}X-A: a\0b\r\n\r\n`],
    ["a blank in the target", `GET /opencode/a HTTP/1.1 /x HTTP/1.1\r\n${auth}\r\n`],
    ["another protocol", `GET /opencode/a HTTP/3.0\r\n${auth}\r\n`],
    [
      "two hosts in one",
      `GET /opencode/a HTTP/1.1\r\nHost: x/../y\r\nAuthorization: Bearer ${clientToken}\r\n\r\n`,
    ],
    [
      "two Host headers",
      `GET /opencode/hidden HTTP/1.1\r\nHost: x\r\nHost: y\r\nAuthorization: Bearer ${clientToken}\r\n\r\n`,
    ],
    ["two credentials", `GET /opencode/hidden HTTP/1.1\r\n${auth}Authorization: Bearer another\r\n\r\n`],
    [
      "two credentials of an upgrade",
      `GET /opencode/hidden HTTP/1.1\r\n${auth}Authorization: Bearer another\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    ],
    [
      "headers beyond all measure",
      `GET /opencode/a HTTP/1.1\r\n${auth}X-Long: ${"a".repeat(20_000)}\r\n\r\n`,
    ],
  ])("%s is refused and nothing hidden arrives", async (_name, text) => {
    const { answer, urls } = await arrivals(text);
    expect(statuses(answer)[0]).toBeGreaterThanOrEqual(400);
    expect(statuses(answer)[0]).toBeLessThan(500);
    expect(urls.filter((url) => url.includes("hidden"))).toEqual([]);
    expect((await server.request("GET", "/health")).status).toBe(200);
  });

  test.each([
    [
      "upper-case chunks",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    ],
    [
      "a chunk extension",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n`,
    ],
    [
      "capital hex digits",
      `POST /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nA\r\nhellohello\r\n0\r\n\r\n`,
    ],
  ])("%s arrive as one body", async (_name, text) => {
    const { answer, urls } = await arrivals(text);
    expect(statuses(answer)).toEqual([200]);
    expect(urls).toEqual(["POST /a"]);
    expect(upstream.last().body).toMatch(/^(hello)+$/);
  });

  test.each(["DELETE", "OPTIONS", "TRACE", "PROPFIND", "POST"])(
    "the body of %s is framed, so that it never becomes a request of its own",
    async (method) => {
      const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
      const text = `${method} /opencode/a HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunk}`;
      const { urls } = await arrivals(text);
      expect(urls.filter((url) => url.includes("hidden"))).toEqual([]);
      if (urls.length > 0) expect(upstream.last().body).toBe(hidden);
    },
  );

  test("a GET with a body leaves the next request of the connection alone", async () => {
    const first = `GET /opencode/a HTTP/1.1\r\n${auth}Content-Length: 5\r\n\r\nhello`;
    const { answer, urls } = await arrivals(
      `${first}GET /opencode/b HTTP/1.1\r\n${auth}Connection: close\r\n\r\n`,
    );
    expect(statuses(answer)).toEqual([200, 200]);
    expect(urls).toEqual(["GET /a", "GET /b"]);
  });

  test("a body that is cut short never arrives as a whole one", async () => {
    const { urls } = await arrivals(`POST /opencode/a HTTP/1.1\r\n${auth}Content-Length: 50\r\n\r\nhello`);
    expect(urls).toEqual([]);
  });
});

const get = (target: string): Promise<{ answer: string; urls: string[] }> =>
  arrivals(`GET ${target} HTTP/1.1\r\n${auth}Connection: close\r\n\r\n`);

describe("targets in odd forms (GHSA-79qm-7rj5-m7r9, CVE-2025-47269)", () => {
  test.each([
    ["/opencode//a//b", "GET //a//b"],
    ["/opencode/a%2Fb", "GET /a%2Fb"],
    ["/opencode/a/../b", "GET /b"],
    ["/opencode/a/%2e%2e/b", "GET /b"],
    ["/opencode/a/..%2fb", "GET /a/..%2fb"],
    ["/opencode/%2e%2e%2fx", "GET /%2e%2e%2fx"],
    ["http://evil.example/opencode/a", "GET /a"],
    ["/opencode/http://evil.example/a", "GET /http://evil.example/a"],
    ["/opencode/@evil.example/", "GET /@evil.example/"],
    ["/opencode?x=/opencode/y", "GET /?x=/opencode/y"],
    ["/opencode/a?b=c#d", "GET /a?b=c"],
  ])("%s goes to the configured engine as %s", async (target, expected) => {
    const { answer, urls } = await get(target);
    expect(statuses(answer)).toEqual([200]);
    expect(urls).toEqual([expected]);
  });

  test.each([
    "//opencode/a",
    "/opencode/../tokens",
    "/opencode/%2e%2e/tokens",
    "/%6fpencode/a",
    "/opencodex/a",
    "/w//opencode/a",
    "evil.example:80",
    "*",
    "/\\evil.example/opencode/a",
  ])("%s goes nowhere", async (target) => {
    const { answer, urls } = await get(target);
    expect(statuses(answer)[0]).toBeGreaterThanOrEqual(400);
    expect(urls).toEqual([]);
  });

  test("CONNECT makes no tunnel", async () => {
    const answer = await raw(`CONNECT 127.0.0.1:${upstream.port} HTTP/1.1\r\n${auth}\r\n${hidden}`);
    expect(answer).not.toContain(" 200 ");
  });

  test("a header named in Connection cannot take away what this server adds", async () => {
    await raw(
      `GET /opencode/a HTTP/1.1\r\n${auth}Connection: close, X-OpenCode-Directory, Authorization\r\n\r\n`,
    );
    expect(upstream.last().headers["x-opencode-directory"]).toBe(server.workspace);
  });
});
