import { expect, it } from "vitest";
import { itemStream } from "../../lib/files/batches.ts";
import { viewerOf } from "../files-io/subjects.ts";
import { put, startMemoryServer } from "../support/memory-host.ts";
import { SessionClient } from "./support.ts";

const { signal } = new AbortController();

const made = (
  sizes: readonly number[],
): { begun: number[]; reader: ReadableStreamDefaultReader<Uint8Array> } => {
  const begun: number[] = [];
  const makers = sizes.map((size) => ({
    size,
    async make(lead: string) {
      begun.push(size);
      return new TextEncoder().encode(`${lead}${size}`);
    },
  }));
  return { begun, reader: itemStream(makers, { ahead: 8, signal, onEnd: () => undefined }).getReader() };
};

it("small files are read ahead of a client that takes its time, large ones are not", async () => {
  const small = made(Array.from({ length: 20 }, () => 1000));
  await small.reader.read();
  expect(small.begun).toHaveLength(8);

  const large = made([5_000_000, 5_000_000, 1000, 5_000_000]);
  await large.reader.read();
  expect(large.begun).toEqual([5_000_000]);
  let text = "";
  for (let next = await large.reader.read(); !next.done; next = await large.reader.read())
    text += new TextDecoder().decode(next.value);
  expect(text).toBe(",5000000,1000,5000000]}");
});

it("a token has 32 batches on their way, all together 64, until they are read, given up or their reader is gone", async () => {
  const { client, handler, storage, workspace } = await startMemoryServer();
  await put(storage, "a.txt", "text");
  const sessions = await Promise.all(
    [0, 1, 2].map(async () => SessionClient.open(client, workspace, { token: await viewerOf(client) })),
  );
  const gone = new AbortController();
  const begin = async ({ path, options }: SessionClient): Promise<Response> =>
    handler(
      new Request(`http://x${path}/read-batch`, {
        method: "POST",
        headers: { authorization: `Bearer ${options.token}`, "content-type": "application/json" },
        body: JSON.stringify({ paths: ["a.txt", "a.txt"] }),
        signal: gone.signal,
      }),
    );
  const [first, second, third] = sessions;
  if (!first || !second || !third) throw new Error("three sessions");
  const open: Response[] = [];
  for (const session of [first, second]) {
    for (let n = 0; n < 32; n += 1) open.push(await begin(session));
    const refused = await session.read("a.txt");
    expect(refused).toMatchObject({
      status: 429,
      json: { code: "too_many_requests", details: { perToken: 32 } },
    });
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  }
  expect(open.map(({ status }) => status)).toEqual(open.map(() => 200));
  expect(await third.read("a.txt")).toMatchObject({ status: 429, json: { details: { total: 64 } } });

  expect(await open[0]?.json()).toMatchObject({ items: [{ ok: true }, { ok: true }] });
  expect([(await first.read("a.txt")).status, (await third.read("a.txt")).status]).toEqual([200, 200]);
  const reader = open[32]?.body?.getReader();
  await reader?.read();
  expect((await second.read("a.txt")).status).toBe(429);
  await reader?.cancel();
  expect((await second.read("a.txt")).status).toBe(200);
  await begin(second);
  expect((await second.read("a.txt")).status).toBe(429);
  gone.abort();
  expect((await second.read("a.txt")).status).toBe(200);
  await handler.close();
});
