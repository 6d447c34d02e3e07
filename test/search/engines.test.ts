import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { candidatesOf, ripgrepTurns, suitsRipgrep } from "../../adapters/ripgrep.ts";
import { ripgrep } from "../support/ripgrep.ts";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Host } from "../../lib/host.ts";
import type { ContentHit } from "../../lib/search/content.ts";
import { eventually } from "../files/support.ts";
import { temporaryDir } from "../storage/temporary-dir.ts";
import { configOf, put, startMemoryServer, workspaceAt } from "../support/memory-host.ts";
import { clientToken, freshDirectory, startServer } from "../support/server.ts";

/** Contents that tempt a search to see something else in them. */
const contents: Readonly<Record<string, Uint8Array>> = Object.fromEntries(
  Object.entries({
    "crlf.txt": "one\r\nneedle two\r\n\r\nNeedle\r",
    "cr.txt": "one\rneedle\rtwo",
    "no newline": "needle",
    "bom.txt": "\ufeffneedle after a mark\n",
    "nul.bin": "needle\0needle\n",
    "late nul.bin": `needle\n${"x\n".repeat(70_000)}\0`,
    "latin.txt": Buffer.from([0xe9, 0x20, ...Buffer.from("needle \xff", "latin1"), 0x0a]),
    "utf16 mark.txt": Buffer.from([0xff, 0xfe, ...Buffer.from("needle")]),
    "utf16.txt": Buffer.from("\ufeffneedle", "utf16le"),
    "cjk16.txt": Buffer.from("\ufeff針を探す", "utf16le"),
    "huge line": `${"a".repeat(900_000)}needle${"b".repeat(1000)}`,
    "just fits": "needle".padEnd(1024 * 1024, "."),
    "too large": "needle".padEnd(1024 * 1024 + 1, "."),
    "folds.txt":
      "\u017ftra\u00dfe STRASSE stra\u00dfe \u212aelvin NEEDLE n\u00c9\u00c9dle İstanbul ΣΑΣ σας\n",
    "odd \\ % # ? name": "needle",
    ".hidden/deep/x": "needle",
    "node_modules/x": "needle",
    "a/node_modules/x": "needle",
    ".venv/x": "needle",
    ".git/config": "needle",
    "dist/x": "needle",
    "sub/dist/x": "needle",
    "sub/only/x.log": "needle",
    "sub/only/keep.log": "needle",
    "sub/other/keep.log": "needle",
    "sub/space /x": "needle",
    "docs/a/b/c.tmp": "needle",
    "docs/c.tmp": "needle",
    "brace{a,b}.txt": "needle",
    ".gitignore": "/dist\n*.log\n!keep.log\n# no\n\\#x\ndocs/**/c.tmp\nbrace\\{a,b\\}.txt\n",
    "sub/.gitignore": "only/\n!only/keep.log\nspace\\ /\n",
    ".ignore": "crlf.txt\n",
    empty: "",
  }).map(([path, content]) => [path, Buffer.from(content)]),
);

test("with and without ripgrep a search finds the same", async () => {
  using dir = temporaryDir();
  for (const [path, content] of Object.entries(contents)) {
    mkdirSync(dirname(join(dir.path, path)), { recursive: true });
    writeFileSync(join(dir.path, path), content);
  }
  symlinkSync("crlf.txt", join(dir.path, "link.txt"));
  const storage = createDiskStorage(dir.path, { watch: false });
  const config = configOf({ workspaces: [workspaceAt(dir.path)] });
  const grep: Host["grep"] = (_, query, signal) =>
    suitsRipgrep(dir.path, query)
      ? candidatesOf(ripgrep ?? "", dir.path, query, signal, ripgrepTurns())
      : undefined;
  const scanning = await startMemoryServer(config, { storage: () => storage });
  const grepping = await startMemoryServer(config, { storage: () => storage, grep });
  const path = `/workspace/${scanning.workspace}/files/search`;
  const letter = fc.constantFrom(
    "n",
    "e",
    "d",
    "needle",
    "N",
    "ß",
    "s",
    "S",
    "k",
    " ",
    "\r",
    "é",
    "İ",
    "σ",
    "x",
    "針",
    ".",
    "\ufffd",
  );
  const text = fc.array(letter, { minLength: 1, maxLength: 3 }).map((letters) => letters.join(""));
  const query = fc.record({
    q: fc.oneof(
      fc.constantFrom("needle", "NEEDLE", "strasse", "straße", "i̇stanbul", "kelvin", "\ufeff"),
      text,
    ),
    kind: fc.constant("content"),
    case: fc.constantFrom("smart", "sensitive", "ignore"),
    ignore: fc.constantFrom("default", "none"),
    limit: fc.constant("1000"),
  });
  await fc.assert(
    fc.asyncProperty(query, async (wanted) => {
      const found = await grepping.client.get(`${path}?${new URLSearchParams(wanted)}`);
      const scanned = await scanning.client.get(`${path}?${new URLSearchParams(wanted)}`);
      expect({ ...found.json, engine: "" }).toEqual({ ...scanned.json, engine: "" });
    }),
    { numRuns: 60 },
  );
  const { json } = await scanning.client.get(`${path}?q=needle&kind=content&limit=1000`);
  const paths = [...new Set(json.items.map((hit: ContentHit) => hit.path))];
  expect(paths).toEqual([
    ".hidden/deep/x",
    "bom.txt",
    "cr.txt",
    "crlf.txt",
    "folds.txt",
    "huge line",
    "just fits",
    "latin.txt",
    "no newline",
    "odd \\ % # ? name",
    "sub/dist/x",
    "sub/other/keep.log",
    "utf16 mark.txt",
  ]);
  await Promise.all([scanning.handler.close(), grepping.handler.close()]);
});

