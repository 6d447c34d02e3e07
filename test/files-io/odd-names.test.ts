import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeExtended, dispositionParameters } from "../../lib/http/content-disposition.ts";
import { inbox, outbox } from "../../lib/files/mailbox.ts";
import { SessionClient, b64, type Item } from "../files/support.ts";
import { formOf } from "../support/forms.ts";
import { start, type Subject } from "./subjects.ts";

const names = [
  "a b",
  " leading",
  "trailing ",
  " ",
  "100%",
  "%2e%2e",
  "%2F",
  "a#b",
  "a?b",
  "a&b=c;d",
  "a+b",
  "~",
  "a:b",
  "é (composed)".normalize("NFC"),
  "é (composed)".normalize("NFD"),
  "日本語",
  "😀",
  "\ufeffmark",
  "a\nb",
  "tab\tand\u007f",
  ".hidden",
  "..two",
  "...",
  "trailing.",
  "back\\slash",
  "\\",
  "con",
  "NUL.txt",
  "workspace",
  `quote "it's"`,
  "-rf",
  "$(x)`y`",
  "<b>bold<b>",
  "__proto__",
  "constructor",
  "x".repeat(255),
  "日".repeat(85),
];

const controls = /\p{Cc}/u;
/** Names that the contract's rules for paths make others of, unless there is such a file (section 9, I42). */
const isNormalised = (name: string): boolean => name !== name.trimEnd() || name.includes("\\");

let subject: Subject;
let session: SessionClient;
beforeAll(async () => {
  subject = await start("disk");
  session = await SessionClient.open(subject.client, subject.ws.slice("/workspace/".length));
});
afterAll(() => subject[Symbol.dispose]());

function touch(path: string): void {
  mkdirSync(join(subject.dir, path, ".."), { recursive: true });
  writeFileSync(join(subject.dir, path), "");
}

const query = (path: string): string => `path=${encodeURIComponent(path)}`;

describe.each(names)("I42: %j", (name) => {
  test("is written, read, described and removed as it is, with the bytes at that very name", async () => {
    const path = `raw/${name}`;
    const url = `${subject.ws}/files/raw?${query(path)}`;
    const { client } = subject;
    if (isNormalised(name)) touch(path);
    const written = await client.send("PUT", url, { body: `in ${name}` });
    expect(written).toMatchObject({ status: isNormalised(name) ? 200 : 201, json: { path } });
    expect(readFileSync(join(subject.dir, path), "utf8")).toBe(`in ${name}`);
    const got = await client.get(url);
    expect([got.status, got.text]).toEqual([200, `in ${name}`]);
    const shown = dispositionParameters(got.headers.get("content-disposition") ?? "");
    expect(decodeExtended(shown?.get("filename*") ?? "") ?? shown?.get("filename")).toBe(name);
    expect((await client.send("HEAD", url)).headers.get("etag")).toBe(written.headers.get("etag"));
    const stat = await client.get(`${subject.ws}/files/stat?${query(path)}`);
    expect(stat.json).toMatchObject({ path, kind: "file", revision: written.json.revision });
    const { revision } = written.json;
    expect((await client.delete(url, { headers: { "if-match": `"${revision}"` } })).json).toEqual({
      ok: true,
      path,
    });
    expect((await client.get(url)).status).toBe(404);
  });

  test("goes through a file session: batches, catalog, events, operations", async () => {
    const path = `session/${name}`;
    const since = (await session.snapshot("limit=1")).json.cursor;
    if (isNormalised(name)) touch(path);
    const { json } = await session.write({ path, contentBase64: b64(name) });
    expect(json.items).toMatchObject([{ ok: true, path }]);
    expect((await session.read(path)).json.items).toMatchObject([
      { ok: true, path, contentBase64: b64(name) },
    ]);
    expect((await session.snapshot(`prefix=${encodeURIComponent(path)}`)).json.items).toMatchObject([
      { path },
    ]);
    const first = (await session.snapshot("prefix=session&limit=1")).json;
    expect(first.items).toMatchObject([{ path: "session" }]);
    const renamed = `session/other/${isNormalised(name) ? "plain" : name}`;
    expect((await session.ops({ type: "rename", from: path, to: renamed })).json.items).toMatchObject([
      { ok: true, from: path, to: renamed },
    ]);
    const after = (await session.snapshot(`after=${encodeURIComponent(renamed)}`)).json.items;
    expect(after.map((item: Item) => item.path)).not.toContain(renamed);
    const events: Item[] = (await session.events(`since=${since}`)).json.items;
    // What the other tests did may be told late, and in between.
    expect(events.filter((event) => event.path.startsWith("session/")).slice(-2)).toMatchObject([
      { type: "write", path },
      { type: "rename", path, toPath: renamed },
    ]);
    const gone = await session.ops({ type: "delete", path: "session", recursive: true });
    expect(gone.json.items).toEqual([{ ok: true, type: "delete", path: "session" }]);
  });

  test("is found by name and by content", async () => {
    const dir = join(subject.dir, "search");
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, name), `needle in ${names.indexOf(name)}.`);
    const search = async (words: object): Promise<string[]> => {
      const found = await subject.client.post(`${subject.ws}/files/search`, words);
      return found.json.items.map((item: Item) => item.path);
    };
    const content = { kind: "content", q: `needle in ${names.indexOf(name)}.` };
    // Without a watch the catalog looks again a little later.
    await expect.poll(() => search(content), { timeout: 5000 }).toEqual([`search/${name}`]);
    if (name.trim() !== "" && !/[\n]/.test(name)) {
      expect(await search({ q: name, limit: 1000 })).toContain(`search/${name}`);
    }
  });

  test("is handed over by inbox and outbox", async () => {
    const { client, dir, ws } = subject;
    const form = formOf([
      { name: "file", filename: "any", body: name },
      { name: "path", body: `in/${name}` },
    ]);
    const uploaded = await client.send("POST", `${ws}/inbox`, form);
    if (controls.test(name)) expect(uploaded).toMatchObject({ status: 400, json: { code: "invalid_path" } });
    else if (!isNormalised(name)) expect(uploaded.json).toMatchObject({ ok: true, path: `in/${name}` });
    for (const [area, { base }] of [
      ["inbox", inbox],
      ["artifacts", outbox],
    ] as const) {
      mkdirSync(join(dir, base), { recursive: true });
      writeFileSync(join(dir, base, name), `in ${area}`);
      const { json } = await client.get(`${ws}/${area}`);
      const item = json.items.find((one: { path: string }) => one.path === name);
      expect(item, area).toBeDefined();
      const got = await client.get(`${ws}/${area}/${item.id}`);
      expect([got.status, got.text]).toEqual([200, `in ${area}`]);
      const shown = dispositionParameters(got.headers.get("content-disposition") ?? "");
      expect(decodeExtended(shown?.get("filename*") ?? "") ?? shown?.get("filename")).toBe(name);
    }
  });
});
