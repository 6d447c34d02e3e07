import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { editJsonc } from "../../lib/jsonc/edit.ts";
import { sameJson } from "../../lib/json.ts";
import { jsoncValue, parseJsonc, type JsoncNode } from "../../lib/jsonc/parse.ts";
import { jsonObjectValue, jsonValue, objectOf, printerChoices, printJsonc } from "./arbitrary.ts";
import { processorTime } from "../support/processor-time.ts";

function tree(text: string): JsoncNode {
  const { root, problems } = parseJsonc(text);
  if (!root) throw new Error(`${JSON.stringify(text)}: ${JSON.stringify(problems)}`);
  return root;
}

const read = (text: string): unknown => jsoncValue(tree(text));
const edit = (text: string, value: unknown): string => editJsonc(text, tree(text), value);
/** Edits as a handler does: a function of the value that is there. */
const change = (text: string, by: (config: any) => unknown): string => edit(text, by(read(text))); // oxlint-disable-line typescript/no-explicit-any -- any shape

const commented = `// top
{
  // about model
  "model": "a/b", // tail
  "plugin": [
    "one@1", // first
    // "off",
    "two" // why two
  ],
  "mcp": {
    // search
    "search": { "type": "remote", "url": "u" },
    "files": {
      "type": "local",
      /* kept */ "command": ["npx", "files"]
    }
  }
}
`;

/** The lines of `after` that are not in `before`, and the other way round. */
function lineDiff(before: string, after: string): { gone: string[]; come: string[] } {
  const old = before.split("\n");
  const fresh = after.split("\n");
  return {
    gone: old.filter((line) => !fresh.includes(line)),
    come: fresh.filter((line) => !old.includes(line)),
  };
}

