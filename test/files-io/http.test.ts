import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { attachment, decodeExtended, dispositionParameters } from "../../lib/http/content-disposition.ts";
import {
  checkConditions,
  checkWriteConditions,
  lastModifiedOf,
  rangeStillApplies,
} from "../../lib/http/conditions.ts";
import { parseRange } from "../../lib/http/range.ts";
import { mediaTypeOf } from "../../lib/http/media-type.ts";
import type { Entry } from "../../lib/storage.ts";
import { processorTime } from "../support/processor-time.ts";

describe("byte ranges (I56)", () => {
  test.each([
    ["bytes=0-0", 10, { start: 0, end: 0 }],
    ["bytes=2-5", 10, { start: 2, end: 5 }],
    ["bytes=5-", 10, { start: 5, end: 9 }],
    ["bytes=5-100", 10, { start: 5, end: 9 }],
    ["bytes=-3", 10, { start: 7, end: 9 }],
    ["bytes=-30", 10, { start: 0, end: 9 }],
    ["BYTES=1-2", 10, { start: 1, end: 2 }],
    ["bytes=10-", 10, "unsatisfiable"],
    ["bytes=99999999999999999999999-", 10, "unsatisfiable"],
    ["bytes=-0", 10, "unsatisfiable"],
    ["bytes=0-", 0, "unsatisfiable"],
    ["bytes=-5", 0, null],
    ["bytes=5-2", 10, null],
    ["bytes=-", 10, null],
    ["bytes=0-1,3-4", 10, null],
    ["items=0-1", 10, null],
    ["bytes 0-1", 10, null],
    ["bytes=a-b", 10, null],
    [null, 10, null],
  ])("%s of %i bytes", (header, size, expected) => {
    expect(parseRange(header, size)).toEqual(expected);
  });

  test("whatever is sent, a range lies within the body", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(..."bytes=-0123456789, ") }),
        fc.nat(1000),
        (text, size) => {
          const range = parseRange(`bytes=${text}`, size);
          if (range === null || range === "unsatisfiable") return;
          expect(range.start).toBeGreaterThanOrEqual(0);
          expect(range.end).toBeGreaterThanOrEqual(range.start);
          expect(range.end).toBeLessThan(size);
        },
      ),
    );
  });
});

describe("conditions (I56)", () => {
  const mtimeMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
  const entry: Entry = { path: "a", kind: "file", size: 5, mtimeMs, revision: "17:5" };
  const date = "Fri, 02 Jan 2026 03:04:05 GMT";
  const earlier = "Fri, 02 Jan 2026 03:04:04 GMT";

  test.each([
    [{}, "go"],
    [{ "if-none-match": '"17:5"' }, "not_modified"],
    [{ "if-none-match": 'W/"17:5"' }, "not_modified"],
    [{ "if-none-match": '"x", "17:5"' }, "not_modified"],
    [{ "if-none-match": "*" }, "not_modified"],
    [{ "if-none-match": '"18:5"' }, "go"],
    [{ "if-modified-since": date }, "not_modified"],
    [{ "if-modified-since": earlier }, "go"],
    [{ "if-modified-since": "nonsense" }, "go"],
    [{ "if-modified-since": "Friday, 02-Jan-26 03:04:05 GMT" }, "not_modified"],
    [{ "if-modified-since": "Fri Jan  2 03:04:05 2026" }, "not_modified"],
    [{ "if-modified-since": "Thu Jan  1 03:04:05 2026" }, "go"],
    [{ "if-modified-since": "2099-01-01" }, "go"],
    [{ "if-modified-since": "nonsense 2099" }, "go"],
    [{ "if-modified-since": "9999" }, "go"],
    [{ "if-unmodified-since": "nonsense 5" }, "go"],
    [{ "if-unmodified-since": "5" }, "go"],
    [{ "if-none-match": '"18:5"', "if-modified-since": date }, "go"],
    [{ "if-match": '"17:5"' }, "go"],
    [{ "if-match": 'W/"17:5"' }, "failed"],
    [{ "if-match": '"18:5"' }, "failed"],
    [{ "if-unmodified-since": date }, "go"],
    [{ "if-unmodified-since": earlier }, "failed"],
    [{ "if-match": '"17:5"', "if-unmodified-since": earlier }, "go"],
  ])("GET with %j: %s", (headers, expected) => {
    expect(checkConditions(new Headers(headers), entry)).toBe(expected);
  });

  test.each([
    [{}, null, true],
    [{ "if-none-match": "*" }, null, true],
    [{ "if-none-match": "*" }, entry, false],
    [{ "if-match": "*" }, null, false],
    [{ "if-match": "*" }, entry, true],
    [{ "if-match": '"17:5"' }, entry, true],
    [{ "if-match": '"17:5"' }, null, false],
    [{ "if-match": '"16:5"' }, entry, false],
  ])("a write with %j", (headers, current, expected) => {
    expect(checkWriteConditions(new Headers(headers), current)).toBe(expected);
  });

  test.each([
    ['"17:5"', true],
    ['W/"17:5"', false],
    ['"18:5"', false],
    [date, true],
    [earlier, false],
    ["2026-01-02T03:04:05Z", false],
  ])("If-Range: %s", (value, expected) => {
    expect(rangeStillApplies(new Headers({ "if-range": value }), entry)).toBe(expected);
  });

  test("a date written in the same second is no strong validator", () => {
    expect(rangeStillApplies(new Headers({ "if-range": date }), entry, mtimeMs + 300)).toBe(false);
  });

  test("Last-Modified is never in the future", () => {
    expect(lastModifiedOf({ mtimeMs: Number.MAX_SAFE_INTEGER }, mtimeMs)).toBe(date);
  });
});

