import { symlinkSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { candidatesOf, findRipgrep, ripgrepArgs, ripgrepTurns } from "../../adapters/ripgrep.ts";
import { ripgrep } from "../support/ripgrep.ts";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { searchContent, type ContentHit, type ContentQuery } from "../../lib/search/content.ts";
import { searchNames } from "../../lib/search/names.ts";
import type { Entry } from "../../lib/storage.ts";
import { temporaryDir } from "../storage/temporary-dir.ts";
import {
  configOf,
  put,
  startMemoryServer,
  workspaceAt,
  type Client,
  type Exchange,
} from "../support/memory-host.ts";
import { viewerOf } from "../files-io/subjects.ts";
import { processorTime } from "../support/processor-time.ts";

interface Subject {
  client: Client;
  ws: string;
  dir: string;
  put(path: string, text: string): Promise<void>;
  search(query: Record<string, string>, options?: object): Promise<Exchange>;
  [Symbol.dispose](): void;
}

async function start(engine: "scan" | "ripgrep"): Promise<Subject> {
  const dir = temporaryDir();
  const storage = createDiskStorage(dir.path, { watch: false });
  const grep =
    engine === "ripgrep"
      ? {
          grep: (_: unknown, query: ContentQuery, signal: AbortSignal) =>
            candidatesOf(ripgrep, dir.path, query, signal, ripgrepTurns()),
        }
      : {};
  const config = configOf({ workspaces: [workspaceAt(dir.path)] });
  const { client, workspace, handler } = await startMemoryServer(config, { storage: () => storage, ...grep });
  const ws = `/workspace/${workspace}`;
  return {
    client,
    ws,
    dir: dir.path,
    put: (path, text) => put(storage, path, text),
    search: (query, options) => client.get(`${ws}/files/search?${new URLSearchParams(query)}`, options),
    [Symbol.dispose]() {
      void handler.close();
      dir[Symbol.dispose]();
    },
  };
}

describe.each(["scan", "ripgrep"] as const)("contents, by %s", (engine) => {
  test("where it is: path, line, column and the line", async () => {
    using subject = await start(engine);
    await subject.put("b.txt", "one\r\ntwo needle, needle\nthree\nneedle");
    await subject.put("a/x.md", "😀 needle");
    await subject.put("none.txt", "nothing");
    const { status, json } = await subject.search({ kind: "content", q: "needle" });
    expect(status).toBe(200);
    expect(json).toEqual({
      items: [
        { path: "a/x.md", line: 1, column: 4, text: "😀 needle" },
        { path: "b.txt", line: 2, column: 5, text: "two needle, needle" },
        { path: "b.txt", line: 4, column: 1, text: "needle" },
      ],
      truncated: false,
      engine,
    });
    expect(
      (await subject.client.post(`${subject.ws}/files/search`, { kind: "content", q: "needle" })).json,
    ).toEqual(json);
  });

  test.each(["-e", "--pre=touch", "$(touch x)", "a.c", "[x", "\\d", "-", "--", '"', "é", " ", "*", "(a|b)"])(
    "the text is taken as it is: %j",
    async (q) => {
      using subject = await start(engine);
      await subject.put("f", `abc 5\nhere ${q} it is\n`);
      await subject.put("empty", "");
      const { json } = await subject.search({ kind: "content", q });
      expect(json.items.map((item: ContentHit) => item.line)).toContain(2);
    },
  );

  test("case: smart, sensitive, ignored", async () => {
    using subject = await start(engine);
    await subject.put("f", "Word\nword\nWÖRD\n");
    const lines = async (query: Record<string, string>): Promise<number[]> =>
      (await subject.search({ kind: "content", ...query })).json.items.map((item: ContentHit) => item.line);
    expect(await lines({ q: "word" })).toEqual([1, 2]);
    expect(await lines({ q: "Word" })).toEqual([1]);
    expect(await lines({ q: "word", case: "sensitive" })).toEqual([2]);
    expect(await lines({ q: "WORD", case: "ignore" })).toEqual([1, 2]);
    expect(await lines({ q: "wörd" })).toEqual([3]);
  });

  test("what is left out: binary and large files, ignored ones unless asked for, links", async () => {
    using subject = await start(engine);
    using outside = temporaryDir();
    const elsewhere = createDiskStorage(outside.path);
    await put(elsewhere, "secret", "needle");
    for (const path of ["plain", ".hidden/x", ".git/x", "node_modules/p/x", "sub/dist/x", "kept/x"])
      await subject.put(path, "needle");
    await subject.put(".gitignore", "dist\n");
    await subject.put("binary", "needle\0");
    await subject.put("large", `needle${"x".repeat(1024 * 1024)}`);
    symlinkSync(outside.path, join(subject.dir, "out"));
    symlinkSync(join(outside.path, "secret"), join(subject.dir, "out.txt"));
    symlinkSync("plain", join(subject.dir, "in.txt"));
    const paths = async (query: object): Promise<string[]> =>
      (await subject.search({ kind: "content", q: "needle", ...query })).json.items.map(
        (item: ContentHit) => item.path,
      );
    expect(await paths({})).toEqual([".hidden/x", "kept/x", "plain"]);
    expect(await paths({ ignore: "none" })).toEqual([
      ".git/x",
      ".hidden/x",
      "kept/x",
      "node_modules/p/x",
      "plain",
      "sub/dist/x",
    ]);
  });

  test("I05: viewers never see what protected files hold", async () => {
    using subject = await start(engine);
    for (const path of [".env", "deep/server.key", "open"]) await subject.put(path, "needle");
    const token = await viewerOf(subject.client);
    const seen = async (options: object): Promise<string[]> =>
      (await subject.search({ kind: "content", q: "needle" }, options)).json.items.map(
        (item: ContentHit) => item.path,
      );
    expect(await seen({ token })).toEqual(["open"]);
    expect(await seen({})).toEqual([".env", "deep/server.key", "open"]);
  });

  test("a limit cuts and says so; long lines are cut around the hit", async () => {
    using subject = await start(engine);
    for (let n = 0; n < 30; n += 1) await subject.put(`f${n}`, "needle\n".repeat(30));
    await subject.put("long", `${"a".repeat(5000)}haystack${"b".repeat(5000)}`);
    const { json } = await subject.search({ kind: "content", q: "needle", limit: "7" });
    expect([json.items.length, json.truncated]).toEqual([7, true]);
    const [hit] = (await subject.search({ kind: "content", q: "haystack" })).json.items;
    expect(hit.column).toBe(5001);
    expect(hit.text).toHaveLength(400);
    expect(hit.text).toContain("haystack");
  });

  test("as lines: each hit as it is found, and what it came to", async () => {
    using subject = await start(engine);
    for (let n = 0; n < 20; n += 1) await subject.put(`f${n}`, "needle");
    const answer = await subject.search(
      { kind: "content", q: "needle" },
      { headers: { accept: "application/x-ndjson" } },
    );
    expect(answer.headers.get("content-type")).toContain("application/x-ndjson");
    const lines = answer.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(21);
    expect(lines.at(-1)).toEqual({ done: true, truncated: false, engine });
  });

  test("ends with its reader", async () => {
    using subject = await start(engine);
    for (let n = 0; n < 50; n += 1) await subject.put(`f${n}`, "needle\n".repeat(20));
    const request = new Request(`http://x${subject.ws}/files/search?kind=content&q=needle&limit=1000`, {
      headers: { authorization: "Bearer client-token", accept: "application/x-ndjson" },
    });
    const reader = (await subject.client.handler(request)).body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect((await subject.search({ kind: "content", q: "nowhere" })).json.items).toEqual([]);
  });
});

test("a token runs sixteen searches at a time, and all together sixty-four", async () => {
  using subject = await start("scan");
  for (let n = 0; n < 5; n += 1) await subject.put(`f${n}`, "needle");
  const given = new AbortController();
  const path = `http://x${subject.ws}/files/search?kind=content&q=needle`;
  const begin = async (token: string): Promise<Response> => {
    const headers = { authorization: `Bearer ${token}`, accept: "application/x-ndjson" };
    return subject.client.handler(new Request(path, { headers, signal: given.signal }));
  };
  const tokens = await Promise.all(Array.from({ length: 4 }, () => viewerOf(subject.client)));
  const open: Response[] = [];
  for (const token of tokens)
    for (let n = 0; n < 16; n += 1) {
      const response = await begin(token);
      expect(response.status).toBe(200);
      open.push(response);
      if (n < 15) continue;
      const { status, headers, json } = await subject.search({ q: "f" }, { token });
      expect([status, json.code, json.details]).toEqual([429, "too_many_requests", { perToken: 16 }]);
      expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    }
  expect(await subject.search({ q: "f" })).toMatchObject({ status: 429, json: { details: { total: 64 } } });
  // One is read to its end, one is given up, and the readers of the others go away.
  const isOpen = async (token?: string): Promise<boolean> =>
    (await subject.search({ q: "f" }, token === undefined ? {} : { token })).status === 200;
  await open[0]?.text();
  expect([await isOpen(tokens[0]), await isOpen()]).toEqual([true, true]);
  await open[16]?.body?.cancel();
  expect(await isOpen(tokens[1])).toBe(true);
  expect(await isOpen(tokens[2])).toBe(false);
  given.abort();
  expect(await isOpen(tokens[2])).toBe(true);
});

test.each([
  [{ q: "" }],
  [{}],
  [{ q: "a\nb", kind: "content" }],
  [{ q: "x".repeat(1001) }],
  [{ q: "a", kind: "other" }],
  [{ q: "a", limit: "0" }],
  [{ q: "a", limit: "1001" }],
  [{ q: "a", limit: "-1" }],
  [{ q: "a", case: "yes" }],
  [{ q: "a", ignore: "some" }],
])("refused: %j", async (query) => {
  using subject = await start("scan");
  expect(await subject.search(query)).toMatchObject({ status: 400, json: { code: "invalid_query" } });
});

test("when ripgrep cannot run, the scan answers and the log says so", async () => {
  using dir = temporaryDir();
  const storage = createDiskStorage(dir.path, { watch: false });
  await put(storage, "f", "needle");
  const grep = (_: unknown, query: ContentQuery, signal: AbortSignal): AsyncIterable<string> =>
    candidatesOf("/nowhere/rg", dir.path, query, signal, ripgrepTurns());
  const { client, workspace, host } = await startMemoryServer(
    configOf({ workspaces: [workspaceAt(dir.path)] }),
    { storage: () => storage, grep },
  );
  const { json } = await client.get(`/workspace/${workspace}/files/search?kind=content&q=needle`);
  expect(json).toMatchObject({ items: [{ path: "f" }], engine: "scan" });
  expect(host.logged.some((line) => line.body.includes("without ripgrep"))).toBe(true);
});

test("the text comes after the end of options, and relative parts of the search path do not count", () => {
  const args = ripgrepArgs({ text: "--pre=x", caseSensitive: false, ignored: false });
  expect(args.slice(args.indexOf("--"))).toEqual(["--", "--pre=x", "."]);
  expect(findRipgrep("bin:.:./node_modules/.bin")).toBeNull();
});

test("a candidate that became a link, vanished or leads out shows nothing", async () => {
  using dir = temporaryDir();
  const storage = createDiskStorage(dir.path);
  await put(storage, "real", "needle");
  symlinkSync("/etc", join(dir.path, "etc"));
  symlinkSync("real", join(dir.path, "link"));
  const query = { text: "o", caseSensitive: true, ignored: false };
  const hits: ContentHit[] = [];
  for await (const hit of searchContent(
    storage,
    ["etc/passwd", "../x", "/etc/passwd", "gone", "link", ""],
    query,
    new AbortController().signal,
  ))
    hits.push(hit);
  expect(hits).toEqual([]);
});

const entry = (path: string): Entry => ({ path, kind: "file", size: 0, mtimeMs: 0, revision: "1:0" });

async function* batchesOf(paths: readonly string[]): AsyncGenerator<Entry[]> {
  yield paths.map(entry);
}

const find = async (
  paths: readonly string[],
  query: string,
  limit = 10,
  caseSensitive = false,
): Promise<string[]> =>
  (
    await searchNames(batchesOf(paths), query, {
      limit,
      caseSensitive,
      signal: new AbortController().signal,
    })
  ).items.map((item) => item.path);

describe("names", () => {
  test("letters in order, the best first, over the API", async () => {
    using subject = await start("scan");
    for (const path of [
      "handlers/search.ts",
      "lib/search-names.ts",
      "docs/research.md",
      "other.ts",
      "node_modules/search/x",
    ])
      await subject.put(path, "");
    const { json } = await subject.search({ q: "hndsrch" });
    expect(json).toEqual({
      items: [{ path: "handlers/search.ts", kind: "file" }],
      truncated: false,
      engine: "catalog",
    });
    const found = (await subject.search({ q: "search" })).json.items.map((item: Entry) => item.path);
    expect(found.slice(0, 2)).toEqual(["handlers/search.ts", "lib/search-names.ts"]);
    expect(found).not.toContain("node_modules/search/x");
    expect((await subject.search({ q: "search", ignore: "none", limit: "1" })).json).toMatchObject({
      truncated: true,
    });
  });

  test.each([
    [
      "search",
      [
        "src/search.ts",
        "lib/search",
        "test/search.test.ts",
        "docs/research.md",
        "lib/search/x.ts",
        "a/sea/rch.ts",
      ],
    ],
    [
      "button",
      [
        "button.css",
        "Button/Button.tsx",
        "ui/ButtonGroup.tsx",
        "old/my-button",
        "Button/index.tsx",
        "b-utt-on",
      ],
    ],
    ["lib config", ["lib/config.ts", "config/lib/x", "lib/con/fig.ts"]],
    ["README.md", ["README.md", "docs/README.md", "README.md.bak"]],
  ])("%s: the best first", async (query, paths) => {
    const dirs = new Set(["lib/search"]);
    const mixed = paths
      .toReversed()
      .map((path): Entry => ({ ...entry(path), kind: dirs.has(path) ? "dir" : "file" }));
    const options = { limit: 10, caseSensitive: false, signal: new AbortController().signal };
    async function* all(): AsyncGenerator<Entry[]> {
      yield mixed;
    }
    expect((await searchNames(all(), query, options)).items.map(({ path }) => path)).toEqual(paths);
    const { items, truncated } = await searchNames(all(), query, { ...options, limit: 2 });
    expect([items.map(({ path }) => path), truncated]).toEqual([paths.slice(0, 2), true]);
  });

  test("as lines for those who ask for lines", async () => {
    using subject = await start("scan");
    await subject.put("a", "");
    await subject.put("dir/ab", "");
    const { headers, text } = await subject.search(
      { q: "a" },
      { headers: { accept: "application/x-ndjson" } },
    );
    expect(headers.get("content-type")).toContain("application/x-ndjson");
    expect(
      text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { path: "a", kind: "file" },
      { path: "dir/ab", kind: "file" },
      { done: true, truncated: false, engine: "catalog" },
    ]);
  });

  test("when its time is over, what was found until then is answered as truncated", async () => {
    const over = new AbortController();
    async function* endless(): AsyncGenerator<Entry[]> {
      for (let n = 0; ; n += 1) {
        if (n === 2) over.abort(new DOMException("too long", "TimeoutError"));
        yield [entry(`a${n}`)];
      }
    }
    const options = { limit: 10, caseSensitive: false, signal: over.signal };
    const { items, truncated } = await searchNames(endless(), "a", options);
    expect([items.map(({ path }) => path), truncated]).toEqual([["a0", "a1"], true]);
  });

  test.each([
    [["日本語/ファイル.txt"], "日ファ"],
    [["a😀b"], "😀"],
    [["Foo.TS"], "foo.ts"],
    [["a b/c d"], "d a"],
  ])("%j is found by %j", async (paths, query) => {
    expect(await find(paths, query)).toEqual(paths);
  });

  test("every path is found by some of its letters in order", async () => {
    const path = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
      .filter((text) => text.trim() !== "");
    await fc.assert(
      fc.asyncProperty(path, fc.array(fc.boolean(), { minLength: 80, maxLength: 80 }), async (text, mask) => {
        const query = [...text.toLowerCase()].filter((_, index) => mask[index]).join("");
        if (query.trim() !== "") expect(await find([text], query)).toEqual([text]);
      }),
    );
  });

  test("names made to be slow are not", async () => {
    const paths = Array.from({ length: 2000 }, (_, n) => `${"a".repeat(240)}${n}`);
    const started = processorTime();
    await find(paths, `${"a".repeat(200)}b`);
    await find(paths, "a".repeat(200));
    await find(paths, "a ".repeat(200));
    expect(processorTime() - started).toBeLessThan(3000);
  });

  test("100 000 paths in a moment", async () => {
    const paths = Array.from({ length: 100_000 }, (_, n) => `folder-${n % 1000}/part/some-file-${n}.ts`);
    const started = processorTime();
    expect(await find(paths, "file9999")).toContain("folder-999/part/some-file-9999.ts");
    expect(processorTime() - started).toBeLessThan(1000);
  });
});
