import { describe, expect, it } from "vitest";
import { CatalogIndex } from "../../lib/catalog/index.ts";
import { IgnoreFile } from "../../lib/catalog/gitignore.ts";
import type { Entry } from "../../lib/storage.ts";
import { processorTime } from "../support/processor-time.ts";

/** A pattern, what it leaves out and what it says nothing of; a slash at the end makes a directory of a path. */
type Row = [pattern: string, out: string[], unsaid: string[]];

/** As `git check-ignore` has them. */
const rows: Row[] = [
  ["a", ["a", "a/", "x/a"], ["A", "ab", "a/b"]],
  ["a/", ["a/", "x/a/"], ["a", "x/a"]],
  ["/a", ["a", "a/"], ["x/a"]],
  ["a/b", ["a/b"], ["x/a/b", "b"]],
  ["//a", [], ["a", "x/a"]],
  ["*.log", [".log", "a.log", "x/y/b.log"], ["a.logs", "log"]],
  ["a*b*c", ["abc", "axbxbxc"], ["ab", "acb"]],
  ["/*.log", ["a.log"], ["x/a.log"]],
  ["a/*", ["a/b", "a/b/"], ["a/b/c", "a"]],
  ["a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]],
  ["a?c", ["abc"], ["ac", "abbc"]],
  ["**/a", ["a", "x/a", "x/y/a"], ["x/ab"]],
  ["a/**", ["a/b", "a/b/c"], ["a", "a/", "x/a/b"]],
  ["a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "x/a/b"]],
  ["a/***/b", ["a/b", "a/x/y/b"], ["ab"]],
  ["a/**b", ["a/b", "a/xb"], ["a/x/b"]],
  ["**", ["a", "x/a"], []],
  ["**/", ["x/", "x/y/"], ["a", "x/a"]],
  ["a**b/c", ["ab/c", "axb/c"], ["a/b/c", "ax/b/c"]],
  ["[ab]c", ["ac", "bc"], ["cc", "[ab]c"]],
  ["[!ab]c", ["cc"], ["ac"]],
  ["[^ab]c", ["cc"], ["ac"]],
  ["[a-c]", ["a", "b", "c"], ["d", "-"]],
  ["[c-a]", ["c"], ["a", "b"]],
  ["[a-]", ["a", "-"], ["b"]],
  ["[-a]", ["a", "-"], ["b"]],
  ["[]a]", ["]", "a"], ["[]a]"]],
  ["[a\\]]", ["a", "]"], ["\\"]],
  ["[[:digit:]x]", ["1", "x"], ["a", ":"]],
  ["[[:upper:]][[:lower:]]", ["Aa"], ["aa", "AA"]],
  ["[[:nope:]]", [], ["n", "[:nope:]"]],
  ["[a/b]c", ["ac", "bc"], ["x/ac"]],
  ["a[", [], ["a", "a["]],
  ["a\\", [], ["a", "a\\"]],
  ["\\*", ["*"], ["a"]],
  ["\\#a", ["#a"], ["a"]],
  ["#a", [], ["#a", "a"]],
  ["\\!a", ["!a"], ["a"]],
  ["a  ", ["a"], ["a  "]],
  ["a\\ ", ["a "], ["a"]],
  ["a\r", ["a"], []],
  ["\ufeffa", ["a"], []],
  ["/", [], ["a", "a/"]],
  ["!", [], ["!", "a"]],
  ["", [], ["a"]],
];

const tests = (file: IgnoreFile, path: string): boolean | null =>
  file.test(path.replace(/\/$/, ""), path.endsWith("/"));

describe("an ignore file", () => {
  it.each(rows)("has %j mean what it means to git", (pattern, out, unsaid) => {
    const file = new IgnoreFile(`${pattern}\n`);
    for (const path of out) expect([path, tests(file, path)]).toEqual([path, true]);
    for (const path of unsaid) expect([path, tests(file, path)]).toEqual([path, null]);
  });

  it("has the last rule that applies decide", () => {
    const file = new IgnoreFile("*.log\n!keep.log\nkeep.log/\n/x/*\n!/x/y\n/x/y");
    expect(tests(file, "a.log")).toBe(true);
    expect(tests(file, "keep.log")).toBe(false);
    expect(tests(file, "keep.log/")).toBe(true);
    expect(tests(file, "x/a")).toBe(true);
    expect(tests(file, "x/y")).toBe(true);
  });

  it.each([
    ["a/**/".repeat(12) + "b", "a/".repeat(1000) + "c"],
    ["**/*a".repeat(12) + "/b", "a/".repeat(1000) + "c"],
    ["*a".repeat(100) + "b", "a".repeat(250) + "c"],
    ["*[!b]".repeat(100) + "b", "a".repeat(250) + "c"],
  ])("takes no long time for a pattern made for that: %#", (pattern, path) => {
    const file = new IgnoreFile(pattern);
    const started = processorTime();
    expect(file.test(path, false)).toBeNull();
    // With backtracking it would take longer than anybody waits.
    expect(processorTime() - started).toBeLessThan(2000);
  });

  it("takes in as many rules of one kind as there are", () => {
    const file = new IgnoreFile("a\n".repeat(500_000));
    expect(file.test("a", false)).toBe(true);
  });
});

describe("judging an index", () => {
  it("pauses after one verdict that took long", () => {
    const index = new CatalogIndex();
    const entries = Array.from({ length: 500 }, (_, i): Entry => {
      return { path: `f${i}`, kind: "file", size: 1, mtimeMs: 1, revision: "1:1" };
    });
    index.put(entries);
    let asked = 0;
    const slow = (): "kept" => {
      asked += 1;
      const end = performance.now() + 10;
      while (performance.now() < end);
      return "kept";
    };
    expect(index.judge(slow, 5)).toBe(false);
    expect(asked).toBe(1);
    while (!index.judge(() => "kept", 5));
    expect(index.judged).toBe(true);
  });
});
