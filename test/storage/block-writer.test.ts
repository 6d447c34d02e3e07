import * as fs from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { BlockPool, BlockWriter } from "../../adapters/storage/disk/block-writer.ts";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import type { DiskFs } from "../../adapters/storage/disk/fs.ts";
import { refused } from "./contract.ts";
import { faultyFs, systemError } from "./faulty-fs.ts";
import { leftovers, temporaryDir } from "./temporary-dir.ts";

const mebibyte = 1_048_576;
const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7919) >> 3);

/** A body of so many pieces. */
function bodyOf(pieces: number, piece: Uint8Array): ReadableStream<Uint8Array> {
  let left = pieces;
  return new ReadableStream(
    {
      pull(controller) {
        left -= 1;
        if (left >= 0) controller.enqueue(piece.slice());
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Calls on descriptors that have not come back, and those whose descriptor was closed meanwhile. */
function watchedFs(base: DiskFs): { fs: DiskFs; broken: string[]; most: () => number } {
  const inFlight = new Map<number, number>();
  const broken: string[] = [];
  let most = 0;
  const during = async <T>(fd: number, work: () => Promise<T>): Promise<T> => {
    inFlight.set(fd, (inFlight.get(fd) ?? 0) + 1);
    most = Math.max(most, inFlight.get(fd) ?? 0);
    try {
      await new Promise((resolve) => setTimeout(resolve, 3));
      return await work();
    } finally {
      inFlight.set(fd, (inFlight.get(fd) ?? 1) - 1);
    }
  };
  const watched: DiskFs = {
    ...base,
    write: (fd, ...rest) => during(fd, () => base.write(fd, ...rest)),
    fdatasync: (fd) => during(fd, () => base.fdatasync(fd)),
    closeSync: (fd) => {
      if ((inFlight.get(fd) ?? 0) > 0) broken.push(`closed ${fd} under a call`);
      base.closeSync(fd);
    },
  };
  return { fs: watched, broken, most: () => most };
}

/** What a system may take of a block; locks and journals are a matter of their own. */
const part = (length: number): number => (length > 20_000 ? Math.ceil(length / 3) : length);

const openDescriptors = (): number => fs.readdirSync("/proc/self/fd").length;

describe("a body that is written in blocks", () => {
  it("comes out as it went in, however it is cut", async () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 300_000 }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.constantFrom(0, mebibyte, 8 * mebibyte), async (lengths, limit) => {
        using dir = temporaryDir();
        const path = join(dir.path, "f");
        const fd = fs.openSync(path, "w");
        const pool = new BlockPool(limit);
        const writer = new BlockWriter(nodeFs, fd, () => undefined, pool);
        const pieces = lengths.map(bytesOf);
        for (const piece of pieces) {
          const room = writer.write(piece);
          if (room) await room;
          // Whoever gave the bytes may use their memory again.
          piece.fill(0);
        }
        await writer.end();
        await writer.release();
        fs.closeSync(fd);
        const written = fs.readFileSync(path);
        expect(written.equals(Buffer.concat(lengths.map(bytesOf)))).toBe(true);
        expect(pool.lent).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it("costs one call when it is small, and one for each mebibyte when it is large", async () => {
    using dir = temporaryDir();
    const calls: [string, number][] = [];
    const counting = faultyFs((call, _, args) => {
      if (call === "write" || call === "writeSync") calls.push([call, Number(args[3])]);
    });
    const storage = createDiskStorage(dir.path, { fs: counting });
    await storage.discard(await storage.stage("small", bodyOf(20, bytesOf(50))));
    expect(calls).toEqual([["writeSync", 1000]]);
    calls.length = 0;
    await storage.discard(await storage.stage("large", bodyOf(168, bytesOf(65_536))));
    expect(calls.length).toBeLessThan(20);
    expect(calls.at(-1)).toEqual(["write", mebibyte / 2]);
  });

  it("is written whole where the system takes a part of each block", async () => {
    using dir = temporaryDir();
    const short: DiskFs = {
      ...nodeFs,
      write: (fd, bytes, at, length) => nodeFs.write(fd, bytes, at, part(length)),
      writeSync: (fd, bytes, at, length) => nodeFs.writeSync(fd, bytes, at, part(length)),
    };
    const storage = createDiskStorage(dir.path, { fs: short });
    const staged = await storage.stage("f", bodyOf(50, bytesOf(70_001)));
    await storage.commit([{ op: "write", path: "f", body: staged }]);
    const expected = Buffer.concat(Array.from({ length: 50 }, () => bytesOf(70_001)));
    expect(fs.readFileSync(join(dir.path, "f")).equals(expected)).toBe(true);
  });

  it("shares memory with others, and does with little when there is none left", () => {
    const pool = new BlockPool(2 * mebibyte);
    const blocks = [pool.take(mebibyte), pool.take(mebibyte), pool.take(mebibyte)];
    expect(blocks.map(({ length }) => length)).toEqual([mebibyte, mebibyte, 65_536]);
    for (const block of blocks) pool.give(block);
    expect(pool.lent).toBe(0);
  });
});

describe("a body that cannot be written", () => {
  const pieces = 640;
  const piece = bytesOf(65_536);

  it("is refused and leaves nothing at whichever call fails", async () => {
    for (const [call, errno, code] of [
      ["write", "ENOSPC", "no_space"],
      ["write", "EIO", "io"],
      ["writeSync", "ENOSPC", "no_space"],
      ["fdatasync", "EIO", "io"],
      ["fsync", "EIO", "io"],
    ] as const) {
      for (let at = 0; ; at += call === "write" ? 9 : 1) {
        using dir = temporaryDir();
        let seen = 0;
        const { fs: watched, broken } = watchedFs(
          faultyFs((name) => {
            if (name !== call) return;
            seen += 1;
            if (seen === at + 1) throw systemError(errno, name);
          }),
        );
        const storage = createDiskStorage(dir.path, { fs: watched });
        const open = openDescriptors();
        const staging = storage.stage("f", bodyOf(pieces, piece));
        const end = await staging.then(
          () => "ok",
          () => "refused",
        );
        if (end === "refused") await refused(staging, code);
        expect(broken).toEqual([]);
        expect(openDescriptors()).toBe(open);
        // A call that was never made fails nothing.
        if (seen <= at) {
          expect(at).toBeGreaterThan(0);
          break;
        }
        expect([end, call, at]).toEqual(["refused", call, at]);
        expect(leftovers(dir.path)).toEqual([]);
      }
    }
  });

  it("tells its sender at once, also one that sends no more", async () => {
    using dir = temporaryDir();
    const storage = createDiskStorage(dir.path, {
      fs: faultyFs((call) => {
        if (call === "write") throw systemError("ENOSPC", call);
      }),
    });
    let left = 40;
    let cancelled = false;
    const stalling = new ReadableStream<Uint8Array>({
      pull(controller) {
        left -= 1;
        if (left >= 0) return controller.enqueue(piece.slice());
        return new Promise(() => undefined);
      },
      cancel: () => void (cancelled = true),
    });
    await refused(storage.stage("f", stalling), "no_space");
    expect(cancelled).toBe(true);
    expect(leftovers(dir.path)).toEqual([]);
  });

  it("keeps its descriptor open under a write when it is given up", async () => {
    for (let at = 1; at < 12; at += 1) {
      using dir = temporaryDir();
      const abort = new AbortController();
      let writes = 0;
      const {
        fs: watched,
        broken,
        most,
      } = watchedFs(
        faultyFs((call) => {
          if (call !== "write") return;
          writes += 1;
          if (writes === at) abort.abort(new Error("given up"));
        }),
      );
      const storage = createDiskStorage(dir.path, { fs: watched });
      const open = openDescriptors();
      await expect(storage.stage("f", bodyOf(pieces, piece), { signal: abort.signal })).rejects.toThrow(
        "given up",
      );
      expect(broken).toEqual([]);
      expect(most()).toBeGreaterThan(0);
      expect(openDescriptors()).toBe(open);
      expect(leftovers(dir.path)).toEqual([]);
    }
  });

  it("keeps it open as well when the sender breaks off or sends too much", async () => {
    using dir = temporaryDir();
    const { fs: watched, broken } = watchedFs(nodeFs);
    const storage = createDiskStorage(dir.path, { fs: watched });
    await refused(storage.stage("f", bodyOf(pieces, piece), { maxBytes: 20 * mebibyte }), "too_large");
    let left = 300;
    const breaking = new ReadableStream<Uint8Array>({
      pull(controller) {
        left -= 1;
        if (left >= 0) controller.enqueue(piece.slice());
        else controller.error(new Error("line cut"));
      },
    });
    await expect(storage.stage("f", breaking)).rejects.toThrow("line cut");
    expect(broken).toEqual([]);
    expect(leftovers(dir.path)).toEqual([]);
  });
});
