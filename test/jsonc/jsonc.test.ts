import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jsoncProperty, jsoncValue, parseJsonc, positionOf } from "../../lib/jsonc/parse.ts";
import { jsonValue, objectOf, printerChoices, printJsonc } from "./arbitrary.ts";
import { processorTime } from "../support/processor-time.ts";

const read = (text: string): unknown => {
  const { root, problems } = parseJsonc(text);
  if (!root) throw new Error(JSON.stringify(problems));
  return jsoncValue(root);
};

describe("reading JSONC", () => {
  test("comments, trailing commas and a byte-order mark are fine", () => {
    expect(read('\uFEFF// c\n{ /* d */ "a": [1, 2,], }\n')).toEqual({ a: [1, 2] });
  });

  test("any value comes back from any print of it", () => {
    fc.assert(
      fc.property(jsonValue, printerChoices, (value, choices) => {
        expect(JSON.stringify(read(printJsonc(value, choices)))).toBe(JSON.stringify(value));
      }),
      { numRuns: 500 },
    );
  });

  test("I27: the last of duplicate keys wins", () => {
    expect(read('{"a":1,"b":2,"a":3}')).toEqual({ a: 3, b: 2 });
    const { root } = parseJsonc('{"a":1,"a":3}');
    expect(root && jsoncProperty(root, "a")?.offset).toBe(7);
  });

  test("I52: __proto__ and constructor are keys as any other", () => {
    const value = read('{"__proto__": {"x": 1}, "constructor": 2}') as object;
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(Object.keys(value)).toEqual(["__proto__", "constructor"]);
    expect(({} as { x?: unknown }).x).toBeUndefined();
    expect(JSON.stringify(value)).toBe(
      JSON.stringify(
        objectOf([
          ["__proto__", { x: 1 }],
          ["constructor", 2],
        ]),
      ),
    );
  });

  test.each([
    ["", [{ code: "ValueExpected", offset: 0, length: 0 }]],
    ["  // only a comment\n", [{ code: "ValueExpected", offset: 20, length: 0 }]],
    ['{"a" 1}', [{ code: "ColonExpected", offset: 5, length: 1 }]],
    ['{"a": 1 "b": 2}', [{ code: "CommaExpected", offset: 8, length: 3 }]],
    ['{"a": 1', [{ code: "CloseBraceExpected", offset: 7, length: 0 }]],
    [
      '{"a": [1',
      [
        { code: "CloseBracketExpected", offset: 8, length: 0 },
        { code: "CloseBraceExpected", offset: 8, length: 0 },
      ],
    ],
    ["{} x", [{ code: "InvalidSymbol", offset: 3, length: 1 }]],
    ["{} {}", [{ code: "EndOfFileExpected", offset: 3, length: 1 }]],
  ])("I26: %j is broken, and where is told", (text, problems) => {
    expect(parseJsonc(text)).toEqual({ root: null, problems });
  });

  test("offsets behind a byte-order mark are those of the file", () => {
    expect(parseJsonc('\uFEFF{"a" 1}').problems).toEqual([{ code: "ColonExpected", offset: 6, length: 1 }]);
  });

  test("endless nesting and endless errors are refused quickly", () => {
    const started = processorTime();
    for (const text of ["[".repeat(1e5), '{"a":'.repeat(1e5), `${"[".repeat(300)}1${"]".repeat(300)}`]) {
      expect(parseJsonc(text).problems?.[0]?.code).toBe("NestingTooDeep");
    }
    expect(parseJsonc("x ".repeat(1e5)).problems).toHaveLength(100);
    expect(processorTime() - started).toBeLessThan(2000);
    expect(parseJsonc(`${"[".repeat(199)}1${"]".repeat(199)}`).problems).toBeNull();
  });

  test("no text makes the parser throw", () => {
    const noise = fc.array(
      fc.constantFrom(
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        '"',
        "a",
        "1",
        "//",
        "/*",
        "*/",
        "\n",
        " ",
        "\\",
        "-",
        "\uFEFF",
      ),
    );
    fc.assert(
      fc.property(noise, (pieces) => {
        const { root, problems } = parseJsonc(pieces.join(""));
        expect(root === null).toBe(problems !== null && problems.length > 0);
        if (root) jsoncValue(root);
      }),
      { numRuns: 2000 },
    );
  });

  test("positions count all three line endings", () => {
    expect(positionOf("a\r\nb\rc\nd", 7)).toEqual({ line: 4, column: 1 });
    expect(positionOf("abc", 2)).toEqual({ line: 1, column: 3 });
  });
});