/** A program called `rg` that finds nothing and does not end. */
async function stubbornRipgrep(): Promise<{ bin: string; pidFile: string }> {
  const bin = await freshDirectory("bin");
  const pidFile = join(bin, "pid");
  writeFileSync(
    join(bin, "rg"),
    `#!/bin/sh\necho $$ > ${pidFile}.new && mv ${pidFile}.new ${pidFile}\nexec sleep 60\n`,
  );
  chmodSync(join(bin, "rg"), 0o755);
  return { bin, pidFile };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.each(["application/json", "application/x-ndjson"])(
  "ripgrep ends when the client goes away that accepts %s",
  async (accept) => {
    const { bin, pidFile } = await stubbornRipgrep();
    const server = await startServer({ env: { PATH: `${bin}:${process.env["PATH"]}` } });
    const gone = new AbortController();
    const searching = fetch(`${server.url}/workspace/${server.id}/files/search?kind=content&q=x`, {
      headers: { authorization: `Bearer ${clientToken}`, accept },
      signal: gone.signal,
    }).then((answer) => answer.text());
    searching.catch(() => undefined);
    await eventually(() => expect(existsSync(pidFile)).toBe(true));
    const pid = Number(readFileSync(pidFile, "utf8"));
    expect(isAlive(pid)).toBe(true);
    gone.abort();
    await eventually(() => expect(isAlive(pid)).toBe(false));
    await expect(searching).rejects.toThrow("abort");
    await server.stop();
    execFileSync("rm", ["-r", bin]);
  },
);

test("a scan ends when the client goes away", async () => {
  const { handler, storage, workspace } = await startMemoryServer();
  for (let n = 0; n < 400; n += 1) await put(storage, `file-${n}`, "needle");
  const gone = new AbortController();
  let reads = 0;
  const readFile = storage.readFile.bind(storage);
  storage.readFile = async (...args) => {
    reads += 1;
    if (reads === 20) gone.abort();
    return readFile(...args);
  };
  const url = `http://server.test/workspace/${workspace}/files/search?kind=content&q=needle&limit=1000`;
  const headers = { authorization: "Bearer client-token" };
  await handler(new Request(url, { headers, signal: gone.signal })).catch(() => undefined);
  expect(reads).toBeGreaterThanOrEqual(20);
  expect(reads).toBeLessThan(60);
  await handler.close();
});

test("what ripgrep would see otherwise is scanned", async () => {
  const server = await startServer();
  writeFileSync(join(server.workspace, "plain"), "needle");
  writeFileSync(join(server.workspace, "odd"), Buffer.from([0xff, 0x0a]));
  const search = async (q: string): Promise<unknown> =>
    (await server.request("GET", `~/files/search?kind=content&q=${encodeURIComponent(q)}`)).json;
  expect(await search("needle")).toMatchObject({ items: [{ path: "plain" }], engine: "ripgrep" });
  expect(await search("\ufffd")).toMatchObject({ items: [{ path: "odd" }], engine: "scan" });
  writeFileSync(join(server.workspace, ".rgignore"), "plain\n");
  expect(await search("needle")).toMatchObject({ items: [{ path: "plain" }], engine: "scan" });
  await server.stop();
});

test("where there is no ripgrep on the search path, the server scans", async () => {
  const server = await startServer({ env: { PATH: "/nowhere" } });
  writeFileSync(join(server.workspace, "a"), "needle");
  const { json } = await server.request("GET", "~/files/search?kind=content&q=needle");
  expect(json).toMatchObject({ items: [{ path: "a" }], engine: "scan" });
  await server.stop();
});
