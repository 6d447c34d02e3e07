import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import {
  configOf,
  put,
  startMemoryServer,
  textOf,
  type Client,
  type MemoryHost,
} from "../support/memory-host.ts";
import type { Storage } from "../../lib/storage.ts";
import { b64, SessionClient, startDiskServer, type DiskServer } from "./support.ts";

/** A note's number, which tells a client nothing. */
const internalId = /\bI\d\d\b/;

const running: DiskServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

interface Served {
  client: Client;
  session: SessionClient;
  storage: Storage;
  workspace: string;
  host: MemoryHost;
}

async function serve(files: Record<string, string> = {}, config = configOf()): Promise<Served> {
  const { client, workspace, storage, host } = await startMemoryServer(config);
  for (const [path, text] of Object.entries(files)) await put(storage, path, text);
  return { client, workspace, storage, host, session: await SessionClient.open(client, workspace) };
}

const manual = configOf({ approval: { mode: "manual", timeoutMs: 3000 } });

interface Pending {
  id: string;
  diff: string;
  paths: string[];
  action: string;
}

async function pending(client: Client): Promise<Pending> {
  const { json } = await client.get("/approvals?wait=3", { token: null, host: true });
  return json.items[0];
}

async function answer(client: Client, approval: Pending, reply: string): Promise<void> {
  await client.post(`/approvals/${approval.id}`, { reply }, { token: null, host: true });
}

async function audit(client: Client, workspace: string): Promise<Record<string, unknown>[]> {
  return (await client.get(`/workspace/${workspace}/audit`)).json.items;
}

describe("reading", () => {
  test("files of every kind of bytes come back as they are; what cannot be read hinders no other", async () => {
    const { session, storage } = await serve({ "a/text": "äöü" });
    const bytes = Uint8Array.from({ length: 100_001 }, (_, n) => n * 31);
    await storage.commit([
      { op: "write", path: "bytes", body: bytes },
      { op: "write", path: "empty", body: new Uint8Array() },
    ]);
    await storage.commit([{ op: "write", path: "huge", body: new Uint8Array(5_000_001) }]);
    const { json } = await session.read("bytes", "none", "a", "huge", "empty", "a/text");
    expect(json.items).toMatchObject([
      {
        ok: true,
        path: "bytes",
        kind: "file",
        bytes: 100_001,
        contentBase64: Buffer.from(bytes).toString("base64"),
      },
      { ok: false, path: "none", code: "file_not_found" },
      { ok: false, path: "a", code: "file_not_found" },
      { ok: false, path: "huge", code: "file_too_large", maxBytes: 5_000_000, size: 5_000_001 },
      { ok: true, path: "empty", bytes: 0, contentBase64: "" },
      { ok: true, path: "a/text", contentBase64: b64("äöü") },
    ]);
    expect(json.items[0].revision).toBe((await storage.stat("bytes"))?.revision);
  });

  test("I05: viewers see protected files listed, and get their contents by no name", async () => {
    const server = await startDiskServer();
    running.push(server);
    const { client, workspace, dir } = server;
    writeFileSync(join(dir, ".env"), "SECRET=1");
    writeFileSync(join(dir, "server.key"), "key");
    writeFileSync(join(dir, "plain"), "plain");
    symlinkSync(".env", join(dir, "innocent"));
    const { json } = await client.post("/tokens", { scope: "viewer" }, { token: null, host: true });
    const viewer = await SessionClient.open(client, workspace, { token: json.token });
    expect((await viewer.all()).map((item) => item.path)).toContain(".env");
    const { json: read } = await viewer.read(".env", "server.key", "plain", "innocent");
    expect(read.items).toMatchObject([
      { ok: false, path: ".env", code: "protected" },
      { ok: false, code: "protected" },
      { ok: true, contentBase64: b64("plain") },
      { ok: false, path: "innocent", code: "protected" },
    ]);
    expect(read.items[0].message).not.toMatch(internalId);
    const session = await SessionClient.open(client, workspace);
    expect((await session.read(".env", "innocent")).json.items).toMatchObject([{ ok: true }, { ok: true }]);
  });

  test("I01: what links outside is neither read nor written nor removed", async () => {
    const outside = await startDiskServer();
    const server = await startDiskServer();
    running.push(outside, server);
    writeFileSync(join(outside.dir, "secret"), "s");
    symlinkSync(outside.dir, join(server.dir, "out"));
    symlinkSync(join(outside.dir, "secret"), join(server.dir, "file"));
    const session = await SessionClient.open(server.client, server.workspace);
    for (const path of ["out/secret", "file"]) {
      for (const done of [
        await session.read(path),
        await session.write({ path, contentBase64: b64("x") }),
        await session.ops({ type: "rename", from: path, to: "taken" }),
        await session.ops({ type: "mkdir", path: `${path}/d` }),
      ]) {
        expect(done.json.items?.every((item: { ok: boolean }) => !item.ok) ?? done.status === 400).toBe(true);
      }
    }
    expect(readFileSync(join(outside.dir, "secret"), "utf8")).toBe("s");
    expect(await session.all()).toEqual([]);
  });
});