describe("names of downloads (I43)", () => {
  test.each([
    ["deep.txt", 'attachment; filename="deep.txt"'],
    ["a b.txt", 'attachment; filename="a b.txt"'],
    ['say "hi".txt', "attachment; filename=\"say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt"],
    ["日本.txt", "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"],
    ["100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"],
    ["a\nb\\'(*)", "attachment; filename=\"a_b_'(*)\"; filename*=UTF-8''a%0Ab%5C%27%28%2A%29"],
  ])("%j", (name, expected) => {
    expect(attachment(name)).toBe(expected);
  });

  test("every name survives, in a header that every client can read", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        const header = attachment(name);
        expect(header).toMatch(/^[\x20-\x7e]*$/);
        const parameters = dispositionParameters(header);
        const read = decodeExtended(parameters?.get("filename*") ?? "") ?? parameters?.get("filename");
        expect(read).toBe(name.toWellFormed());
      }),
    );
  });

  test.each([
    ['form-data; name="file"; filename="a\\"b.txt"', { name: "file", filename: 'a"b.txt' }],
    ['form-data; name="file"; filename="a%22b%0D%0A.txt"', { name: "file", filename: 'a"b\r\n.txt' }],
    ['form-data; name="file"; filename="日本.txt"', { name: "file", filename: "日本.txt" }],
    ["form-data; name=file; filename=plain.txt", { name: "file", filename: "plain.txt" }],
    ['form-data ;NAME = "x"; name="y"', { name: "x" }],
    ["form-data", {}],
  ])("a part's header: %s", (header, expected) => {
    expect(Object.fromEntries(dispositionParameters(header) ?? [])).toEqual(expected);
  });

  test("long and odd headers are read in no time", () => {
    for (const header of [
      `;${" a=\\".repeat(50_000)}`,
      `;a="${"\\".repeat(100_001)}`,
      `;${";".repeat(100_000)}`,
    ]) {
      const started = processorTime();
      dispositionParameters(header);
      expect(processorTime() - started).toBeLessThan(400);
    }
  });
});

test.each([
  ["a.md", "text/markdown; charset=utf-8"],
  ["a.JSON", "application/json; charset=utf-8"],
  ["a.svg", "image/svg+xml; charset=utf-8"],
  ["a.png", "image/png"],
  ["dir.png/main.ts", "text/x-typescript; charset=utf-8"],
  ["Makefile", "application/octet-stream"],
  ["f", "application/octet-stream"],
  ["src/html", "application/octet-stream"],
  [".json", "application/octet-stream"],
  ["a.__proto__", "application/octet-stream"],
])("the media type of %s (I56)", (name, expected) => {
  expect(mediaTypeOf(name)).toBe(expected);
});
