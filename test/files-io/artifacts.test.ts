import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { idOf } from "../support/forms.ts";
import { put } from "../support/memory-host.ts";
import { start, viewerOf, type Subject } from "./subjects.ts";

const base = ".opencode/openwork/outbox";

async function offered({ client, ws }: Subject): Promise<{ id: string; path: string }[]> {
  return (await client.get(`${ws}/artifacts`)).json.items;
}

test("newest first, with real paths and the same name for same age", async () => {
  using subject = await start("disk");
  for (const [name, time] of [
    ["b", 10],
    ["a", 10],
    ["old", 5],
    ["new/x", 20],
  ] as const) {
    await put(subject.storage, `${base}/${name}`, name);
    utimesSync(join(subject.dir, base, name), time, time);
  }
  expect((await offered(subject)).map((item) => item.path)).toEqual(["new/x", "a", "b", "old"]);
  expect((await offered(subject))[0]).toEqual({
    id: idOf("new/x"),
    path: "new/x",
    size: 5,
    updatedAt: 20_000,
  });
});

test("I02, I42: every listed name downloads by its id, however odd, and none hides another", async () => {
  using subject = await start("disk");
  const names = [
    " a ",
    "b\\c",
    "d\ne",
    "workspace/x",
    "workspace",
    '"q"',
    "日本",
    "😀",
    "%2e%2e",
    "..x",
    "a".repeat(250),
    "tab\t",
  ].filter((name) => name !== "workspace");
  for (const name of names) await put(subject.storage, `${base}/${name}`, name);
  // A name that is not UTF-8 cannot be told in a path; it must not hide the others.
  execFileSync("/bin/sh", ["-c", String.raw`printf x > "$(printf 'bad\377name')"`], {
    cwd: join(subject.dir, base),
  });
  const items = await offered(subject);
  expect(items.map((item) => item.path).toSorted()).toEqual(names.toSorted());
  for (const { id, path } of items) {
    const answer = await subject.client.get(`${subject.ws}/artifacts/${id}`);
    expect({ path, status: answer.status, text: answer.text }).toEqual({ path, status: 200, text: path });
  }
});

test("I01, I02: links, FIFOs and devices are neither listed nor downloaded", async () => {
  using subject = await start("disk");
  using outside = await start("disk");
  const dir = join(subject.dir, base);
  await put(subject.storage, `${base}/real.txt`, "r");
  await put(subject.storage, "inside.txt", "i");
  await put(outside.storage, "secret.txt", "s");
  symlinkSync("../../../inside.txt", join(dir, "in.txt"));
  symlinkSync(join(outside.dir, "secret.txt"), join(dir, "out.txt"));
  symlinkSync(outside.dir, join(dir, "outdir"));
  symlinkSync("../../..", join(dir, "loop"));
  symlinkSync("nowhere", join(dir, "broken"));
  execFileSync("mkfifo", [join(dir, "fifo")]);
  mkdirSync(join(dir, "empty"));
  expect((await offered(subject)).map((item) => item.path)).toEqual(["real.txt"]);
  for (const name of [
    "in.txt",
    "out.txt",
    "outdir/secret.txt",
    "loop/inside.txt",
    "broken",
    "fifo",
    "empty",
  ]) {
    const answer = await subject.client.get(`${subject.ws}/artifacts/${idOf(name)}`);
    expect([name, answer.json.code]).toEqual([
      name,
      expect.stringMatching(/^(artifact_not_found|invalid_artifact)$/),
    ]);
  }
});

test("an outbox that is itself a link inside the workspace works", async () => {
  using subject = await start("disk");
  await put(subject.storage, "offers/a.txt", "a");
  mkdirSync(join(subject.dir, ".opencode/openwork"), { recursive: true });
  symlinkSync("../../offers", join(subject.dir, base));
  expect((await offered(subject)).map((item) => item.path)).toEqual(["a.txt"]);
  expect((await subject.client.get(`${subject.ws}/artifacts/${idOf("a.txt")}`)).text).toBe("a");
});

describe("ids", () => {
  test.each([
    ["%20", 400, "invalid_artifact"],
    ["!!!", 400, "invalid_artifact"],
    [idOf("../x"), 400, "invalid_artifact"],
    [idOf("/"), 400, "invalid_artifact"],
    [idOf("a\0b"), 400, "invalid_artifact"],
    [idOf("nope"), 404, "artifact_not_found"],
    [idOf("dir"), 404, "artifact_not_found"],
    [idOf("dir/../a"), 400, "invalid_artifact"],
    [Buffer.from([0xff, 0xfe]).toString("base64url"), 404, "artifact_not_found"],
    ["%zz", 400, "invalid_path"],
  ])("%s", async (id, status, code) => {
    using subject = await start("memory");
    await put(subject.storage, `${base}/dir/x`, "");
    expect(await subject.client.get(`${subject.ws}/artifacts/${id}`)).toMatchObject({
      status,
      json: { code },
    });
  });

  test("either alphabet, padding and equal spellings of the path", async () => {
    using subject = await start("memory");
    await put(subject.storage, `${base}/ü>?.txt`, "x");
    for (const id of [
      idOf("ü>?.txt"),
      encodeURIComponent(Buffer.from("ü>?.txt").toString("base64")),
      idOf("/ü>?.txt"),
      idOf("workspace/ü>?.txt"),
    ]) {
      expect((await subject.client.get(`${subject.ws}/artifacts/${id}`)).text).toBe("x");
    }
  });
});

test("switched off; protected names are closed to viewers (I05)", async () => {
  using off = await start("memory", { outbox: { enabled: false } });
  await put(off.storage, `${base}/a`, "");
  expect((await off.client.get(`${off.ws}/artifacts`)).json).toEqual({ items: [] });
  expect((await off.client.get(`${off.ws}/artifacts/${idOf("a")}`)).json.code).toBe("outbox_disabled");
  using on = await start("memory");
  await put(on.storage, `${base}/.env`, "KEY=1");
  expect((await on.client.get(`${on.ws}/artifacts/${idOf(".env")}`)).text).toBe("KEY=1");
  const token = await viewerOf(on.client);
  expect((await on.client.get(`${on.ws}/artifacts/${idOf(".env")}`, { token })).status).toBe(403);
});

test("a file that is replaced while it is asked for comes whole", async () => {
  using subject = await start("disk");
  writeFileSync(join(subject.dir, "warm"), "");
  await put(subject.storage, `${base}/f`, "a".repeat(1000));
  const going = new AbortController();
  const writer = (async () => {
    for (let n = 0; !going.signal.aborted; n += 1)
      await put(subject.storage, `${base}/f`, (n % 2 ? "a" : "b").repeat(n % 2 ? 1000 : 2000));
  })();
  for (let n = 0; n < 40; n += 1) {
    const { status, text, headers } = await subject.client.get(`${subject.ws}/artifacts/${idOf("f")}`);
    if (status === 200)
      expect([headers.get("content-length"), new Set(text).size]).toEqual([String(text.length), 1]);
  }
  going.abort();
  await writer;
});
