import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CatalogIndex } from "../../lib/catalog/index.ts";
import { compareCodePoints, type Entry } from "../../lib/storage.ts";

const name = fc.constantFrom("a", "b", "a-b", "a.txt", "A", "ä", "z", "\uffee", "😀", "a b", ".gitignore");
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));

let version = 0;
function entry(path: string, kind: "file" | "dir" = "file"): Entry {
  version += 1;
  const size = kind === "dir" ? 0 : version % 7;
  const digits = version % 5 === 0 ? `odd-${version}` : String(version * 1_000_003);
  return { path, kind, size, mtimeMs: version + 0.25, revision: `${digits}:${size}` };
}

const nameOf = ({ path: whole }: Entry): string => whole.slice(whole.lastIndexOf("/") + 1);

type Model = Map<string, Entry>;

function inOrder(model: Model): Entry[] {
  return [...model.values()].toSorted((a, b) => compareCodePoints(a.path, b.path));
}

function isBelow(path: string, dir: string): boolean {
  return path === dir || path.startsWith(`${dir}/`);
}

type Step =
  | { do: "put"; paths: string[]; dirs: boolean }
  | { do: "remove"; path: string }
  | { do: "move"; from: string; to: string };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant("put" as const),
    paths: fc.array(path, { maxLength: 40 }),
    dirs: fc.boolean(),
  }),
  fc.record({ do: fc.constant("remove" as const), path }),
  fc.record({ do: fc.constant("move" as const), from: path, to: path }),
);

function apply(index: CatalogIndex, model: Model, step: Step): void {
  if (step.do === "put") {
    const entries = Array.from(new Set(step.paths), (one) => entry(one, step.dirs ? "dir" : "file"));
    index.put(entries);
    for (const one of entries) model.set(one.path, one);
  } else if (step.do === "remove") {
    index.remove(step.path);
    for (const key of model.keys()) if (isBelow(key, step.path)) model.delete(key);
  } else if (!isBelow(step.to, step.from) && !isBelow(step.from, step.to)) {
    index.move(step.from, step.to);
    const moved = [...model.values()].filter((one) => isBelow(one.path, step.from));
    for (const key of model.keys()) if (isBelow(key, step.from) || isBelow(key, step.to)) model.delete(key);
    for (const one of moved) {
      const to = step.to + one.path.slice(step.from.length);
      model.set(to, { ...one, path: to });
    }
  }
}

describe("the index of a catalog", () => {
  test("behaves as a sorted list, whatever is put, removed and moved (I40)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), path, (steps, probe) => {
        const index = new CatalogIndex();
        const model: Model = new Map();
        for (const one of steps) apply(index, model, one);
        const expected = inOrder(model);
        expect([...index.below("")]).toEqual(expected);
        expect(index.size).toBe(expected.length);
        expect(index.get(probe)).toEqual(model.get(probe));
        expect(index.rank(probe)).toBe(
          expected.filter((one) => compareCodePoints(one.path, probe) < 0).length,
        );
        expect([...index.below(probe)]).toEqual(expected.filter((one) => one.path.startsWith(`${probe}/`)));
        const files = { dirs: false, ignored: true };
        for (const rank of [0, 1, expected.length >> 1, expected.length]) {
          expect(index.countBefore(rank, files)).toBe(
            expected.slice(0, rank).filter((one) => one.kind === "file").length,
          );
        }
        expect(Array.from(index.slice(1, 5, files))).toEqual(
          expected.slice(1, 5).filter((one) => one.kind === "file"),
        );
        for (const one of expected) expect(index.holds(one)).toBe(true);
        expect(new Set(index.ignoreFiles)).toEqual(
          new Set(expected.map((one) => one.path).filter((one) => one.split("/").at(-1) === ".gitignore")),
        );
      }),
      { numRuns: 300 },
    );
  });

  test("tells the children of a directory between two names", () => {
    const edge = fc.option(name, { nil: undefined });
    fc.assert(
      fc.property(
        fc.array(path, { maxLength: 60 }),
        fc.constantFrom("", "a", "a-b"),
        edge,
        edge,
        (all, dir, after, upTo) => {
          const index = new CatalogIndex();
          const dirs = all.flatMap((one) =>
            one.split("/").map((_, at, parts) => parts.slice(0, at + 1).join("/")),
          );
          index.put(Array.from(new Set(dirs), (one) => entry(one, "dir")));
          const wanted = index.children(dir).filter((one) => {
            const isAfter = after === undefined || compareCodePoints(nameOf(one), after) > 0;
            return isAfter && (upTo === undefined || compareCodePoints(nameOf(one), upTo) <= 0);
          });
          expect(index.children(dir, { after, upTo })).toEqual(wanted);
        },
      ),
    );
  });

  test("tells the direct children of a directory without those below them", () => {
    const index = new CatalogIndex();
    index.put([
      entry("a", "dir"),
      entry("a/b", "dir"),
      entry("a/b/c"),
      entry("a/b-c"),
      entry("a/d"),
      entry("a-b"),
      entry("e"),
    ]);
    expect(index.children("").map((one) => one.path)).toEqual(["a", "a-b", "e"]);
    expect(index.children("a").map((one) => one.path)).toEqual(["a/b", "a/b-c", "a/d"]);
    expect(index.children("a/b").map((one) => one.path)).toEqual(["a/b/c"]);
    expect(index.children("none")).toEqual([]);
  });

  test("splits its chunks and stays in order over ten thousand entries", () => {
    const index = new CatalogIndex();
    const paths = Array.from({ length: 10_000 }, (_, n) => `d${n % 37}/f${(n * 7919) % 10_000}`);
    for (let at = 0; at < paths.length; at += 700)
      index.put(paths.slice(at, at + 700).map((one) => entry(one)));
    const expected = paths.toSorted(compareCodePoints);
    expect([...index.below("")].map((one) => one.path)).toEqual(expected);
    for (const rank of [0, 511, 512, 1024, 9999]) {
      expect(index.rank(expected[rank] ?? "")).toBe(rank);
      expect(index.slice(rank, rank + 2).next().value?.path).toBe(expected[rank]);
    }
  });

  test("counts what the ignore rules leave over, and asks again when an ignore file changed", () => {
    const index = new CatalogIndex();
    index.put([entry("a"), entry("b"), entry("c", "dir")]);
    const judge = (ignored: string): boolean =>
      index.judge((one) => (one === ignored ? "ignored" : "kept"), 1000);
    expect(index.judged).toBe(false);
    expect(judge("b")).toBe(true);
    expect(index.countBefore(3, { dirs: true, ignored: false })).toBe(2);
    expect(index.countBefore(3, { dirs: false, ignored: false })).toBe(1);
    index.put([{ ...entry("b"), size: 99, revision: "1:99" }]);
    expect(index.verdictOf("b")).toBe("ignored");
    expect(index.judged).toBe(true);
    index.put([entry(".gitignore")]);
    expect(index.judged).toBe(false);
    judge("a");
    expect(index.verdictOf("a")).toBe("ignored");
    expect(index.verdictOf("b")).toBe("kept");
  });
});
