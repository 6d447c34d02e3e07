import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { ApiError } from "../../lib/errors.ts";
import {
  editFrontmatter,
  frontmatterBlock,
  maxFrontmatterLength,
  readFrontmatter,
  splitFrontmatter,
  type SplitText,
} from "../../lib/opencode/frontmatter.ts";
import { costOf } from "./cost.ts";

function join(split: SplitText): string {
  return split.open + split.yaml + split.close + split.body;
}

function edit(text: string, fields: Record<string, string>): string {
  const split = splitFrontmatter(text);
  if (!split) throw new Error("no front matter");
  return editFrontmatter(split, fields);
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ApiError) return error.code;
    throw error;
  }
  return "none";
}

describe("cutting", () => {
  it.each([
    ["---\na: 1\n---\nbody", "a: 1\n", "body"],
    ["---\r\na: 1\r\n---\r\nbody\r\n", "a: 1\r\n", "body\r\n"],
    ["\u{FEFF}---\na: 1\n---\nbody", "a: 1\n", "body"],
    ["---\n\n---\n", "\n", ""],
    ["---\na: 1\n---", "a: 1\n", ""],
    ["---\na: 1\n----\n--- \n---x\n---\nb", "a: 1\n----\n--- \n---x\n", "b"],
    ["---\na: |\n  ---\n---\nb", "a: |\n  ---\n", "b"],
  ])("finds the front matter of %j", (text, yaml, body) => {
    const split = splitFrontmatter(text);
    expect(split?.yaml).toBe(yaml);
    expect(split?.body).toBe(body);
    expect(split && join(split)).toBe(text);
  });

  it.each([
    "",
    "---",
    "---\n",
    "---\n---\nbody",
    "--- \na: 1\n---\n",
    "\n---\na: 1\n---\n",
    "----\na\n---\n",
    "---\na: 1\n",
    "body",
  ])("finds none in %j", (text) => {
    expect(splitFrontmatter(text)).toBeNull();
    expect(readFrontmatter(text)).toEqual({ fields: new Map(), body: text });
  });

  it("gives back any text when joined", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "---",
        "\n",
        "\r\n",
        "\r",
        "--- ",
        "a: 1",
        "- b",
        "# c",
        "\u{FEFF}",
        "'",
        '"',
        "é",
        "😀",
        "|",
      ),
      fc.string({ unit: "binary" }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = pieces.join("");
        for (const candidate of [text, `---\n${text}`, `---\n${text}\n---\n`]) {
          const split = splitFrontmatter(candidate);
          if (split) expect(join(split)).toBe(candidate);
        }
      }),
    );
  });
});

describe("reading", () => {
  it("gives scalars their types and marks the rest by presence only", () => {
    const { fields } = readFrontmatter(
      "---\na: text\nb: 5\nc: true\nd:\ne: [1]\nf: {x: 1}\ng: 'q'\nh: 2024-01-01\n---\n",
    );
    expect(Object.fromEntries(fields)).toEqual({
      a: "text",
      b: 5,
      c: true,
      d: null,
      e: undefined,
      f: undefined,
      g: "q",
      h: "2024-01-01",
    });
  });

  it("takes comments alone, and nothing at all, for an empty mapping", () => {
    expect(readFrontmatter("---\n# only a comment\n---\nb").fields.size).toBe(0);
    expect(readFrontmatter("---\n\n---\nb").fields.size).toBe(0);
  });

  it("treats __proto__, constructor and merge keys as plain data", () => {
    const { fields } = readFrontmatter(
      "---\n__proto__:\n  admin: true\nconstructor: x\n<<: {name: merged}\n---\n",
    );
    expect([...fields.keys()]).toEqual(["__proto__", "constructor", "<<"]);
    expect(fields.get("name")).toBeUndefined();
    expect(({} as Record<string, unknown>)["admin"]).toBeUndefined();
  });

  it("constructs nothing from tags", () => {
    const { fields } = readFrontmatter("---\nname: !!js/function 'x'\nwhen: !custom y\n---\n");
    expect([...fields.values()]).toEqual(["x", "y"]);
  });

  it("follows an alias to a scalar", () => {
    expect(readFrontmatter("---\na: &x text\nname: *x\n---\n").fields.get("name")).toBe("text");
  });

  it.each([
    ["a list", "- a\n"],
    ["a scalar", "just text\n"],
    ["an open list", "a: [\n"],
    ["a tab as indentation", "a:\n\tb: 1\n"],
    ["a key twice", "a: 1\na: 2\n"],
    ["an alias to nothing", "a: *x\n"],
    ["two documents", "a: 1\n...\nb: 1\n"],
    ["too much", `a: ${"x".repeat(maxFrontmatterLength)}\n`],
    ["too many aliases", `a: &x 1\n${Array.from({ length: 11 }, (_, i) => `k${i}: *x\n`).join("")}`],
  ])("refuses %s", (_what, yaml) => {
    expect(codeOf(() => readFrontmatter(`---\n${yaml}---\nbody`))).toBe("invalid_frontmatter");
  });

  it("names the line that is wrong", () => {
    expect(() => readFrontmatter("---\na: 1\nb: [\n---\n")).toThrow(/line [34]/);
  });
});

