import { chmodSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { attachment, dispositionParameters } from "../../lib/http/content-disposition.ts";
import { leftovers } from "../storage/temporary-dir.ts";
import { formOf, idOf } from "../support/forms.ts";
import { put, textOf, type Exchange } from "../support/memory-host.ts";
import { decide, pathsIn, start, viewerOf, waiting, type Subject } from "./subjects.ts";

const base = ".opencode/openwork/inbox";

function upload(
  subject: Subject,
  parts: Parameters<typeof formOf>[0],
  query = "",
  options = {},
): Promise<Exchange> {
  return subject.client.send("POST", `${subject.ws}/inbox${query}`, { ...formOf(parts), ...options });
}

const file = (filename: string, body = "1"): { name: string; filename: string; body: string } => ({
  name: "file",
  filename,
  body,
});

test.each([
  ["the file that the path names", "there", 0o640, 0o640],
  ["a new file", "new", null, 0o666 & ~process.umask()],
])("an upload whose path comes after its bytes has the mode of %s", async (_what, path, before, after) => {
  using subject = await start("disk");
  const inbox = join(subject.dir, base);
  await put(subject.storage, `${base}/guessed`, "");
  chmodSync(join(inbox, "guessed"), 0o600);
  if (before !== null) writeFileSync(join(inbox, path), "old");
  if (before !== null) chmodSync(join(inbox, path), before);
  const answer = await upload(subject, [file("guessed", "new"), { name: "path", body: path }]);
  expect(answer.json).toEqual({ ok: true, path, bytes: 3 });
  expect(readFileSync(join(inbox, path), "utf8")).toBe("new");
  expect((statSync(join(inbox, path)).mode & 0o777).toString(8)).toBe(after.toString(8));
  expect(readFileSync(join(inbox, "guessed"), "utf8")).toBe("");
});

describe.each(["memory", "disk"] as const)("the inbox over %s", (kind) => {
  test("the place: query, else the field before or after the file, else the filename", async () => {
    using subject = await start(kind);
    const path = { name: "path", body: " sub/dir/b.txt " };
    expect((await upload(subject, [file("a.txt")])).json).toEqual({ ok: true, path: "a.txt", bytes: 1 });
    expect((await upload(subject, [path, file("x")])).json.path).toBe("sub/dir/b.txt");
    expect((await upload(subject, [file("x"), { ...path, body: "after.txt" }])).json.path).toBe("after.txt");
    expect((await upload(subject, [path, file("x")], "?path=q.txt")).json.path).toBe("q.txt");
    expect((await upload(subject, [{ ...path, body: "  " }, file(" y ")])).json.path).toBe("y");
    expect((await upload(subject, [file("first"), file("second")])).json.path).toBe("first");
    const names = ["a.txt", "after.txt", "first", "q.txt", "sub/dir/b.txt", "y"];
    expect(await pathsIn(subject.storage)).toEqual(names.map((name) => `${base}/${name}`));
  });

  test("a filename that cannot be a path does no harm when the path comes after it", async () => {
    using subject = await start(kind);
    const to = { name: "path", body: "ok.txt" };
    await put(subject.storage, `${base}/dir/x`, "");
    for (const name of ["..", "dir", "a\nb", "n".repeat(300)]) {
      expect((await upload(subject, [file(name, name), to])).json).toMatchObject({
        ok: true,
        path: "ok.txt",
      });
    }
  });

  test.each([
    "..",
    ".",
    "../x",
    "a/../../x",
    "/",
    "a\0",
    "a\nb",
    "a\u007f",
    "\u0085x",
    "n".repeat(300),
    ".owtmp-0123456789abcdef0123",
  ])("I43: %j is refused as a name, with nothing left", async (name) => {
    using subject = await start(kind);
    expect(await upload(subject, [file("x"), { name: "path", body: name }])).toMatchObject({
      status: 400,
      json: { code: "invalid_path" },
    });
    expect(await pathsIn(subject.storage)).toEqual([]);
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("I25: an upload onto a directory is a 400, with nothing left", async () => {
    using subject = await start(kind);
    await put(subject.storage, `${base}/dir/x`, "");
    for (const query of ["", "?path=dir"]) {
      expect(await upload(subject, [file("dir")], query)).toMatchObject({
        status: 400,
        json: { code: "invalid_path" },
      });
    }
    expect(await pathsIn(subject.storage)).toEqual([`${base}/dir/x`]);
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("I80: exactly the limit is fine, one byte more is a 413 that says so", async () => {
    using subject = await start(kind, { inbox: { enabled: true, maxBytes: 1000 } });
    expect((await upload(subject, [file("a", "x".repeat(1000))])).status).toBe(200);
    const over = await upload(subject, [file("b", "x".repeat(1001))]);
    expect(over).toMatchObject({
      status: 413,
      json: { code: "file_too_large", details: { maxBytes: 1000, size: 1001 } },
    });
    const huge = await upload(subject, [
      { name: "other", filename: "o", body: "x".repeat(2_000_000) },
      file("c"),
    ]);
    expect(huge).toMatchObject({ status: 413, json: { code: "file_too_large" } });
    expect(await pathsIn(subject.storage)).toEqual([`${base}/a`]);
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("a form without a file, and what is no form", async () => {
    using subject = await start(kind);
    for (const parts of [
      [],
      [{ name: "file", body: "text" }],
      [{ name: "other", filename: "x", body: "1" }],
      [file("")],
    ]) {
      expect(await upload(subject, parts)).toMatchObject({ status: 400, json: { code: "file_required" } });
    }
    expect(await subject.client.post(`${subject.ws}/inbox`, {})).toMatchObject({
      status: 400,
      json: { code: "invalid_payload" },
    });
  });

  test("a compressed form is a 415, and nothing of it stays", async () => {
    using subject = await start(kind);
    const form = formOf([file("coded")]);
    const headers = { ...form.headers, "content-encoding": "gzip" };
    const refused = await upload(subject, [file("coded")], "", { headers });
    expect([refused.status, refused.json.code]).toEqual([415, "unsupported_media_type"]);
    expect((await subject.client.get(`${subject.ws}/inbox`)).json).toEqual({ items: [] });
  });

  test("manual: the host sees the destination before a byte is kept; a denial leaves nothing", async () => {
    using subject = await start(kind, { approval: { mode: "manual", timeoutMs: 5000 } });
    const sent = upload(subject, [file("q.txt", "hello")]);
    const request = await waiting(subject.client);
    expect(request).toMatchObject({
      action: "workspace.inbox.upload",
      summary: expect.stringContaining("q.txt"),
    });
    expect(request.paths).toEqual([`${subject.dir || "/ws"}/${base}/q.txt`]);
    expect(request.diff).toContain("+hello\n");
    expect(await pathsIn(subject.storage)).toEqual([]);
    await decide(subject.client, request.id, "deny");
    expect(await sent).toMatchObject({ status: 403, json: { code: "write_denied" } });
    expect(await pathsIn(subject.storage)).toEqual([]);
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("I30: a file that came while the host thought is not overwritten", async () => {
    using subject = await start(kind, { approval: { mode: "manual", timeoutMs: 5000 } });
    const sent = upload(subject, [file("q.txt", "hello")]);
    const request = await waiting(subject.client);
    await put(subject.storage, `${base}/q.txt`, "another's");
    await decide(subject.client, request.id, "allow");
    expect(await sent).toMatchObject({ status: 409, json: { code: "conflict" } });
    expect(await textOf(subject.storage, `${base}/q.txt`)).toBe("another's");
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("I12: an upload is audited under its path", async () => {
    using subject = await start(kind);
    await upload(subject, [file("a.txt")]);
    const { json } = await subject.client.get(`${subject.ws}/audit`);
    expect(json.items[0]).toMatchObject({
      action: "workspace.inbox.upload",
      target: `${subject.dir || "/ws"}/${base}/a.txt`,
    });
  });

  test("I43, I56: every name that is taken comes back, in list and download", async () => {
    using subject = await start(kind);
    const name = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 30 })
      .filter(
        (text) => !/[\p{Cc}/\\]/u.test(text) && text.trim() !== "" && !["..", "."].includes(text.trim()),
      );
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          name,
          fc.constantFrom('say "hi"', "日本.txt", "😀", "a;b=c", "100%", "it's*", "-rf", "x?y#z"),
        ),
        async (text) => {
          const sent = await upload(subject, [file(text.replaceAll("%", "_%"), "body")]);
          expect(sent.status).toBe(200);
          const { path } = sent.json;
          const { json } = await subject.client.get(`${subject.ws}/inbox`);
          const item = json.items.find((one: { path: string }) => one.path === path);
          expect(item).toMatchObject({ id: idOf(path), name: path, size: 4 });
          const back = await subject.client.get(`${subject.ws}/inbox/${item.id}`);
          expect(back).toMatchObject({ status: 200, text: "body" });
          expect(back.headers.get("content-disposition")).toBe(attachment(path));
        },
      ),
      { numRuns: 40 },
    );
  });

  test("switched off", async () => {
    using subject = await start(kind, { inbox: { enabled: false, maxBytes: 1 } });
    await put(subject.storage, `${base}/a`, "");
    expect((await subject.client.get(`${subject.ws}/inbox`)).json).toEqual({ items: [] });
    expect(await upload(subject, [file("a")])).toMatchObject({
      status: 404,
      json: { code: "inbox_disabled" },
    });
    // Told before the workspace is looked for (contract, section 3).
    expect(await upload({ ...subject, ws: "/workspace/ws_000000000000" }, [file("a")])).toMatchObject({
      status: 404,
      json: { code: "inbox_disabled" },
    });
    expect(await subject.client.get(`${subject.ws}/inbox/${idOf("a")}`)).toMatchObject({
      status: 404,
      json: { code: "inbox_disabled" },
    });
  });

  test("I70: the mount has it too; viewers may look and not add; read-only takes nothing", async () => {
    using subject = await start(kind);
    await upload(subject, [file("a"), { name: "path", body: "id.key" }]);
    await upload(subject, [file("a")]);
    const token = await viewerOf(subject.client);
    const mount = `/w/${subject.ws.slice("/workspace/".length)}${subject.ws}/inbox`;
    expect((await subject.client.get(mount, { token })).json.items).toHaveLength(2);
    expect((await subject.client.get(`${mount}/${idOf("a")}`, { token })).text).toBe("1");
    expect(await upload(subject, [file("b")], "", { token })).toMatchObject({
      status: 403,
      json: { code: "forbidden" },
    });
    expect(await subject.client.get(`${mount}/${idOf("id.key")}`, { token })).toMatchObject({
      status: 403,
      json: { details: { reason: "protected" } },
    });
    using closed = await start(kind, { readOnly: true });
    expect(await upload(closed, [file("b")])).toMatchObject({ status: 403, json: { code: "read_only" } });
  });
});

test("I01: an upload through a link that leads out is refused, one that stays inside works", async () => {
  using subject = await start("disk");
  using outside = await start("disk");
  await put(subject.storage, `${base}/keep`, "");
  await put(subject.storage, "real/x", "");
  symlinkSync(outside.dir, join(subject.dir, base, "out"));
  symlinkSync("../../../real", join(subject.dir, base, "in"));
  writeFileSync(join(outside.dir, "secret"), "s");
  symlinkSync(join(outside.dir, "secret"), join(subject.dir, base, "file"));
  for (const path of ["out/a", "file"]) {
    expect(await upload(subject, [file("a"), { name: "path", body: path }])).toMatchObject({
      status: 400,
      json: { code: "invalid_path" },
    });
  }
  expect(await pathsIn(outside.storage)).toEqual(["secret"]);
  expect(await textOf(outside.storage, "secret")).toBe("s");
  expect((await upload(subject, [file("a")], "?path=in/a")).status).toBe(200);
  expect(await textOf(subject.storage, "real/a")).toBe("1");
  expect(leftovers(subject.dir)).toEqual([]);
});

test("dispositions that tests compare are readable", () => {
  expect(dispositionParameters(attachment("x"))?.get("filename")).toBe("x");
});
