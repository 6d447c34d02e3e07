import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { begin as beginRequest, type CallOptions, outcomeOf, type Outcome } from "../support/proxy-server.ts";
import { answerOf, chunk, chunkedHead, Gate, RawTarget, reset } from "../support/raw-target.ts";
import { clientToken, freshDirectory, startServer, type TestServer } from "../support/server.ts";

/** A connection whose writes a test can hold back, so that records which left one by one arrive together. */
class Held extends Duplex {
  readonly raw: Socket;
  #held: Buffer[] | null = null;

  constructor(raw: Socket) {
    super();
    this.raw = raw;
    raw.on("data", (bytes) => this.push(bytes)).on("end", () => this.push(null));
    raw.on("close", () => this.destroy());
  }

  hold(): void {
    this.#held = [];
  }

  release(): void {
    this.raw.write(Buffer.concat(this.#held ?? []));
    this.#held = null;
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    if (this.#held) {
      this.#held.push(bytes);
      callback();
    } else this.raw.write(bytes, callback);
  }

  override _final(callback: () => void): void {
    this.raw.end(callback);
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.raw.destroy();
    callback(error);
  }
}

let dir: string;
/** Signed by nobody else, for this address; and for another name. */
let own: SecureContext;
let foreign: SecureContext;

async function certificate(name: string, subject: string): Promise<SecureContext> {
  const [key, cert] = [join(dir, `${name}.key`), join(dir, `${name}.pem`)];
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"];
  const names = ["-addext", `subjectAltName=${subject}`, "-keyout", key, "-out", cert];
  execFileSync("openssl", [...request, ...names], { stdio: "ignore" });
  return createSecureContext({ key: await readFile(key), cert: await readFile(cert) });
}

/** What carries a TLS connection of a target. */
const carriers = new WeakMap<Socket, Held>();

function dressed(context: () => SecureContext) {
  return (raw: Socket): Socket => {
    const held = new Held(raw);
    const socket = new TLSSocket(held, { isServer: true, secureContext: context() });
    carriers.set(socket, held);
    return socket;
  };
}

const target = new RawTarget(dressed(() => own));
const other = new RawTarget(dressed(() => foreign));
const plain = new RawTarget();
/** Servers whose engine is one of these; all but the last know who signed. */
let server: TestServer;
let strangers: TestServer;
let toPlain: TestServer;
let distrusting: TestServer;

beforeAll(async () => {
  dir = await freshDirectory("tls");
  own = await certificate("own", "IP:127.0.0.1");
  foreign = await certificate("foreign", "DNS:engine.example");
  await Promise.all([target.start(), other.start(), plain.start()]);
  const start = (port: number, trusted?: string): Promise<TestServer> =>
    startServer({
      flags: ["--opencode-base-url", `https://127.0.0.1:${port}`],
      env: trusted === undefined ? {} : { NODE_EXTRA_CA_CERTS: join(dir, trusted) },
    });
  server = await start(target.port, "own.pem");
  strangers = await start(other.port, "foreign.pem");
  toPlain = await start(plain.port);
  distrusting = await start(target.port);
});

afterAll(async () => {
  for (const one of [server, strangers, toPlain, distrusting]) await one?.stop();
  for (const one of [target, other, plain]) one.stop();
  await rm(dir, { recursive: true, force: true });
});

beforeEach(() => {
  target.answer = ({ socket, line }) => socket.write(answerOf(line));
});

const begin = (path: string, options?: CallOptions): ReturnType<typeof beginRequest> =>
  beginRequest({ port: Number(new URL(server.url).port) }, path, { token: clientToken, ...options });
const call = async (path: string, options?: CallOptions): Promise<Outcome> =>
  outcomeOf(await begin(path, options));

/** Answers with writes each of which is a record, all of which arrive at once; at last, maybe, with the end. */
function answerAtOnce(parts: readonly string[], ends = false): void {
  target.answer = async ({ socket, body }) => {
    await body();
    const carrier = carriers.get(socket);
    carrier?.hold();
    for (const part of parts) await new Promise((resolve) => socket.write(part, "latin1", resolve));
    if (ends) socket.end();
    // The end of a TLS connection is a record too.
    await new Promise(setImmediate);
    carrier?.release();
  };
}

describe("an engine behind https", () => {
  test("is asked and answers, over connections that are kept", async () => {
    await call("/warm");
    const before = target.connections.length;
    for (let i = 0; i < 3; i += 1) expect((await call(`/${i}`)).body).toBe(`GET /${i}`);
    expect(target.connections).toHaveLength(before);
    target.answer = async ({ socket, body }) => socket.write(answerOf(await body()));
    const sent = "x".repeat(300_000);
    const headers = { "content-length": String(sent.length) };
    const { body } = await call("/x", { method: "POST", body: sent, headers });
    expect(body === sent).toBe(true);
  });

  const long = "abcdefghij".repeat(1000);

  // What acts is recorded first, on the disk: the body is claimed long after it came.
  test.each(["GET", "POST"])(
    "has its answers read whole, however records and reads fall (%s)",
    async (method) => {
      const sized = (count: number): string =>
        `HTTP/1.1 200 OK\r\nContent-Length: ${count * long.length}\r\n\r\n`;
      for (const [parts, body] of [
        [[sized(0)], ""],
        [["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"], "hello"],
        [["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "ll", "o"], "hello"],
        [[sized(1), long], long],
        [[sized(5), ...Array.from({ length: 5 }, () => long)], long.repeat(5)],
        [[chunkedHead, chunk(long), chunk(long), "0\r\n\r\n"], long.repeat(2)],
        [[`${chunkedHead}5\r\nhe`, "llo\r", "\n0\r\n", "\r\n"], "hello"],
        [["HTTP/1.1 100 Continue\r\n\r\n", sized(1), long], long],
      ] as const) {
        answerAtOnce(parts);
        const got = await call("/x", { method });
        expect([got.status, got.body.length, got.isWhole]).toEqual([200, body.length, true]);
        expect(got.body === body).toBe(true);
      }
      answerAtOnce(["HTTP/1.0 200 OK\r\n\r\n", long, long], true);
      const { body, isWhole } = await call("/x", { method });
      expect([body === long.repeat(2), isWhole]).toEqual([true, true]);
    },
  );

  test("gets nothing passed off as its answer that came behind it", async () => {
    answerAtOnce(["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello", answerOf("poison")]);
    expect((await call("/x", { method: "POST" })).body).toBe("hello");
    target.answer = ({ socket, line }) => socket.write(answerOf(line));
    expect((await call("/next")).body).toBe("GET /next");
  });

  test.each([
    ["a body of known length", `HTTP/1.1 200 OK\r\nContent-Length: ${2 * long.length}\r\n\r\n${long}`],
    ["chunks", chunkedHead + chunk(long)],
  ])("that breaks off in %s gives no whole answer", async (_name, text) => {
    for (const breakOff of [
      (socket: Socket) => reset(carriers.get(socket)?.raw ?? socket),
      (socket: Socket) => socket.end(),
      (socket: Socket) => carriers.get(socket)?.raw.end(),
    ]) {
      const gate = new Gate();
      target.answer = async ({ socket }) => {
        socket.write(text);
        await gate.passed;
        breakOff(socket);
      };
      const answer = await begin("/x");
      gate.open();
      expect((await outcomeOf(answer)).isWhole).toBe(false);
    }
  });

  test("is held up by a caller that reads slowly, and loses nothing by it", async () => {
    const count = 4000;
    let sent = 0;
    target.answer = async ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${count * long.length}\r\n\r\n`);
      for (; sent < count; sent += 1) await new Promise((resolve) => socket.write(long, resolve));
    };
    const answer = await begin("/x");
    answer.pause();
    let before = -1;
    await expect
      .poll(() => [before === sent && before > 0, (before = sent)][0], { interval: 500, timeout: 20_000 })
      .toBe(true);
    expect(sent).toBeLessThan(count);
    const { body, isWhole } = await outcomeOf(answer);
    expect([body === long.repeat(count), isWhole]).toEqual([true, true]);
  });

  test("is let go when the caller goes away", async () => {
    target.answer = ({ socket }) => socket.write(chunkedHead + chunk(long));
    const answer = await begin("/x");
    await once(answer, "data");
    answer.on("error", () => undefined).destroy();
    await expect.poll(() => target.newest.destroyed).toBe(true);
  });
});

describe("an engine that is not trusted, or speaks something else, is a 502 that says so", () => {
  test("signed by somebody unknown", async () => {
    const before = target.requests.length;
    const { status, json } = await distrusting.request("GET", "/opencode/x");
    expect([status, json]).toMatchObject([
      502,
      {
        code: "opencode_unreachable",
        message: expect.stringMatching(/SELF_SIGNED.*NODE_EXTRA_CA_CERTS/) as string,
        details: { target: `https://127.0.0.1:${target.port}` },
      },
    ]);
    expect((await distrusting.request("POST", "/opencode/x", { json: {} })).status).toBe(502);
    // Not a byte of a request, and of its credentials, went there.
    expect(target.requests).toHaveLength(before);
  });

  test("in the name of another", async () => {
    const { status, json } = await strangers.request("GET", "/opencode/x");
    expect([status, json["code"]]).toEqual([502, "opencode_unreachable"]);
    expect(json["message"]).toMatch(/ALTNAME/);
    expect(other.requests).toEqual([]);
  });

  test("without TLS", async () => {
    let web: Server | null = createServer((_req, res) => res.end());
    await once(web.listen(0, "127.0.0.1"), "listening");
    const { port } = web.address() as AddressInfo;
    const asked = await startServer({ flags: ["--opencode-base-url", `https://127.0.0.1:${port}`] });
    const { status, json } = await asked.request("GET", "/opencode/x");
    expect([status, json["code"]]).toEqual([502, "opencode_unreachable"]);
    expect(json["message"]).toMatch(/its URL should begin with http:/);
    await asked.stop();
    web.close();
    web = null;
  });

  test("that closes before it has introduced itself", async () => {
    plain.answer = ({ socket }) => socket.end();
    // It waits for the end of a head, which a greeting of TLS has none of.
    const closing = setInterval(() => void plain.hangUp(), 50);
    const { status, json } = await toPlain.request("GET", "/opencode/x");
    clearInterval(closing);
    expect([status, json]).toMatchObject([
      502,
      { code: "opencode_unreachable", details: { cause: "ECONNRESET" } },
    ]);
  });
});
