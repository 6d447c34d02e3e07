import { describe, expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { faultyFs, systemError } from "../storage/faulty-fs.ts";
import { temporaryDir } from "../storage/temporary-dir.ts";
import { configOf, startMemoryServer, workspaceAt, type MemoryHost } from "../support/memory-host.ts";

/** The errors in the log, beside the lines of requests. */
const told = ({ logged }: MemoryHost): string[] =>
  logged
    .filter(({ level, body }) => level === "ERROR" && !/ \d{3} \d+ms$/.test(body))
    .map(({ body, attributes }) => `${body}${attributes ? " with a stack" : ""}`);

/** A server whose workspace lies on a disk that answers every attempt to write with an error. */
async function startOn(fail: (call: string) => Error) {
  const dir = temporaryDir();
  const writes = /^(?:write|writeSync|mkdirSync|renameSync|linkSync)$/;
  const fs = faultyFs((call) => {
    if (writes.test(call)) throw fail(call);
  });
  const storage = createDiskStorage(dir.path, { watch: false, fs });
  const config = configOf({ workspaces: [workspaceAt(dir.path)] });
  const server = await startMemoryServer(config, { storage: () => storage });
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server.handler.close();
      dir[Symbol.dispose]();
    },
  };
}

describe("what a disk refuses", () => {
  it.each([
    ["ENOSPC", 507, "insufficient_storage", "the disk is full"],
    ["EDQUOT", 507, "insufficient_storage", "the disk quota is used up"],
    ["EIO", 500, "storage_failed", "EIO"],
    ["EROFS", 403, "storage_denied", "read-only file system"],
  ])("%s is a %i in words, and at most one line of the log", async (code, status, known, words) => {
    await using server = await startOn((call) => systemError(code, call));
    const { client, host, workspace } = server;
    const ws = `/workspace/${workspace}`;
    const answers = [
      await client.send("PUT", `${ws}/files/raw?path=a`, { body: "bytes" }),
      await client.post(`${ws}/plugins`, { spec: "one" }),
      await client.post(`${ws}/files/content`, { path: "a.md", content: "text" }),
    ];
    for (const answer of answers) {
      expect(answer).toMatchObject({
        status,
        json: { code: known, message: expect.stringContaining(words) },
      });
    }
    const line = (message: string): string => `A request failed with ${known}: ${message}`;
    expect(told(host)).toEqual(status < 500 ? [] : answers.map(({ json }) => line(json.message)));
  });

  it("a fault in the program is logged with its stack as ever", async () => {
    await using server = await startOn(() => new TypeError("nobody thought of this"));
    const { client, host, workspace } = server;
    const answer = await client.post(`/workspace/${workspace}/plugins`, { spec: "one" });
    expect(answer.status).toBe(500);
    expect(told(host)).toEqual([`A request failed with ${answer.json.code} with a stack`]);
  });
});