describe("editing JSONC by example", () => {
  test("one setting is a diff of one line", () => {
    const after = change(commented, (c) => ({ ...c, model: "c/d" }));
    expect(lineDiff(commented, after)).toEqual({
      gone: ['  "model": "a/b", // tail'],
      come: ['  "model": "c/d", // tail'],
    });
  });

  test("an added element is inserted: the list and its comments stay", () => {
    const after = change(commented, (c) => ({ ...c, plugin: [...c.plugin, "three"] }));
    expect(lineDiff(commented, after)).toEqual({
      gone: ['    "two" // why two'],
      come: ['    "two", // why two', '    "three"'],
    });
  });

  test("after a trailing comma it is one new line, with a trailing comma", () => {
    const before = '{\n  "plugin": [\n    "a",\n  ],\n}\n';
    expect(change(before, (c) => ({ ...c, plugin: ["a", "b"] }))).toBe(
      '{\n  "plugin": [\n    "a",\n    "b",\n  ],\n}\n',
    );
  });

  test("a removed element takes only itself", () => {
    const after = change(commented, (c) => ({ ...c, plugin: ["two"] }));
    expect(after).toBe(commented.replace('    "one@1", // first\n', "    // first\n"));
    expect(change(commented, (c) => ({ ...c, plugin: ["one@1"] }))).toBe(
      commented
        .replace('"one@1", // first', '"one@1" // first')
        .replace('    "two" // why two', "    // why two"),
    );
  });

  test("one entry of an object is changed in its place, others keep their bytes", () => {
    const after = change(commented, (c) => ({
      ...c,
      mcp: { ...c.mcp, search: { type: "remote", url: "v" } },
    }));
    expect(after).toBe(commented.replace('"url": "u"', '"url": "v"'));
    const inner = change(commented, (c) => ({
      ...c,
      mcp: { ...c.mcp, files: { type: "local", command: ["npx", "files", "x"] } },
    }));
    expect(inner).toBe(commented.replace('["npx", "files"]', '["npx", "files", "x"]'));
  });

  test("one entry of an object is removed, others keep their bytes", () => {
    const after = change(commented, (c) => ({ ...c, mcp: { files: c.mcp.files } }));
    expect(after).toBe(commented.replace('    "search": { "type": "remote", "url": "u" },\n', ""));
  });

  test("new values follow the file's tabs and line endings", () => {
    const before = '{\r\n\t"a": 1\r\n}';
    expect(change(before, (c) => ({ ...c, mcp: { x: { y: [1] } } }))).toBe(
      '{\r\n\t"a": 1,\r\n\t"mcp": {\r\n\t\t"x": {\r\n\t\t\t"y": [\r\n\t\t\t\t1\r\n\t\t\t]\r\n\t\t}\r\n\t}\r\n}\r\n',
    );
  });

  test("new values follow four spaces", () => {
    expect(change('{\n    "a": {\n        "b": 1\n    }\n}\n', (c) => ({ ...c, n: [1] }))).toBe(
      '{\n    "a": {\n        "b": 1\n    },\n    "n": [\n        1\n    ]\n}\n',
    );
  });

  test("a file on one line stays on one line, spaced as it is", () => {
    expect(change('{"from":"json"}', (c) => ({ ...c, added: [true, { x: 1 }] }))).toBe(
      '{"from":"json","added":[true,{"x":1}]}\n',
    );
    expect(change('{ "from": "json" }\n', (c) => ({ ...c, added: [true, { x: 1 }] }))).toBe(
      '{ "from": "json", "added": [true, { "x": 1 }] }\n',
    );
  });

  test("an empty object opens up; comments in it stay", () => {
    expect(edit("{}", { a: { b: 1 } })).toBe('{\n  "a": {\n    "b": 1\n  }\n}\n');
    expect(edit("{ // mine\n}\n", { a: 1 })).toBe('{ // mine\n  "a": 1\n}\n');
    expect(edit('{\n  "mcp": {}\n}\n', { mcp: { a: 1 } })).toBe('{\n  "mcp": {\n    "a": 1\n  }\n}\n');
  });

  test("a list that becomes empty closes; comments in it stay", () => {
    expect(edit('{\n  "p": [\n    "a"\n  ]\n}\n', { p: [] })).toBe('{\n  "p": []\n}\n');
    expect(edit('{\n  "p": [\n    // why\n    "a"\n  ]\n}\n', { p: [] })).toBe(
      '{\n  "p": [\n    // why\n  ]\n}\n',
    );
  });

  test("I27: of duplicate keys the one that counts is changed; removing takes all", () => {
    expect(edit('{"a":1,"a":2}\n', { a: 3 })).toBe('{"a":1,"a":3}\n');
    expect(edit('{\n  "a": 1,\n  "b": 0,\n  "a": 2\n}\n', { b: 0 })).toBe('{\n  "b": 0\n}\n');
  });

  test("a byte-order mark stays", () => {
    expect(edit('\uFEFF{\n  "a": 1\n}\n', { a: 2 })).toBe('\uFEFF{\n  "a": 2\n}\n');
  });

  test("an order that changed is written, since readers may go by it", () => {
    const before = '{\n  "bash": { "*": "ask", "git *": "allow" }\n}\n';
    const after = edit(before, { bash: { "git *": "allow", "*": "ask" } });
    expect(after).toBe('{\n  "bash": { "git *": "allow", "*": "ask" }\n}\n');
  });

  test("a large change of a large file takes no time to speak of", () => {
    const many = Array.from({ length: 30_000 }, (_, index) => `"p${index}"`);
    for (const separator of [",", ",\n  "]) {
      const text = `{"plugin":[${many.join(separator)}],"x":{}}`;
      const started = processorTime();
      const odd = (read(text) as { plugin: string[] }).plugin.filter((_, index) => index % 2 === 0);
      const after = edit(text, {
        plugin: [...odd, "new"],
        x: Object.fromEntries(odd.map((name) => [name, 1])),
      });
      expect(processorTime() - started).toBeLessThan(2000);
      expect((read(after) as { plugin: string[] }).plugin).toHaveLength(odd.length + 1);
    }
  });
});

