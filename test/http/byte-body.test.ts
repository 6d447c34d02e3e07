import { randomBytes } from "node:crypto";
import { createServer, request as httpRequest } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { toNodeListener } from "../../adapters/node.ts";
import { PieceReader } from "../../lib/http/piece-reader.ts";
import { requestBody } from "../../lib/http/request-body.ts";
import { ApiError } from "../../lib/errors.ts";

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Serves a handler with what else listens to its requests; answers the port. */
async function serve(
  handler: (request: Request) => Promise<Response>,
  before: (req: IncomingMessage) => void = () => undefined,
): Promise<number> {
  const listener = toNodeListener(handler);
  const server = createServer((req, res) => {
    before(req);
    listener(req, res);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function send(port: number, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    const req = httpRequest({ port, host: "127.0.0.1", method: "PUT" }, (res) => {
      let text = "";
      res.on("data", (chunk) => (text += String(chunk)));
      // Of what is still going out nobody wants to know.
      res.once("end", () => resolve(text)).once("close", () => req.destroy());
    });
    req.on("error", reject);
    // Without a length, which would tell what is too large beforehand.
    req.write(bytes);
    req.end();
  });
}

const tooLarge = (size: number): ApiError => new ApiError("file_too_large", `${size}`);

/** Reads the body in pieces, slowly at times, and keeps copies. */
async function read(request: Request): Promise<{ bytes: Buffer; reuses: boolean }> {
  const reader = new PieceReader(requestBody(request, Infinity, tooLarge));
  const kept: Uint8Array[] = [];
  for (let piece = await reader.read(); piece; piece = await reader.read()) {
    kept.push(piece.slice());
    if (kept.length % 7 === 0) await sleep(1);
  }
  return { bytes: Buffer.concat(kept), reuses: reader.reusesMemory };
}

describe("a request body on Node that is read into memory of the reader's own", () => {
  test("comes out as it went in, of every size", async () => {
    let got: Awaited<ReturnType<typeof read>> | null = null;
    const port = await serve(async (request) => {
      got = await read(request);
      return new Response("ok");
    });
    for (const size of [0, 1, 65_536, 262_144, 262_145, 5_000_001]) {
      const sent = randomBytes(size);
      expect(await send(port, sent)).toBe("ok");
      expect(got).toMatchObject({ reuses: true });
      expect((got as { bytes: Buffer } | null)?.bytes.equals(sent)).toBe(true);
    }
  });

  test("is the same to a reader without memory, who may keep every piece", async () => {
    const kept: Uint8Array[] = [];
    const port = await serve(async (request) => {
      for await (const piece of requestBody(request, Infinity, tooLarge)) kept.push(piece);
      return new Response("ok");
    });
    const sent = randomBytes(3_000_000);
    await send(port, sent);
    expect(Buffer.concat(kept).equals(sent)).toBe(true);
  });

  test("leaves alone what another listener of the request was given", async () => {
    const seen: Buffer[] = [];
    const port = await serve(
      async (request) => {
        await read(request);
        return new Response("ok");
      },
      (req) => req.on("data", (bytes: Buffer) => seen.push(bytes)),
    );
    const sent = randomBytes(1_000_000);
    await send(port, sent);
    expect(Buffer.concat(seen).equals(sent)).toBe(true);
  });

  test("stops its sender while nobody reads, and answers one who sends too much", async () => {
    const port = await serve(async (request) => {
      const reader = new PieceReader(requestBody(request, 1_000_000, tooLarge));
      await reader.read();
      const before = process.memoryUsage().arrayBuffers;
      await sleep(200);
      const grown = process.memoryUsage().arrayBuffers - before;
      try {
        while (await reader.read());
      } catch (error) {
        return new Response(`${error instanceof ApiError ? error.code : "?"} ${grown < 4_000_000}`);
      }
      return new Response("read");
    });
    expect(await send(port, Buffer.alloc(20_000_000))).toBe("file_too_large true");
  });

  test("fails when its client goes away", async () => {
    const failed = new Promise<unknown>((resolve) => {
      void serve(async (request) => {
        await read(request).then(() => resolve("whole"), resolve);
        return new Response("ok");
      }).then((port) => {
        const socket = connect(port, "127.0.0.1");
        socket.write("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbeginning");
        setTimeout(() => socket.destroy(), 50);
      });
    });
    expect(await failed).toBeInstanceOf(Error);
  });
});