test("I32: the host sees where operations through links land, and one that leads out hinders no other", async () => {
  const outside = await startDiskServer();
  const server = await startDiskServer({}, { approval: { mode: "manual", timeoutMs: 3000 } });
  running.push(outside, server);
  mkdirSync(join(server.dir, "d"));
  writeFileSync(join(server.dir, "d/x"), "1");
  symlinkSync("d", join(server.dir, "link"));
  symlinkSync(outside.dir, join(server.dir, "out"));
  const session = await SessionClient.open(server.client, server.workspace);
  const done = session.ops(
    { type: "mkdir", path: "link/made" },
    { type: "rename", from: "link/x", to: "link/y" },
    { type: "rename", from: "link/y", to: "out/y" },
    { type: "delete", path: "out/z" },
    { type: "delete", path: "link", recursive: true },
  );
  const approval = await pending(server.client);
  const at = (path: string): string => join(server.dir, path);
  expect(approval.paths).toEqual(
    expect.arrayContaining(["link/made", "d/made", "d/x", "d/y", "out/y", "link"].map(at)),
  );
  expect(approval.paths).not.toContain(at("d"));
  await answer(server.client, approval, "allow");
  expect((await done).json.items.map((item: { ok: boolean }) => item.ok)).toEqual([
    true,
    true,
    false,
    false,
    true,
  ]);
  expect(existsSync(at("d/y"))).toBe(true);
});

