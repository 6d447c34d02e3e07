import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ApiError } from "../../lib/errors.ts";
import { readForm } from "../../lib/http/multipart.ts";
import { formOf, joined } from "../support/forms.ts";

/** A body that comes in the given pieces, and how far it was read. */
function bodyOf(pieces: readonly Uint8Array[]): { stream: ReadableStream<Uint8Array>; taken: () => number } {
  let taken = 0;
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const piece = pieces[taken];
        taken += 1;
        if (piece) controller.enqueue(piece);
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, taken: () => taken };
}

/** The same of a body that is read into the memory of its reader, who reads into the same again. */
function bytesOf(pieces: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const left = pieces.filter((piece) => piece.length > 0);
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      const piece = left.shift();
      if (piece) controller.enqueue(piece.slice());
      else controller.close();
      if (!piece) controller.byobRequest?.respond(0);
    },
  });
}

const text = (value: Uint8Array): string => new TextDecoder().decode(value);

async function partsOf(
  pieces: readonly Uint8Array[],
  type: string,
  stream: ReadableStream<Uint8Array> = bodyOf(pieces).stream,
): Promise<unknown[]> {
  const parts: unknown[] = [];
  for await (const part of readForm(stream, type)) {
    if (part.kind === "field") parts.push([part.name, part.value]);
    else
      parts.push([
        part.name,
        part.filename,
        [...new Uint8Array(await new Response(part.body).arrayBuffer())],
      ]);
  }
  return parts;
}

function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [...ends, bytes.length].map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

const evil = "--B\r\n--\r\n----B-\r\n--B\n--";

describe("forms (I80)", () => {
  test("parts come out as they went in, wherever the body is cut", async () => {
    const bytes = fc.oneof(fc.uint8Array(), fc.constant(new TextEncoder().encode(evil)));
    const part = fc.record({
      name: fc.constantFrom("file", "path", "ü"),
      filename: fc.option(fc.constantFrom("a.txt", '日本 "q"', "x y"), { nil: undefined }),
      body: bytes,
    });
    const boundary = fc.constantFrom("X", "----WebKit7-", "a--b-");
    await fc.assert(
      fc.asyncProperty(
        fc.array(part, { maxLength: 4 }),
        fc.array(fc.nat()),
        boundary,
        async (parts, places, mark) => {
          const sent = parts.map(({ name, filename, body }) => ({
            name,
            body,
            ...(filename === undefined ? {} : { filename }),
          }));
          const { body, headers } = formOf(sent, mark);
          const expected = sent.map(({ name, filename, body: content }) =>
            filename === undefined ? [name, text(content)] : [name, filename, [...content]],
          );
          const pieces = cut(body, places);
          const type = headers["content-type"] ?? "";
          expect(await partsOf(pieces, type)).toEqual(expected);
          expect(await partsOf(pieces, type, bytesOf(pieces))).toEqual(expected);
        },
      ),
    );
  });

  test("a cut at every single place changes nothing", async () => {
    const { body, headers } = formOf(
      [
        { name: "path", body: "p" },
        { name: "file", filename: "f", body: "a-\r\n--b" },
      ],
      "--B-",
    );
    const type = headers["content-type"] ?? "";
    const expected = await partsOf([body], type);
    for (let at = 1; at < body.length; at += 1) {
      expect(await partsOf([body.subarray(0, at), body.subarray(at)], type)).toEqual(expected);
    }
    expect(
      await partsOf(
        [...body].map((byte) => Uint8Array.of(byte)),
        type,
      ),
    ).toEqual(expected);
  });

  test("a file is handed on as it comes: the body is read no further than the reader asks", async () => {
    const piece = new Uint8Array(1000);
    const { body: form, headers } = formOf([{ name: "file", filename: "f", body: "" }]);
    const end = form.length - "\r\n------boundary7MA4YWxk--\r\n".length;
    const { stream, taken } = bodyOf([form.subarray(0, end), ...Array.from({ length: 100 }, () => piece)]);
    for await (const part of readForm(stream, headers["content-type"] ?? "")) {
      if (part.kind !== "file") continue;
      const reader = part.body.getReader();
      await reader.read();
      await reader.read();
      expect(taken()).toBeLessThan(6);
      break;
    }
  });

  test("an extended name that cannot be decoded is told as what it is", async () => {
    for (const escapes of ["%zz", "%", "%E0%A4", "a%c3"]) {
      const form = `--B\r\nContent-Disposition: form-data; name="file"; filename="f"; filename*=UTF-8''${escapes}\r\n\r\nx\r\n--B--`;
      await expect(
        partsOf([new TextEncoder().encode(form)], "multipart/form-data; boundary=B"),
      ).rejects.toThrow("the %XX escapes of a filename* are no UTF-8");
    }
  });

  const head = 'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n';
  test.each([
    ["nothing", ""],
    ["no boundary at all", "hello"],
    ["another boundary", `--Z\r\n${head}x\r\n--Z--`],
    ["no end", `--B\r\n${head}x`],
    ["an end cut short", `--B\r\n${head}x\r\n--B-`],
    ["headers cut short", `--B\r\nContent-Dis`],
    ["a header that is none", `--B\r\nno header\r\n\r\nx\r\n--B--`],
    ["a header of control characters", `--B\r\nA: \x01\r\n\r\nx\r\n--B--`],
    ["headers without end", `--B\r\nA: ${"x".repeat(20_000)}\r\n\r\nx\r\n--B--`],
    [
      "two hundred parts",
      `${`--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n`.repeat(200)}--B--`,
    ],
    [
      "a field without end",
      `--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n${"x".repeat(100_000)}\r\n--B--`,
    ],
    ["a disposition that is none", `--B\r\nContent-Disposition: form-data; name="a" b\r\n\r\nx\r\n--B--`],
    [
      "a bad extended name",
      `--B\r\nContent-Disposition: form-data; name="a"; filename*=UTF-8''%zz\r\n\r\nx\r\n--B--`,
    ],
  ])("%s is a 400 that says so", async (_, form) => {
    const promise = partsOf([new TextEncoder().encode(form)], "multipart/form-data; boundary=B");
    await expect(promise).rejects.toMatchObject({ code: "invalid_payload" });
  });

  test("no boundary in the header", async () => {
    await expect(partsOf([], "multipart/form-data")).rejects.toBeInstanceOf(ApiError);
  });

  test("any bytes: parts or a 400, never anything else", async () => {
    const piece = fc.oneof(
      fc.uint8Array(),
      fc
        .constantFrom("--B", "\r\n", "--", "\r\n--B\r\n", head, "\r\n--B--\r\n", "Content-Disposition: ")
        .map((text) => new TextEncoder().encode(text)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece), async (pieces) => {
        const outcome = await partsOf([joined(pieces)], "multipart/form-data; boundary=B").catch(
          (error: unknown) => error,
        );
        if (!Array.isArray(outcome)) expect(outcome).toMatchObject({ code: "invalid_payload" });
      }),
    );
  });
});