/** Top-level changes as PATCH makes them. */
const patch = fc.uniqueArray(
  fc.tuple(
    fc.constantFrom("a", "b", "c", "plugin", "mcp", "1", "n1", "n2", "__proto__"),
    fc.option(jsonValue, { nil: undefined }),
  ),
  { maxLength: 4, selector: ([key]) => key },
);

function patched(
  base: Record<string, unknown>,
  entries: readonly (readonly [string, unknown])[],
): Record<string, unknown> {
  const result = objectOf(Object.entries(base));
  for (const [key, value] of entries) {
    if (value === undefined) delete result[key];
    else result[key] = value;
  }
  return result;
}

/** Spans of text that a change from one object to another may rewrite: the values that differ. */
function changedSpans(root: JsoncNode, after: Record<string, unknown>): [number, number][] {
  if (root.kind !== "object") return [];
  return root.items
    .filter(
      (item) =>
        !sameJson(jsoncValue(item.value), after[item.key ?? ""]) || !Object.hasOwn(after, item.key ?? ""),
    )
    .map((item) => [item.offset, item.value.end]);
}

describe("editing JSONC at random", () => {
  test("the text says exactly what was wanted, keys in order", () => {
    fc.assert(
      fc.property(jsonValue, jsonValue, printerChoices, (before, after, choices) => {
        const text = printJsonc(before, choices);
        expect(JSON.stringify(read(edit(text, after)))).toBe(JSON.stringify(after));
      }),
      { numRuns: 2000 },
    );
  });

  test("after a patch too, and what is outside the changed values keeps its bytes and comments", () => {
    fc.assert(
      fc.property(jsonObjectValue, patch, printerChoices, (before, entries, choices) => {
        const text = printJsonc(before, choices);
        const after = patched(before, entries);
        const edited = edit(text, after);
        expect(JSON.stringify(read(edited))).toBe(JSON.stringify(after));
        const root = tree(text);
        const spans = changedSpans(root, after);
        for (const comment of text.matchAll(/\/\*c\d+\*\/|\/\/c\d+/g)) {
          if (!spans.some(([from, to]) => comment.index >= from && comment.index < to))
            expect(edited).toContain(comment[0]);
        }
        for (const item of root.kind === "object" ? root.items : []) {
          if (!spans.some(([from]) => from === item.offset))
            expect(edited).toContain(text.slice(item.offset, item.value.end));
        }
        if (edited !== text) expect(edited).toMatch(/[\r\n]$/);
      }),
      { numRuns: 2000 },
    );
  });

  test("lists grow and shrink without losing a comment between the elements", () => {
    const words = fc.array(fc.constantFrom("a", "b", "c", "d", "e"), { maxLength: 6 });
    fc.assert(
      fc.property(
        words,
        fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
        words,
        printerChoices,
        (list, keep, more, choices) => {
          const text = printJsonc(objectOf([["p", list]]), choices);
          const kept = list.filter((_, index) => keep[index]);
          fc.pre(kept.length > 0 || more.length === 0);
          const edited = edit(text, objectOf([["p", [...kept, ...more]]]));
          expect(read(edited)).toEqual({ p: [...kept, ...more] });
          const sure = kept.length === list.length || more.length === 0;
          if (sure)
            for (const [comment] of text.matchAll(/\/\*c\d+\*\/|\/\/c\d+/g))
              expect(edited).toContain(comment);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("nothing to change changes nothing", () => {
    fc.assert(
      fc.property(jsonValue, printerChoices, (value, choices) => {
        const text = printJsonc(value, choices);
        expect(edit(text, read(text))).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });

  test("strict JSON stays strict JSON", () => {
    fc.assert(
      fc.property(jsonObjectValue, patch, fc.constantFrom(undefined, 2, "\t"), (before, entries, indent) => {
        const after = patched(before, entries);
        const edited = edit(JSON.stringify(before, null, indent), after);
        expect(JSON.stringify(JSON.parse(edited))).toBe(JSON.stringify(after));
      }),
      { numRuns: 1000 },
    );
  });
});
