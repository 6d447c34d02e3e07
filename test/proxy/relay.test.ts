import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildOnce } from "../support/build.ts";
import { room } from "../support/raw-target.ts";
import { clientToken, startServer, type TestServer } from "../support/server.ts";

const megabyte = 1024 * 1024;
/** Of a length that no buffer has, so that a piece out of its place shows. */
const pattern = randomBytes(megabyte + 7919);

function* pieces(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= pattern.length) yield pattern.subarray(0, left);
}

function digest(length: number): string {
  const hash = createHash("sha256");
  for (const piece of pieces(length)) hash.update(piece);
  return hash.digest("hex");
}

const headOf = (length: number): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nX-Kept: yes\r\n\r\n`;

/** An answer to a question that nobody asked. */
const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/** A target that frames its answers by hand, and so can get them wrong. Paths: `/<kind>/<length>`. */
class Target {
  readonly connections = new Set<Socket>();
  /** How many connections there have been. */
  opened = 0;
  /** Body bytes that the system took for the newest answer. */
  sent = 0;
  /** The connection of the newest answer. */
  newest: Socket | null = null;
  readonly #server: Server = createServer((socket) => {
    this.connections.add(socket);
    this.opened += 1;
    socket.on("error", () => undefined).on("close", () => this.connections.delete(socket));
    void this.#serve(socket).catch(() => socket.destroy());
  });

  async start(): Promise<string> {
    await once(this.#server.listen(0, "127.0.0.1"), "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    for (const socket of this.connections) socket.destroy();
    this.#server.close();
  }

  async #serve(socket: Socket): Promise<void> {
    let text = "";
    for await (const chunk of socket) {
      text += String(chunk);
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        const [, kind = "", length = "0"] = /^\w+ \/(\w+)\/(\d+)/.exec(text) ?? [];
        const head = text.startsWith("HEAD");
        text = text.slice(end + 4);
        if (head) socket.write(headOf(Number(length)));
        else if (kind === "chunked") await this.#answerInChunks(socket, Number(length));
        else await this.#answer(socket, kind, Number(length));
      }
    }
  }

  /** In chunks of odd sizes, one of them with an extension, and a trailer behind them. */
  async #answerInChunks(socket: Socket, length: number): Promise<void> {
    this.newest = socket;
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kept: yes\r\n\r\n");
    for (const part of pieces(length)) {
      const cut = Math.min(part.length, 12_345);
      for (const chunk of [part.subarray(0, cut), part.subarray(cut)]) {
        if (chunk.length === 0) continue;
        socket.write(`${chunk.length.toString(16)};a=b\r\n`);
        if (!socket.write(Buffer.concat([chunk, Buffer.from("\r\n")]))) {
          await room(socket);
        }
        if (socket.destroyed) return;
      }
    }
    socket.write("0\r\nX-Trailer: 1\r\n\r\n");
  }

  async #answer(socket: Socket, kind: string, length: number): Promise<void> {
    this.sent = 0;
    this.newest = socket;
    socket.write(headOf(length));
    const missing = kind === "short" || kind === "reset" ? 1000 : 0;
    // In one piece with the end of the body, as far as it goes.
    const more = kind === "long" ? Buffer.from(poison) : Buffer.alloc(0);
    for (const part of pieces(length - missing)) {
      const piece = this.sent + part.length === length ? Buffer.concat([part, more]) : part;
      if (socket.destroyed) return;
      await new Promise<void>((resolve) => {
        socket.once("close", resolve);
        socket.write(piece, () => {
          socket.off("close", resolve);
          resolve();
        });
      });
      this.sent += piece.length;
    }
    if (kind === "short") socket.end();
    if (kind === "reset") socket.resetAndDestroy();
    if (kind === "late") setTimeout(() => socket.write(poison), 100);
  }
}

const authorization = `Bearer ${clientToken}`;

function request(kind: string, length: number, more = ""): string {
  return `GET /opencode/${kind}/${length} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: ${authorization}\r\n${more}\r\n`;
}

async function digestOf(body: AsyncIterable<Uint8Array>): Promise<{ length: number; hash: string }> {
  const hash = createHash("sha256");
  let length = 0;
  for await (const chunk of body) {
    hash.update(chunk);
    length += chunk.length;
  }
  return { length, hash: hash.digest("hex") };
}

describe("large answers, which are read into memory that is used again", () => {
  const target = new Target();
  let server: TestServer;

  beforeAll(async () => {
    const command = [process.execPath, "--trace-gc", join(await buildOnce(), "adapters/cli.js")];
    const flags = ["--opencode-base-url", await target.start(), "--no-log-requests"];
    server = await startServer({ command, flags });
  });

  afterAll(async () => {
    await server?.stop();
    target.stop();
  });

  const address = (path: string): string => `${server.url}/opencode${path}`;

  /** Collections of garbage so far. */
  function collections(): number {
    return server.log().split(/Scavenge|Mark-Compact/).length;
  }

  function open(path: string, agent?: Agent): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      get(address(path), { headers: { authorization }, agent: agent ?? false }, resolve).on("error", reject);
    });
  }

  test.each(["right", "chunked"])(
    "make no garbage to speak of (%s)",
    async (kind) => {
      await digestOf(await open(`/${kind}/${20 * megabyte}`));
      const before = collections();
      const length = 200 * megabyte;
      expect((await digestOf(await open(`/${kind}/${length}`))).length).toBe(length);
      // Of a buffer for each piece come a dozen.
      expect(collections() - before).toBeLessThan(5);
    },
    60_000,
  );

  test("come as they are, of whatever length, and the caller's connection is kept", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number | undefined>();
    const lengths = [0, 5, megabyte - 1, megabyte, megabyte + 1, 10 * megabyte + 3, 7, 30 * megabyte];
    for (const length of lengths) {
      const answer = await open(`/right/${length}`, agent);
      ports.add(answer.socket.localPort);
      expect(answer.headers).toMatchObject({ "content-length": String(length), "x-kept": "yes" });
      expect(await digestOf(answer), String(length)).toEqual({ length, hash: digest(length) });
    }
    expect(ports.size).toBe(1);
    agent.destroy();
  });

  test("come in chunks as they came in chunks, without what was for this server alone", async () => {
    for (const length of [1, 12_345, megabyte, 30 * megabyte]) {
      const answer = await open(`/chunked/${length}`);
      expect(answer.headers["x-kept"]).toBe("yes");
      expect(await digestOf(answer), String(length)).toEqual({ length, hash: digest(length) });
      expect(answer.trailers).toEqual({});
    }
  });

  test("leave the connection to the target for the next request", async () => {
    await digestOf(await open("/right/1"));
    const before = target.opened;
    for (const kind of ["right", "chunked", "right"]) {
      const length = 5 * megabyte;
      expect(await digestOf(await open(`/${kind}/${length}`))).toEqual({ length, hash: digest(length) });
    }
    expect(target.opened).toBe(before);
  });

  test("come many at a time, none mixed up with another", async () => {
    const lengths = Array.from({ length: 12 }, (_, i) => 5 * megabyte + 70_001 * i);
    const expected = lengths.map((length) => ({ length, hash: digest(length) }));
    const answers = await Promise.all(
      lengths.map((length, i) => open(`/${i % 3 === 0 ? "chunked" : "right"}/${length}`)),
    );
    expect(await Promise.all(answers.map(digestOf))).toEqual(expected);
  });

  test.each(["right", "long"])(
    "come in turns to a caller that asks for several at once (%s)",
    async (kind) => {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      const first = request(kind, 3 * megabyte) + request(kind, 2 * megabyte);
      socket.write(first + request(kind, 9, "Connection: close\r\n"));
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      const all = Buffer.concat(chunks);
      let at = 0;
      for (const length of [3 * megabyte, 2 * megabyte, 9]) {
        expect(all.subarray(at, at + 9).toString()).toBe("HTTP/1.1 ");
        at = all.indexOf("\r\n\r\n", at) + 4;
        const hash = createHash("sha256").update(all.subarray(at, at + length));
        expect(hash.digest("hex")).toBe(digest(length));
        at += length;
      }
      expect(all.length).toBe(at);
    },
  );

  test("have no body when only their headers were asked for", async () => {
    const options = { method: "HEAD", headers: { authorization } };
    for (let i = 0; i < 2; i += 1) {
      const answer = await fetch(address(`/right/${5 * megabyte}`), options);
      expect(answer.headers.get("content-length")).toBe(String(5 * megabyte));
      expect((await answer.arrayBuffer()).byteLength).toBe(0);
    }
  });

  test("wait for a caller that reads slowly", async () => {
    const length = 100 * megabyte;
    const answer = await open(`/right/${length}`);
    answer.pause();
    let before = -1;
    // The system holds some megabytes for each connection.
    await expect
      .poll(() => [before === target.sent && before > 0, (before = target.sent)][0], {
        interval: 500,
        timeout: 10_000,
      })
      .toBe(true);
    expect(target.sent).toBeLessThan(40 * megabyte);
    expect(await digestOf(answer)).toEqual({ length, hash: digest(length) });
  }, 60_000);

  test("end for the target when the caller goes away", async () => {
    const answer = await open(`/right/${200 * megabyte}`);
    await once(answer, "data");
    answer.on("error", () => undefined).destroy();
    await expect.poll(() => target.newest?.destroyed).toBe(true);
    expect(target.sent).toBeLessThan(150 * megabyte);
  });

  test.each(["short", "reset"])("break off when the target does (%s)", async (kind) => {
    await expect(open(`/${kind}/${5 * megabyte}`).then(digestOf)).rejects.toThrow("aborted");
  });

  test.each([8, 5 * megabyte])("with more than announced end where they said (%i bytes)", async (length) => {
    for (let i = 0; i < 3; i += 1) {
      expect(await digestOf(await open(`/long/${length}`))).toEqual({ length, hash: digest(length) });
    }
    const next = await digestOf(await open(`/right/9`));
    expect(next).toEqual({ length: 9, hash: digest(9) });
  });

  test.each([8, 5 * megabyte])("are not followed by what nobody asked for (%i bytes)", async (length) => {
    expect(await digestOf(await open(`/late/${length}`))).toEqual({ length, hash: digest(length) });
    const connection = target.newest;
    // Less than an idle connection is kept for.
    await expect.poll(() => connection?.destroyed, { timeout: 2000 }).toBe(true);
    expect(await digestOf(await open(`/right/9`))).toEqual({ length: 9, hash: digest(9) });
  });
});
