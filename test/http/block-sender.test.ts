import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, openSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Response } from "@whatwg-node/server";
import { afterEach, describe, expect, test } from "vitest";
import { toNodeListener } from "../../adapters/node.ts";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { temporaryDir } from "../storage/temporary-dir.ts";

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Serves the file `f` of a directory. */
async function serve(dir: string): Promise<number> {
  const storage = createDiskStorage(dir);
  const listener = toNodeListener(
    async () => {
      const file = await storage.read("f");
      const headers = { "content-length": String(file?.entry.size) };
      return new Response(file?.body ?? null, { headers });
    },
    { log: () => undefined },
  );
  const server = createServer(listener).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function ask(port: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get({ port, host: "127.0.0.1", agent: false }, resolve).on("error", reject);
  });
}

/** What comes, read slowly at times. */
async function whole(res: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of res) {
    pieces.push(piece);
    if (pieces.length % 9 === 0) await sleep(1);
  }
  return Buffer.concat(pieces);
}

const opened = (path: string): number =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  }).length;

describe("a file that is sent on Node", () => {
  test("comes whole, of every size, to several at a time", async () => {
    using dir = temporaryDir();
    const port = await serve(dir.path);
    for (const size of [0, 1, 65_537, 262_144, 262_145, 6_000_001]) {
      const bytes = randomBytes(size);
      writeFileSync(join(dir.path, "f"), bytes);
      const answers = await Promise.all([1, 2, 3].map(async () => whole(await ask(port))));
      expect(answers.map((answer) => answer.equals(bytes))).toEqual([true, true, true]);
    }
  });

  test("costs no memory for what its reader does not take", async () => {
    using dir = temporaryDir();
    writeFileSync(join(dir.path, "f"), Buffer.alloc(80_000_000, 7));
    const port = await serve(dir.path);
    const res = await ask(port);
    const before = process.memoryUsage().arrayBuffers;
    await sleep(300);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000);
    expect((await whole(res)).length).toBe(80_000_000);
  });

  test("is let go of when its reader goes away, and breaks off when it shrinks", async () => {
    using dir = temporaryDir();
    const path = join(dir.path, "f");
    writeFileSync(path, Buffer.alloc(40_000_000, 7));
    const port = await serve(dir.path);
    const gone = await ask(port);
    await sleep(50);
    expect(opened(path)).toBe(1);
    gone.destroy();
    await expect.poll(() => opened(path)).toBe(0);

    const cut = await ask(port);
    await sleep(50);
    const fd = openSync(path, "r+");
    ftruncateSync(fd, 1000);
    closeSync(fd);
    await expect(whole(cut)).rejects.toMatchObject({ code: "ECONNRESET" });
    await expect.poll(() => opened(path)).toBe(0);
  });
});
