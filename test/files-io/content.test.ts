import { execFileSync } from "node:child_process";
import { chmodSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { put, textOf, type Exchange } from "../support/memory-host.ts";
import { decide, pathsIn, start, viewerOf, waiting, type Subject } from "./subjects.ts";

const read = ({ client, ws }: Subject, path: string, options = {}): Promise<Exchange> =>
  client.get(`${ws}/files/content?path=${encodeURIComponent(path)}`, options);
const write = ({ client, ws }: Subject, body: unknown, options = {}): Promise<Exchange> =>
  client.post(`${ws}/files/content`, body, options);

describe.each(["memory", "disk"] as const)("single markdown files over %s", (kind) => {
  test("what is written is read back, with parents made and the very bytes", async () => {
    using subject = await start(kind);
    const content = "\ufeffhé\r\nllo\0😀";
    const written = await write(subject, { path: "/workspace/new/dir/n.md", content });
    expect(written).toMatchObject({ status: 200, json: { ok: true, path: "new/dir/n.md", bytes: 16 } });
    const { updatedAt, revision } = written.json;
    expect((await read(subject, "new/dir/n.md")).json).toEqual({
      path: "new/dir/n.md",
      content,
      bytes: 16,
      updatedAt,
      revision,
    });
  });

  test("what is wrong with the path is told before what is wrong with the content", async () => {
    using subject = await start(kind);
    for (const body of [{}, { path: 5 }, { path: "a.txt", content: 5 }, { path: "../a.md" }]) {
      expect(await write(subject, body)).toMatchObject({ status: 400, json: { code: "invalid_path" } });
    }
    for (const content of [undefined, null, 5, ["a"], {}]) {
      expect(await write(subject, { path: "a.md", content })).toMatchObject({
        status: 400,
        json: { code: "invalid_payload", details: { path: "content" } },
      });
    }
  });

  test("I41: the prefix workspace/ goes only when there is no such entry", async () => {
    using subject = await start(kind);
    await put(subject.storage, "a.md", "root");
    expect((await read(subject, "workspace/a.md")).json).toMatchObject({ path: "a.md", content: "root" });
    await put(subject.storage, "workspace/b.md", "inner");
    expect((await read(subject, "workspace/b.md")).json).toMatchObject({ path: "workspace/b.md" });
    expect((await write(subject, { path: "/workspace/c.md", content: "c" })).json.path).toBe(
      "workspace/c.md",
    );
    expect(await textOf(subject.storage, "c.md")).toBeNull();
  });

  test("I42: names with outer blanks and backslashes are read by the name listed", async () => {
    using subject = await start(kind);
    for (const name of [" a.md", "b\\c.md", " d /e.md"]) {
      await put(subject.storage, name, name);
      expect((await read(subject, name)).json).toMatchObject({ path: name, content: name });
    }
  });

  test("I48: what is not UTF-8 is a 415 and stays as it is", async () => {
    using subject = await start(kind);
    await subject.storage.commit([{ op: "write", path: "l.md", body: Uint8Array.of(0x68, 0xe9) }]);
    expect(await read(subject, "l.md")).toMatchObject({ status: 415, json: { code: "not_text" } });
  });

  test("I46, I47: a base protects, also against a vanished file; null means new; force wins", async () => {
    using subject = await start(kind);
    const first = (await write(subject, { path: "a.md", content: "1", ifMatchRevision: null })).json;
    expect(await write(subject, { path: "a.md", content: "x", ifMatchRevision: null })).toMatchObject({
      status: 409,
      json: { code: "conflict" },
    });
    const second = (
      await write(subject, {
        path: "a.md",
        content: "2",
        baseUpdatedAt: first.updatedAt,
        ifMatchRevision: first.revision,
      })
    ).json;
    expect(second.revision).not.toBe(first.revision);
    expect(
      await write(subject, { path: "a.md", content: "3", ifMatchRevision: first.revision }),
    ).toMatchObject({
      status: 409,
      json: {
        code: "conflict",
        details: { expectedRevision: first.revision, currentRevision: second.revision },
      },
    });
    const baseUpdatedAt = second.updatedAt - 5;
    expect(await write(subject, { path: "a.md", content: "3", baseUpdatedAt })).toMatchObject({
      status: 409,
      json: { code: "conflict", details: { baseUpdatedAt, currentUpdatedAt: second.updatedAt } },
    });
    expect((await write(subject, { path: "a.md", content: "3", baseUpdatedAt, force: true })).status).toBe(
      200,
    );
    expect(await write(subject, { path: "gone.md", content: "x", baseUpdatedAt })).toMatchObject({
      status: 409,
      json: { details: { currentUpdatedAt: null } },
    });
    expect((await write(subject, { path: "b.md", content: "x", baseUpdatedAt: null })).status).toBe(200);
  });

  test.each([
    [{ path: "a.txt", content: "" }, 400, "invalid_path"],
    [{ path: "", content: "" }, 400, "invalid_path"],
    [{ path: "../a.md", content: "" }, 400, "invalid_path"],
    [{ path: "d.md", content: "" }, 400, "invalid_path"],
    [{ path: `${"n".repeat(300)}.md`, content: "" }, 400, "invalid_path"],
    [{ content: "" }, 400, "invalid_path"],
    [{ path: "a.md" }, 400, "invalid_payload"],
    [{ path: "a.md", content: 5 }, 400, "invalid_payload"],
    [{ path: 5, content: "" }, 400, "invalid_path"],
    [{ path: "a.md", content: "", baseUpdatedAt: "1" }, 400, "invalid_payload"],
    [{ path: "a.md", content: "", force: "yes" }, 400, "invalid_payload"],
    [{ path: "a.md", content: "half \ud83d" }, 400, "invalid_payload"],
    [{ path: "a.md", content: "é".repeat(2_500_001) }, 413, "file_too_large"],
  ])("refused: %j", async (body, status, code) => {
    using subject = await start(kind);
    await put(subject.storage, "d.md/x", "");
    expect(await write(subject, body)).toMatchObject({ status, json: { code } });
    expect(await pathsIn(subject.storage)).toEqual(["d.md/x"]);
  });

  test("missing, a directory, too large, another extension", async () => {
    using subject = await start(kind);
    await put(subject.storage, "d.md/x", "");
    await put(subject.storage, "big.md", "x".repeat(5_000_001));
    expect((await read(subject, "nope.md")).json.code).toBe("file_not_found");
    expect((await read(subject, "d.md")).json).toMatchObject({
      code: "file_not_found",
      message: expect.stringContaining('"d.md" is a directory'),
    });
    expect((await read(subject, "d.md/x")).json.code).toBe("invalid_path");
    expect(await read(subject, "big.md")).toMatchObject({
      status: 413,
      json: { details: { maxBytes: 5_000_000, size: 5_000_001 } },
    });
  });

  test("I30: a file that changed while the host thought is a 409 with both revisions", async () => {
    using subject = await start(kind, { approval: { mode: "manual", timeoutMs: 5000 } });
    await put(subject.storage, "a.md", "old\n");
    const sent = write(subject, { path: "a.md", content: "new\n" });
    const request = await waiting(subject.client);
    expect(request).toMatchObject({
      action: "workspace.file.write",
      paths: [`${subject.dir || "/ws"}/a.md`],
    });
    expect(request.diff).toContain("-old\n+new\n");
    await put(subject.storage, "a.md", "another's\n");
    await decide(subject.client, request.id, "allow");
    const { status, json } = await sent;
    expect([status, json.code]).toEqual([409, "conflict"]);
    expect(json.details.expectedRevision).not.toBe(json.details.currentRevision);
    expect(await textOf(subject.storage, "a.md")).toBe("another's\n");
  });

  test("I05, I12: viewers do not read protected names; writes are audited", async () => {
    using subject = await start(kind);
    await write(subject, { path: ".env.md", content: "KEY" });
    const token = await viewerOf(subject.client);
    expect(await read(subject, ".env.md", { token })).toMatchObject({
      status: 403,
      json: { details: { reason: "protected" } },
    });
    const { json } = await subject.client.get(`${subject.ws}/audit`);
    expect(json.items[0]).toMatchObject({
      action: "workspace.file.write",
      target: `${subject.dir || "/ws"}/.env.md`,
    });
  });
});

test("I01, I05, I13: links stay inside, protect what they lead to, and are written through with the mode kept", async () => {
  using subject = await start("disk");
  await put(subject.storage, ".env", "KEY=1");
  await put(subject.storage, "real.md", "old");
  chmodSync(join(subject.dir, "real.md"), 0o600);
  symlinkSync(".env", join(subject.dir, "innocent.md"));
  symlinkSync("real.md", join(subject.dir, "link.md"));
  symlinkSync("/etc/hostname", join(subject.dir, "out.md"));
  execFileSync("mkfifo", [join(subject.dir, "fifo.md")]);
  const token = await viewerOf(subject.client);
  expect((await read(subject, "innocent.md", { token })).status).toBe(403);
  expect((await read(subject, "innocent.md")).json.content).toBe("KEY=1");
  expect((await read(subject, "out.md")).json.code).toBe("invalid_path");
  expect((await read(subject, "fifo.md")).json.code).toBe("file_not_found");
  expect((await write(subject, { path: "fifo.md", content: "" })).json.code).toBe("invalid_path");
  expect((await write(subject, { path: "link.md", content: "new" })).status).toBe(200);
  expect(await textOf(subject.storage, "real.md")).toBe("new");
  expect(statSync(join(subject.dir, "real.md")).mode & 0o777).toBe(0o600);
});
