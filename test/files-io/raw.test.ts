import { execFileSync } from "node:child_process";
import { lstatSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { leftovers } from "../storage/temporary-dir.ts";
import { sha256Hex } from "../../lib/hash.ts";
import { createMemoryStorage } from "../../adapters/storage/memory.ts";
import { formOf } from "../support/forms.ts";
import {
  configOf,
  put,
  startMemoryServer,
  textOf,
  type Exchange,
  type RequestOptions,
} from "../support/memory-host.ts";
import { decide, pathsIn, start, viewerOf, waiting, type Subject } from "./subjects.ts";

const raw = (
  { client, ws }: Subject,
  method: string,
  path: string,
  options: RequestOptions = {},
): Promise<Exchange> => client.send(method, `${ws}/files/raw?path=${encodeURIComponent(path)}`, options);

const noFile = (words: string): unknown[] => [404, "file_not_found", expect.stringContaining(words)];

describe.each(["memory", "disk"] as const)("raw bytes over %s", (kind) => {
  test("any bytes go in and come out; parents are made; 201, then 200", async () => {
    using subject = await start(kind);
    const body = Uint8Array.from({ length: 70_000 }, (_, n) => n % 256);
    const made = await raw(subject, "PUT", "a/b/x.bin", { body });
    expect(made).toMatchObject({ status: 201, json: { ok: true, path: "a/b/x.bin", bytes: 70_000 } });
    expect(made.headers.get("etag")).toBe(`"${made.json.revision}"`);
    expect((await raw(subject, "PUT", "a/b/x.bin", { body })).status).toBe(200);
    const response = await subject.client.handler(
      new Request(`http://x${subject.ws}/files/raw?path=a/b/x.bin`, {
        headers: { authorization: "Bearer client-token" },
      }),
    );
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(body);
    expect((await raw(subject, "PUT", "empty", {})).json.bytes).toBe(0);
    expect(await raw(subject, "GET", "empty")).toMatchObject({ status: 200, text: "" });
  });

  test("I56: headers of a download, HEAD alike", async () => {
    using subject = await start(kind);
    const { json } = await raw(subject, "PUT", "n.html", { body: "<p>é" });
    const get = await raw(subject, "GET", "n.html");
    const expected = {
      "accept-ranges": "bytes",
      "content-disposition": 'attachment; filename="n.html"',
      "content-length": "5",
      "content-type": "text/html; charset=utf-8",
      etag: `"${json.revision}"`,
      "last-modified": new Date(json.updatedAt).toUTCString(),
      "x-content-type-options": "nosniff",
    };
    expect(Object.fromEntries(get.headers)).toMatchObject(expected);
    const head = await raw(subject, "HEAD", "n.html");
    expect(head).toMatchObject({ status: 200, text: "" });
    expect(Object.fromEntries(head.headers)).toMatchObject(expected);
  });

  test.each([
    ["bytes=0-1", 206, "01", "bytes 0-1/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-2", 206, "89", "bytes 8-9/10"],
    ["bytes=2-99", 206, "23456789", "bytes 2-9/10"],
    ["bytes=0-0,5-5", 200, "0123456789", null],
    ["lines=0-1", 200, "0123456789", null],
  ])("I56: Range %s", async (range, status, text, contentRange) => {
    using subject = await start(kind);
    await put(subject.storage, "f", "0123456789");
    const answer = await raw(subject, "GET", "f", { headers: { range } });
    expect(answer).toMatchObject({ status, text });
    expect(answer.headers.get("content-range")).toBe(contentRange);
    expect(answer.headers.get("content-length")).toBe(String(text.length));
  });

  test("I56: a range outside is a 416 that tells the size; If-Range decides", async () => {
    using subject = await start(kind);
    await put(subject.storage, "f", "0123456789");
    const outside = await raw(subject, "GET", "f", { headers: { range: "bytes=10-" } });
    expect(outside).toMatchObject({ status: 416, json: { code: "range_not_satisfiable" } });
    expect(outside.headers.get("content-range")).toBe("bytes */10");
    for (const range of ["bytes=1-2", "bytes=10-"]) {
      const head = await raw(subject, "HEAD", "f", { headers: { range } });
      expect([head.status, head.headers.get("content-length")]).toEqual([200, "10"]);
      expect(head.headers.has("content-range")).toBe(false);
    }
    const etag = (await raw(subject, "HEAD", "f")).headers.get("etag") ?? "";
    const range = "bytes=0-0";
    expect((await raw(subject, "GET", "f", { headers: { range, "if-range": etag } })).status).toBe(206);
    await put(subject.storage, "f", "9876543210");
    expect(await raw(subject, "GET", "f", { headers: { range, "if-range": etag } })).toMatchObject({
      status: 200,
      text: "9876543210",
    });
  });

  test("I56: 304 and 412 on a read", async () => {
    using subject = await start(kind);
    await put(subject.storage, "f", "x");
    const etag = (await raw(subject, "HEAD", "f")).headers.get("etag") ?? "";
    for (const method of ["GET", "HEAD"]) {
      const answer = await raw(subject, method, "f", { headers: { "if-none-match": etag } });
      expect(answer).toMatchObject({ status: 304, text: "" });
      expect(answer.headers.get("etag")).toBe(etag);
    }
    expect(await raw(subject, "GET", "f", { headers: { "if-match": '"other"' } })).toMatchObject({
      status: 412,
      json: { code: "precondition_failed" },
    });
  });

  test("I46, I47: If-Match and If-None-Match: * protect a write and a removal", async () => {
    using subject = await start(kind);
    const fresh = { "if-none-match": "*" };
    const { json } = await raw(subject, "PUT", "f", { body: "1", headers: fresh });
    const refused = await raw(subject, "PUT", "f", { body: "2", headers: fresh });
    expect(refused).toMatchObject({
      status: 412,
      json: { code: "precondition_failed", details: { currentRevision: json.revision } },
    });
    const own = { "if-match": `"${json.revision}"` };
    const next = await raw(subject, "PUT", "f", { body: "2", headers: own });
    expect(next.status).toBe(200);
    for (const method of ["PUT", "DELETE"])
      expect((await raw(subject, method, "f", { headers: own })).status).toBe(412);
    expect(await raw(subject, "PUT", "gone", { body: "2", headers: own })).toMatchObject({
      status: 412,
      json: { details: { currentRevision: null } },
    });
    expect(await textOf(subject.storage, "f")).toBe("2");
    expect(
      (await raw(subject, "DELETE", "f", { headers: { "if-match": `"${next.json.revision}"` } })).json,
    ).toEqual({ ok: true, path: "f" });
  });

  test("of two that want to be first, one is", async () => {
    using subject = await start(kind);
    const headers = { "if-none-match": "*" };
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) => raw(subject, "PUT", "f", { body: String(n), headers })),
    );
    expect(answers.map((answer) => answer.status).toSorted()).toEqual([
      201,
      ...Array.from({ length: 7 }, () => 412),
    ]);
    const winner = answers.findIndex((answer) => answer.status === 201);
    expect(await textOf(subject.storage, "f")).toBe(String(winner));
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("removal: a file; a directory only when told so; what is not there is a 404", async () => {
    using subject = await start(kind);
    await put(subject.storage, "d/e/x", "");
    await put(subject.storage, "d/y", "");
    expect((await raw(subject, "DELETE", "d/y")).status).toBe(200);
    expect(await raw(subject, "DELETE", "d")).toMatchObject({ status: 400, json: { code: "invalid_path" } });
    expect((await subject.client.delete(`${subject.ws}/files/raw?path=d&recursive=true`)).status).toBe(200);
    expect(await raw(subject, "DELETE", "d")).toMatchObject({
      status: 404,
      json: { code: "file_not_found" },
    });
    expect(await raw(subject, "DELETE", "/")).toMatchObject({ status: 400, json: { code: "invalid_path" } });
    const { json } = await subject.client.get(`${subject.ws}/audit`);
    expect(json.items[0]).toMatchObject({ action: "workspace.file.delete" });
  });

  test("the limit, a directory, a part of a file", async () => {
    using subject = await start(kind, { inbox: { enabled: true, maxBytes: 10 } });
    await put(subject.storage, "d/x", "");
    expect((await raw(subject, "PUT", "f", { body: "0123456789" })).status).toBe(201);
    const body = new Blob(["01234", "567890"]).stream();
    const init = { method: "PUT", headers: { authorization: "Bearer client-token" }, duplex: "half" };
    const response = await subject.client.handler(
      new Request(`http://x${subject.ws}/files/raw?path=g`, { ...init, body } as RequestInit),
    );
    expect([response.status, await response.json()]).toMatchObject([
      413,
      { code: "file_too_large", details: { maxBytes: 10, size: 11 } },
    ]);
    expect((await raw(subject, "PUT", "d", { body: "" })).json.code).toBe("invalid_path");
    expect((await raw(subject, "PUT", "f/x", { body: "" })).json.code).toBe("invalid_path");
    expect(
      (await raw(subject, "PUT", "f", { body: "0", headers: { "content-range": "bytes 0-0/1" } })).json.code,
    ).toBe("invalid_payload");
    expect(await pathsIn(subject.storage)).toEqual(["d/x", "f"]);
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("a compressed body is a 415 that names what is taken, and nothing of it stays", async () => {
    using subject = await start(kind);
    for (const coding of ["gzip", "br", "identity, gzip"]) {
      const headers = { "content-encoding": coding };
      const refused = await raw(subject, "PUT", "coded", { body: "x", headers });
      expect([refused.status, refused.json.code, refused.headers.get("accept-encoding")]).toEqual([
        415,
        "unsupported_media_type",
        "identity",
      ]);
    }
    expect((await raw(subject, "GET", "coded")).status).toBe(404);
    const json = { body: "{}", headers: { "content-encoding": "gzip" } };
    const refused = await subject.client.send("POST", `${subject.ws}/plugins`, json);
    expect([refused.status, refused.json.code]).toEqual([415, "unsupported_media_type"]);
    const plain = { "content-encoding": "identity" };
    expect((await raw(subject, "PUT", "plain", { body: "x", headers: plain })).status).toBe(201);
  });

  test("a form is a 415 that says how to send the file itself, and nothing of it stays", async () => {
    using subject = await start(kind);
    const { body, headers } = formOf([{ name: "file", filename: "a.bin", body: "bytes" }]);
    for (const type of [headers["content-type"] ?? "", "Multipart/Form-Data"]) {
      const refused = await raw(subject, "PUT", "form", { body, headers: { "content-type": type } });
      expect([refused.status, refused.json.code]).toEqual([415, "unsupported_media_type"]);
      expect(refused.json.message).toMatch(/-T FILE or --data-binary @FILE/);
    }
    expect((await raw(subject, "GET", "form")).status).toBe(404);
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
    // What curl says of --data-binary, and a stored form.
    for (const type of ["application/x-www-form-urlencoded", "multipart/related; boundary=x"]) {
      const made = await raw(subject, "PUT", `as-${type[0]}`, { body, headers: { "content-type": type } });
      expect(made.status).toBe(201);
    }
  });

  test("a directory is a 404 that says that it is one, as long as nothing else is there", async () => {
    using subject = await start(kind);
    await put(subject.storage, "d/x", "");
    const told = async (path: string): Promise<unknown[]> => {
      const { status, json } = await raw(subject, "GET", path);
      return [status, json.code, json.message];
    };
    expect(await told("d")).toEqual(noFile('"d" is a directory'));
    expect(await told("e")).toEqual(noFile('There is no file "e"'));
    if (subject.dir) execFileSync("mkfifo", [join(subject.dir, "p")]);
    expect(await told("p")).toEqual(noFile(subject.dir ? '"p" is a pipe' : "There is no file"));
  });

  test("stat tells what a path is", async () => {
    using subject = await start(kind);
    await put(subject.storage, "d/x.json", "{}");
    const stat = (path: string): Promise<Exchange> =>
      subject.client.get(`${subject.ws}/files/stat?path=${path}`);
    const { json } = await stat("d/x.json");
    expect(json).toMatchObject({
      path: "d/x.json",
      kind: "file",
      size: 2,
      mediaType: "application/json; charset=utf-8",
    });
    expect((await raw(subject, "HEAD", "d/x.json")).headers.get("etag")).toBe(`"${json.revision}"`);
    expect((await stat("d")).json).toMatchObject({ path: "d", kind: "dir", size: 0 });
    expect((await stat("nope")).json.code).toBe("file_not_found");
  });

  test("manual: a denied write and removal change nothing", async () => {
    using subject = await start(kind, { approval: { mode: "manual", timeoutMs: 5000 } });
    await put(subject.storage, "f", "old");
    for (const method of ["PUT", "DELETE"]) {
      const sent = raw(subject, method, "f", method === "PUT" ? { body: "new" } : {});
      const request = await waiting(subject.client);
      expect(request.paths).toEqual([`${subject.dir || "/ws"}/f`]);
      await decide(subject.client, request.id, "deny");
      expect((await sent).json.code).toBe("write_denied");
    }
    expect(await textOf(subject.storage, "f")).toBe("old");
    if (subject.dir) expect(leftovers(subject.dir)).toEqual([]);
  });

  test("I32: the host sees what a streamed body holds: its lines, or its size and hash", async () => {
    using subject = await start(kind, { approval: { mode: "manual", timeoutMs: 5000 } });
    await put(subject.storage, "f", "one\ntwo\n");
    const large = new Uint8Array(3 * 1024 * 1024).fill(7);
    const limit = "a".repeat(1024 * 1024);
    for (const [path, body, shown] of [
      ["f", "one\n2\n", " one\n-two\n+2\n"],
      ["g", "", "+++ b/g\n(an empty file)"],
      ["g", Uint8Array.of(0, 1), `absent -> 2 bytes, sha256 ${sha256Hex(Uint8Array.of(0, 1))}`],
      ["g", large, `absent -> ${large.length} bytes, sha256 ${sha256Hex(large)}`],
      ["g", limit, "+aaaa"],
      ["g", `${limit}a`, `absent -> ${limit.length + 1} bytes, sha256 ${sha256Hex(`${limit}a`)}`],
    ] as const) {
      const sent = raw(subject, "PUT", path, { body });
      const request = await waiting(subject.client);
      expect(request.diff).toContain(shown);
      await decide(subject.client, request.id, "deny");
      expect((await sent).json.code).toBe("write_denied");
    }
    const body = new Uint8Array(70_000).map((_, n) => n);
    const sent = raw(subject, "PUT", "kept", { body });
    await decide(subject.client, (await waiting(subject.client)).id, "allow");
    expect((await sent).status).toBe(201);
    expect((await subject.storage.readFile("kept"))?.bytes).toEqual(body);
  });

  test("I05: viewers read what is open and change nothing", async () => {
    using subject = await start(kind);
    await put(subject.storage, "deep/.ENV", "KEY=1");
    await put(subject.storage, "open", "o");
    const token = await viewerOf(subject.client);
    for (const method of ["GET", "HEAD"])
      expect((await raw(subject, method, "deep/.ENV", { token })).status).toBe(403);
    expect((await raw(subject, "GET", "open", { token })).text).toBe("o");
    for (const method of ["PUT", "DELETE"])
      expect((await raw(subject, method, "open", { token })).json.code).toBe("forbidden");
  });
});

test("I01: links lead nowhere outside, and a removed link is the link alone", async () => {
  using subject = await start("disk");
  using outside = await start("disk");
  await put(outside.storage, "secret", "s");
  await put(subject.storage, "real/x", "x");
  symlinkSync(outside.dir, join(subject.dir, "out"));
  symlinkSync("real", join(subject.dir, "in"));
  symlinkSync("real/x", join(subject.dir, "link"));
  for (const method of ["GET", "PUT", "DELETE"]) {
    expect((await raw(subject, method, "out/secret", method === "PUT" ? { body: "!" } : {})).json.code).toBe(
      "invalid_path",
    );
  }
  expect(await textOf(outside.storage, "secret")).toBe("s");
  expect((await raw(subject, "GET", "in/x")).text).toBe("x");
  expect((await raw(subject, "DELETE", "link")).status).toBe(200);
  expect((await raw(subject, "DELETE", "in")).status).toBe(200);
  expect(() => lstatSync(join(subject.dir, "in"))).toThrow();
  expect(await textOf(subject.storage, "real/x")).toBe("x");
});

test("a log that grows between every look at it and its opening is given as it was when it was opened", async () => {
  const log = createMemoryStorage();
  let text = "0123456789";
  await put(log, "log", text);
  const growing = new Proxy(log, {
    get(target, key) {
      if (key === "stat") {
        return async (path: string) => {
          const entry = await target.stat(path);
          if (path === "log") await put(target, path, (text += "+"));
          return entry;
        };
      }
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const { client, workspace } = await startMemoryServer(configOf(), { storage: () => growing });
  const get = (headers: Record<string, string> = {}): Promise<Exchange> =>
    client.get(`/workspace/${workspace}/files/raw?path=log`, { headers });
  const whole = await get();
  expect([whole.status, whole.text]).toEqual([200, text]);
  expect(whole.headers.get("content-length")).toBe(String(text.length));
  const open = await get({ range: "bytes=2-" });
  const total = text.length;
  expect(open.headers.get("content-range")).toBe(`bytes 2-${open.text.length + 1}/${total}`);
  expect([open.status, text.slice(2).startsWith(open.text)]).toEqual([206, true]);
  const first = await get({ range: "bytes=0-1" });
  expect([first.status, first.text]).toEqual([206, "01"]);
  expect((await get({ "if-match": open.headers.get("etag") ?? "" })).status).toBe(412);
});
