import { expect, it } from "vitest";
import { itemStream } from "../../lib/files/batches.ts";

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
  return { begun, reader: itemStream(makers, 8).getReader() };
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