describe("hostile texts of 100,000 characters cost milliseconds", () => {
  const n = 100_000;
  const fill = (piece: string, length: number = n): string =>
    piece.repeat(Math.ceil(length / piece.length)).slice(0, length);
  it.each(["-", "---", "\n", "---\n", "\r\n---", "---\r", " ---\n", "\n--", "--- \n", "#", "a: "])(
    "cutting at %j",
    (piece) => {
      for (const text of [fill(piece), `---\n${fill(piece)}`, `---\r\n${fill(piece)}\n---x`]) {
        expect(costOf(() => splitFrontmatter(text))).toBeLessThan(200);
      }
    },
  );

  it.each([
    ",",
    "[",
    "{a: ",
    "- ",
    "? ",
    "a: &a x\n",
    "*a,",
    "a: ",
    "\n",
    "'",
    '"',
    "\\u",
    "!",
    "%",
    "&",
    "...\n",
    "|\n",
    "\t",
    "k: 1\n",
  ])("parsing %j", (piece) => {
    for (const head of ["", "a: [", 'a: "', "a:\n"]) {
      const yaml = head + fill(piece, maxFrontmatterLength - head.length - 1);
      expect(costOf(() => codeOf(() => readFrontmatter(`---\n${yaml}\n---\n`)))).toBeLessThan(1000);
    }
    const text = `---\n${fill(piece)}\n---\n`;
    expect(
      costOf(() => expect(codeOf(() => readFrontmatter(text))).toMatch(/invalid_frontmatter|none/)),
    ).toBeLessThan(200);
  });

  it("an alias bomb is never expanded", () => {
    const bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"];
    for (const [from, to] of ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"]) {
      bomb.push(`${to}: &${to} [${Array.from({ length: 9 }, () => `*${from}`).join(", ")}]`);
    }
    const text = `---\nname: x\n${bomb.join("\n")}\n---\nbody\n`;
    const cost = costOf(() => {
      expect(readFrontmatter(text).fields.get("name")).toBe("x");
      expect(edit(text, { name: "y" }).length).toBeLessThan(2000);
    });
    expect(cost).toBeLessThan(500);
  });
});

describe("writing", () => {
  it("quotes only where YAML needs it and folds long plain strings at 80 columns", () => {
    const long = "word ".repeat(30).trim();
    expect(frontmatterBlock({ name: "n", a: "true", b: "x: y", c: null, d: false, e: long })).toBe(
      `---\nname: n\na: "true"\nb: "x: y"\nc: null\nd: false\ne: ${"word ".repeat(15).trim()}\n  ${"word ".repeat(15).trim()}\n---\n`,
    );
  });

  it("keeps keys, order and comments, in block style", () => {
    const text =
      "---\n# head\nlicense: MIT # why\ntags: [a, 'b']\nname: old # the name\nmeta: {x: 1.0, y: \"z\"}\n---\nbody\n";
    expect(edit(text, { name: "new", description: "d" })).toBe(
      "---\n# head\nlicense: MIT # why\ntags:\n  - a\n  - b\nname: new # the name\nmeta:\n  x: 1.0\n  y: z\ndescription: d\n---\nbody\n",
    );
  });

  it("uses the line ends of the text and drops a byte order mark", () => {
    expect(edit("\u{FEFF}---\r\na: 1\r\n---\r\nbody\r\n", { name: "n" })).toBe(
      "---\r\na: 1\r\nname: n\r\n---\r\nbody\r\n",
    );
  });

  it("writes no document marker, which would end the block", () => {
    expect(edit("---\n--- {a: 1}\n---\nb", { name: "n" })).toBe("---\na: 1\nname: n\n---\nb");
    expect(edit("---\na: 1\n...\n---\nb", { name: "n" })).toBe("---\na: 1\nname: n\n---\nb");
  });

  const key = fc
    .stringMatching(/^[a-z][a-z0-9_]{0,8}$/)
    .filter((name) => !["name", "description", "null", "true", "false"].includes(name));
  const scalar = fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 120 }),
    fc.string({ unit: "binary-ascii", maxLength: 40 }),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.constantFrom(
      "---",
      "...",
      "- a",
      "a: b",
      "# x",
      "'",
      '"',
      "|",
      ">",
      "\n---\n",
      "\r\n",
      " padded ",
      "1e3",
      "yes",
      "~",
    ),
  );
  const value = fc.oneof(
    scalar,
    fc.array(scalar, { maxLength: 3 }),
    fc.dictionary(key, scalar, { maxKeys: 3 }),
  );

  it("an edit keeps every other key and its value, in order, and the body", () => {
    fc.assert(
      fc.property(
        fc.dictionary(key, value, { maxKeys: 6 }),
        fc.string({ unit: "grapheme", maxLength: 60 }),
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 300 }),
        fc.constantFrom("\n", "\r\n"),
        fc.boolean(),
        (data, body, description, eol, comments) => {
          const lines = Object.entries(data).map(([name, content]) => {
            const text = `${JSON.stringify(name)}: ${JSON.stringify(content)}`;
            return comments ? `# about ${name}${eol}${text} # so` : text;
          });
          const text = `---${eol}${lines.join(eol)}${eol}---${eol}${body}`;
          const edited = edit(text, { name: "a-b", description });
          const split = splitFrontmatter(edited);
          expect(split?.body).toBe(body);
          expect(readFrontmatter(edited).fields.get("name")).toBe("a-b");
          const expected: Record<string, unknown> = Object.assign(Object.create(null), data, {
            name: "a-b",
            description,
          });
          const found = parse(split?.yaml ?? "", { schema: "core" }) as Record<string, unknown>;
          expect(Object.keys(found)).toEqual(Object.keys(expected));
          expect(found).toEqual({ ...expected });
          if (comments) for (const name of Object.keys(data)) expect(edited).toContain(`# about ${name}`);
          else expect(edit(edited, { name: "a-b", description })).toBe(edited);
        },
      ),
      { numRuns: 300 },
    );
  });
});
