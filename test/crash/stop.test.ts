import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startServer } from "../support/server.ts";

test("a server that is told to stop right after a batch leaves neither journal nor lock", async () => {
  const server = await startServer();
  try {
    const { json } = await server.request<{ session: { id: string } }>("POST", "~/files/sessions", {
      json: {},
    });
    const writes = Array.from({ length: 20 }, (_, n) => ({
      path: `batch/file-${n}`,
      contentBase64: Buffer.alloc(50_000, n).toString("base64"),
    }));
    const path = `/files/sessions/${json.session.id}/write-batch`;
    const answer = await server.request<{ items: { ok: boolean }[] }>("POST", path, { json: { writes } });
    expect(answer.json.items.every(({ ok }) => ok)).toBe(true);
    const names = (): Promise<string[]> => readdir(server.workspace, { recursive: true });
    process.kill(server.pid, "SIGTERM");
    expect((await server.exited).code).toBe(0);
    expect((await names()).filter((name) => name.includes(".owtmp-"))).toEqual([]);
    expect(await readFile(join(server.workspace, "batch/file-19"))).toEqual(Buffer.alloc(50_000, 19));
  } finally {
    await server.stop();
  }
});