describe("writing", () => {
  test("I47: null means that the file must not exist, and a base for a vanished file is a conflict", async () => {
    const { session, storage } = await serve({ there: "1" });
    const { revision } = (await storage.stat("there")) ?? { revision: "" };
    const { json } = await session.write(
      { path: "there", contentBase64: b64("2"), ifMatchRevision: null },
      { path: "new", contentBase64: b64("2"), ifMatchRevision: null },
      { path: "gone", contentBase64: b64("2"), ifMatchRevision: revision },
      { path: "gone-but-forced", contentBase64: b64("2"), ifMatchRevision: revision, force: true },
    );
    expect(json.items).toMatchObject([
      { ok: false, path: "there", code: "conflict", expectedRevision: null, currentRevision: revision },
      { ok: false, path: "gone", code: "conflict", expectedRevision: revision, currentRevision: null },
      { ok: true, path: "new", previousRevision: null },
      { ok: true, path: "gone-but-forced", previousRevision: null },
    ]);
    expect(await textOf(storage, "there")).toBe("1");
  });

  test("I46: a revision changes with the bytes, also at the same size within a millisecond", async () => {
    const { session } = await serve();
    const seen = new Set<string>();
    for (let n = 0; n < 20; n += 1) {
      const { json } = await session.write({ path: "f", contentBase64: b64(String(n % 10)) });
      seen.add(json.items[0].revision);
    }
    expect(seen.size).toBe(20);
  });

  test("I49: base64 is strict, in both alphabets, and an empty file can be saved", async () => {
    const { session, storage } = await serve();
    for (const contentBase64 of ["a", "!!!!", "eA=", "e A==", "eA===", "=", "ä", 5, null]) {
      const refused = await session.write({ path: "never", contentBase64 });
      expect([contentBase64, refused.status, refused.json.code]).toEqual([
        contentBase64,
        400,
        "invalid_payload",
      ]);
      expect(refused.json.message).not.toMatch(internalId);
    }
    const bytes = Uint8Array.of(0xfb, 0xff, 0xfe, 1);
    const { json } = await session.write(
      { path: "empty", contentBase64: "" },
      { path: "standard", contentBase64: Buffer.from(bytes).toString("base64") },
      { path: "url", contentBase64: ` ${Buffer.from(bytes).toString("base64url")} ` },
    );
    expect(json.items).toMatchObject([
      { ok: true, bytes: 0 },
      { ok: true, bytes: 4 },
      { ok: true, bytes: 4 },
    ]);
    expect((await storage.readFile("url"))?.bytes).toEqual(bytes);
    expect((await storage.readFile("standard"))?.bytes).toEqual(bytes);
    expect(await storage.stat("never")).toBeNull();
  });

  test("I53: wrong types are told with the field that is wrong", async () => {
    const { session } = await serve();
    const wrong = await session.write({ path: {}, contentBase64: "" });
    expect(wrong.json).toMatchObject({ code: "invalid_payload", details: { path: "writes.0.path" } });
    const base = await session.write({ path: "f", contentBase64: "", ifMatchRevision: 5 });
    expect(base.json).toMatchObject({
      code: "invalid_payload",
      details: { path: "writes.0.ifMatchRevision" },
    });
    expect((await session.ops({ type: "mkdir", path: [] })).json.code).toBe("invalid_payload");
  });

  test("a list is no object", async () => {
    const { client, session, storage, workspace } = await serve();
    for (const [path, body, field] of [
      [`${session.path}/ops`, { operations: [[]] }, "operations.0"],
      [`${session.path}/write-batch`, { writes: [[]] }, "writes.0"],
      [`/workspace/${workspace}/import`, { skills: [[]] }, "skills.0"],
      [`/workspace/${workspace}/import`, { commands: [[]] }, "commands.0"],
      [`/workspace/${workspace}/import`, { files: [[]] }, "files.0"],
      [`/workspace/${workspace}/import`, { mode: [], openwork: { a: 1 } }, "mode"],
    ] as const) {
      const answer = await client.post(path, body);
      expect([path, answer.status, answer.json.code, answer.json.details?.path]).toEqual([
        path,
        400,
        "invalid_payload",
        field,
      ]);
      expect(answer.json.message).toContain("must be an object");
    }
    expect(await storage.stat(".opencode")).toBeNull();
  });

  test("one item that fails hinders no other; the same file twice is written in order", async () => {
    const { session, storage } = await serve({ file: "x" });
    const { json } = await session.write(
      { path: "a", contentBase64: b64("first") },
      { path: "a", contentBase64: b64("second") },
      { path: "file/below", contentBase64: b64("x") },
      { path: "b", contentBase64: b64("b") },
    );
    expect(json.items.map((item: { ok: boolean; path: string }) => [item.path, item.ok])).toEqual([
      ["a", true],
      ["a", true],
      ["file/below", false],
      ["b", true],
    ]);
    expect(await textOf(storage, "a")).toBe("second");
    expect((await session.events()).json.items.map((event: { path: string }) => event.path)).toEqual([
      "a",
      "a",
      "b",
    ]);
  });

  test("I13, I24: modes are kept, links inside written through, hard links left behind", async () => {
    const server = await startDiskServer();
    running.push(server);
    writeFileSync(join(server.dir, "secret"), "1");
    chmodSync(join(server.dir, "secret"), 0o600);
    linkSync(join(server.dir, "secret"), join(server.dir, "twin"));
    symlinkSync("secret", join(server.dir, "link"));
    const session = await SessionClient.open(server.client, server.workspace);
    expect((await session.write({ path: "link", contentBase64: b64("2") })).json.items).toMatchObject([
      { ok: true },
    ]);
    expect(readFileSync(join(server.dir, "secret"), "utf8")).toBe("2");
    expect(statSync(join(server.dir, "secret")).mode & 0o777).toBe(0o600);
    expect((await session.all()).map((item) => item.path)).toEqual(["secret", "twin"]);
  });

  test("I30: what changed while the host thought is a conflict of its item, the others are written", async () => {
    const { client, session, storage, workspace } = await serve({ a: "1\n", b: "1\n" }, manual);
    const writing = session.write(
      { path: "a", contentBase64: b64("mine\n") },
      { path: "b", contentBase64: b64("mine\n") },
    );
    const approval = await pending(client);
    expect(approval).toMatchObject({ action: "workspace.files.session.write", paths: ["/ws/a", "/ws/b"] });
    expect(approval.diff).toContain("-1\n+mine\n");
    await put(storage, "a", "theirs\n");
    await answer(client, approval, "allow");
    const current = (await storage.stat("a"))?.revision;
    expect((await writing).json.items).toMatchObject([
      { ok: false, path: "a", code: "conflict", currentRevision: current },
      { ok: true, path: "b" },
    ]);
    expect([await textOf(storage, "a"), await textOf(storage, "b")]).toEqual(["theirs\n", "mine\n"]);
    expect((await audit(client, workspace)).map((entry) => entry["target"])).toEqual(["/ws/b"]);
  });

  test("a denied batch writes nothing, and the audit says so", async () => {
    const { client, session, storage, workspace } = await serve({}, manual);
    const writing = session.write({ path: "a", contentBase64: "" });
    await answer(client, await pending(client), "deny");
    expect((await writing).json).toMatchObject({ code: "write_denied" });
    expect(await storage.stat("a")).toBeNull();
    expect(await audit(client, workspace)).toMatchObject([{ target: "/ws/a", outcome: "denied" }]);
  });

  test("nobody is asked about a batch of which nothing can be written", async () => {
    const { client, session } = await serve({ "d/x": "" }, manual);
    expect((await session.write({ path: "d", contentBase64: "" })).json.items[0].code).toBe("invalid_path");
    expect((await session.ops({ type: "mkdir" })).json.items[0].code).toBe("operation_failed");
    expect((await client.get("/approvals", { token: null, host: true })).json.items).toEqual([]);
  });
});

