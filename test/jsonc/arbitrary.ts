import * as fc from "fast-check";

/** Keys that collide often, with those that mean something to JavaScript among them. */
const key: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("a", "b", "c", "plugin", "mcp", "1", "0") },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "__proto__",
      "constructor",
      "toString",
      "",
      'q"\\',
      "// no",
      "/* no */",
      "é😀",
    ),
  },
);

const scalar: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, false, "x", "// no comment", "/* none */", "a\nb", "]", '"', ","),
  fc.integer({ min: -3, max: 12 }),
  fc.double({ noDefaultInfinity: true, noNaN: true }).filter((n) => !Object.is(n, -0)),
  fc.string(),
);

/** JSON objects as a parser makes them: without prototype. */
export function objectOf(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  const object = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of entries) object[name] = value;
  return object;
}

const { value } = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 3, depthSize: "small" }, scalar, tie("list"), tie("object")),
  list: fc.array(tie("value"), { maxLength: 4 }),
  object: fc.array(fc.tuple(key, tie("value")), { maxLength: 4 }).map(objectOf),
}));

/** Any JSON value. */
export const jsonValue: fc.Arbitrary<unknown> = value;

/** Any JSON object. */
export const jsonObjectValue: fc.Arbitrary<Record<string, unknown>> = fc
  .array(fc.tuple(key, value), { maxLength: 6 })
  .map(objectOf);

/** A source of the many small choices that a printer makes. */
type Choose = (options: number) => number;

/** Prints a value as JSONC with blanks, comments, trailing commas, duplicate keys, tabs and line endings as they come. */
export function printJsonc(root: unknown, choices: readonly number[]): string {
  let at = 0;
  let comments = 0;
  const choose: Choose = (options) => (choices[at++ % choices.length] ?? 0) % options;
  const eol = ["\n", "\r\n"][choose(2)] ?? "\n";
  const unit = ["\t", "  ", "    "][choose(3)] ?? "  ";
  const bom = choose(6) === 0 ? "\uFEFF" : "";

  const trivia = (level: number): string => {
    const kinds = [
      "",
      "",
      " ",
      eol + unit.repeat(level),
      ` /*c${comments}*/ `,
      ` //c${comments}${eol}${unit.repeat(level)}`,
      `${eol}${unit.repeat(level)}//c${comments} "x": [1,${eol}${unit.repeat(level)}`,
    ];
    comments += 1;
    return kinds[choose(kinds.length)] ?? "";
  };
  const print = (value: unknown, level: number): string => {
    if (value === null || typeof value !== "object") return JSON.stringify(value);
    const isList = Array.isArray(value);
    const entries: [string | null, unknown][] = isList
      ? value.map((element) => [null, element])
      : Object.entries(value);
    const twins =
      !isList && entries.length > 0 && choose(4) === 0
        ? [[entries[0]?.[0] ?? "", "twin"] as [string, unknown]]
        : [];
    const inner = [...twins, ...entries].map(([name, child]) => {
      const before = name === null ? "" : `${JSON.stringify(name)}${trivia(level + 1)}:${trivia(level + 1)}`;
      return trivia(level + 1) + before + print(child, level + 1) + trivia(level + 1);
    });
    const trailing = inner.length > 0 && choose(3) === 0 ? `,${trivia(level)}` : "";
    const empty = inner.length === 0 ? trivia(level) : "";
    return (isList ? "[" : "{") + inner.join(",") + trailing + empty + (isList ? "]" : "}");
  };
  const head = trivia(0);
  return bom + head + print(root, 0) + trivia(0);
}

/** The numbers that drive {@link printJsonc}. */
export const printerChoices: fc.Arbitrary<number[]> = fc.array(fc.nat(1000), { minLength: 1, maxLength: 60 });