describe("operations", () => {
  test("I12: each that was done is audited, in order", async () => {
    const { client, session, workspace } = await serve({ f: "1" });
    await session.ops(
      { type: "mkdir", path: "d" },
      { type: "rename", from: "f", to: "d/g" },
      { type: "delete", path: "none" },
      { type: "delete", path: "d", recursive: true },
    );
    expect(await audit(client, workspace)).toMatchObject([
      { action: "workspace.files.session.ops", target: "/ws/d" },
      { target: "/ws/f -> /ws/d/g" },
      { target: "/ws/d" },
    ]);
  });

  test("each that was done has one event, also a mkdir that found its directory", async () => {
    const { session } = await serve({ "d/f": "1" });
    const done = await session.ops({ type: "mkdir", path: "d" }, { type: "mkdir", path: "new/deep" });
    expect(done.json).toMatchObject({ items: [{ ok: true }, { ok: true }], cursor: 2 });
  });

  test("a rename to the very same path is done, and changes nothing: files and directories stay as they are", async () => {
    const { client, session, workspace, storage } = await serve({ f: "1", "d/x": "1" });
    const before = (await storage.stat("f"))?.revision;
    const { json } = await session.ops(
      { type: "rename", from: "f", to: "f" },
      { type: "rename", from: "d", to: "/d/" },
      { type: "rename", from: "none", to: "none" },
    );
    expect(json).toMatchObject({
      items: [
        { ok: true, type: "rename", from: "f", to: "f" },
        { ok: true, type: "rename", from: "d", to: "d" },
        { ok: false, type: "rename", code: "file_not_found" },
      ],
      cursor: 0,
    });
    expect((await storage.stat("f"))?.revision).toBe(before);
    expect(await textOf(storage, "d/x")).toBe("1");
    const targets = (await audit(client, workspace)).map(({ target }) => target);
    expect(targets).toEqual(expect.arrayContaining(["/ws/f -> /ws/f", "/ws/d -> /ws/d"]));
  });

  test.each<[string, (session: SessionClient, revision: string) => ReturnType<SessionClient["ops"]>]>([
    [
      "write-batch",
      (session, ifMatchRevision) => session.write({ path: "a", contentBase64: b64("mine"), ifMatchRevision }),
    ],
    ["ops", (session) => session.ops({ type: "delete", path: "a" })],
  ])(
    "%s that did nothing answers the cursor of before the wait: no event is skipped",
    async (_name, send) => {
      const { client, session, storage } = await serve({ a: "1" }, manual);
      const { cursor } = (await session.snapshot()).json;
      const answered = send(session, (await session.read("a")).json.items[0].revision);
      const asked = await pending(client);
      await put(storage, "a", "theirs");
      expect((await session.events(`since=${cursor}&wait=3`)).json.cursor).toBeGreaterThan(cursor);
      await answer(client, asked, "allow");
      const { json } = await answered;
      expect(json.items).toMatchObject([{ ok: false, code: "conflict" }]);
      const missed = (await session.events(`since=${json.cursor}`)).json.items;
      expect(missed).toMatchObject([{ type: "write", path: "a" }]);
    },
  );

  test("I30: a deletion or rename of what changed while the host thought is a conflict", async () => {
    const { client, session, storage } = await serve({ a: "1", "d/x": "1", c: "1" }, manual);
    const running = session.ops(
      { type: "delete", path: "a" },
      { type: "delete", path: "d", recursive: true },
      { type: "rename", from: "c", to: "e" },
      { type: "rename", from: "e", to: "f" },
    );
    const approval = await pending(client);
    expect(approval.paths).toEqual(["/ws/a", "/ws/d", "/ws/c", "/ws/e", "/ws/f"]);
    await put(storage, "a", "2");
    await put(storage, "d/y", "2");
    await answer(client, approval, "allow");
    expect((await running).json.items).toMatchObject([
      { ok: false, type: "delete", path: "a", code: "conflict" },
      { ok: false, type: "delete", path: "d", code: "conflict" },
      { ok: true, type: "rename", from: "c", to: "e" },
      { ok: true, type: "rename", from: "e", to: "f" },
    ]);
    expect([await textOf(storage, "a"), await textOf(storage, "d/x"), await textOf(storage, "f")]).toEqual([
      "2",
      "1",
      "1",
    ]);
  });

  test("I32: the host is shown each operation, also one that another before it makes possible", async () => {
    const { client, session } = await serve({ a: "1\n", b: "2\n" }, manual);
    const running = session.ops(
      { type: "rename", from: "a", to: "new" },
      { type: "delete", path: "new" },
      { type: "rename", from: "b", to: "c" },
      { type: "rename", from: "c", to: "d" },
      { type: "delete", path: "nowhere" },
    );
    const approval = await pending(client);
    expect(approval.diff).toBe(
      ["rename a", "    to new", "remove new", "rename b", "    to c", "rename c", "    to d", ""].join("\n"),
    );
    await answer(client, approval, "deny");
    expect((await running).json.code).toBe("write_denied");
    const replacing = session.ops({ type: "rename", from: "a", to: "b" });
    const next = await pending(client);
    expect(next.diff).toContain("to b (replacing what is there)");
    await answer(client, next, "deny");
    await replacing;
  });

  test("a file that was renamed can be written under the revision that the renaming told", async () => {
    const server = await startDiskServer();
    running.push(server);
    const session = await SessionClient.open(server.client, server.workspace);
    const written = (await session.write({ path: "a", contentBase64: b64("1") })).json;
    const { json } = await session.ops(
      { type: "rename", from: "a", to: "b" },
      { type: "mkdir", path: "d" },
      { type: "rename", from: "d", to: "e" },
    );
    const [{ revision }, , directory] = json.items;
    expect(directory).toEqual({ ok: true, type: "rename", from: "d", to: "e" });
    const events = (await session.events(`since=${written.cursor}`)).json.items;
    expect(events[0]).toMatchObject({ type: "rename", path: "a", toPath: "b", revision });
    expect(events[2]).not.toHaveProperty("revision");
    const again = await session.write({ path: "b", contentBase64: b64("2"), ifMatchRevision: revision });
    expect(again.json.items).toMatchObject([{ ok: true, previousRevision: revision }]);
  });

  test("what is renamed to its own name stays as it is", async () => {
    const { session, storage } = await serve({ a: "1", "d/x": "2" });
    const { json } = await session.ops(
      { type: "rename", from: "a", to: "a" },
      { type: "rename", from: "d", to: "/d/" },
      { type: "rename", from: "nope", to: "nope" },
    );
    expect(json.items).toMatchObject([
      { ok: true, from: "a", to: "a" },
      { ok: true, from: "d", to: "d" },
      { ok: false, code: "file_not_found" },
    ]);
    expect([await textOf(storage, "a"), await textOf(storage, "d/x")]).toEqual(["1", "2"]);
  });

  test("I41, I42: operations reach names by the name listed", async () => {
    const { session, storage } = await serve({ "workspace/a": "1", " b ": "1", "c\\d": "1" });
    const { json } = await session.ops(
      { type: "rename", from: "workspace/a", to: "workspace/z" },
      { type: "delete", path: " b " },
      { type: "rename", from: "c\\d", to: "e" },
    );
    expect(json.items.every((item: { ok: boolean }) => item.ok)).toBe(true);
    const left: string[] = [];
    for await (const batch of storage.walk("")) left.push(...batch.map((entry) => entry.path));
    expect(left.toSorted()).toEqual(["e", "workspace", "workspace/z"]);
  });
});

test("two sessions that edit one file at once: one wins, the other is told, nothing is lost", async () => {
  const { client, workspace, session, storage } = await serve({ f: "0" });
  const second = await SessionClient.open(client, workspace);
  for (let round = 0; round < 20; round += 1) {
    const { json } = await session.read("f");
    const { revision } = json.items[0];
    const writes = await Promise.all(
      [session, second].map((one, index) =>
        one.write({ path: "f", contentBase64: b64(`${round}-${index}`), ifMatchRevision: revision }),
      ),
    );
    const outcomes = writes.map((write) => write.json.items[0]);
    expect(outcomes.filter((item) => item.ok)).toHaveLength(1);
    expect(outcomes.filter((item) => item.code === "conflict")).toHaveLength(1);
    const winner = outcomes.findIndex((item) => item.ok);
    expect(await textOf(storage, "f")).toBe(`${round}-${winner}`);
  }
  expect((await second.events()).json.items).toHaveLength(20);
});
