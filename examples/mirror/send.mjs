// Sends what was changed here.
import { readFile } from "node:fs/promises";
import { at, base, copies, dirs, hashOf, look, say, scan, stampOf } from "./local.mjs";
import { ask, call, raw } from "./remote.mjs";

/** Larger files are sent one by one. */
const smallFile = 1_000_000;
/** Local states that the server would not take; not sent again until they change. */
const refused = new Map();

/** Says that the server did not take a change; it is not tried again until the file is another. */
function refuse(path, stamp, why) {
  refused.set(path, stamp);
  say("failed", path, why);
}

/** Removes one path there if it still is what it was. */
const remove = (path, revision, more = "") =>
  call("DELETE", raw(path) + more, {
    headers: { "if-match": `"${revision}"` },
    also: [400, 403, 404, 409, 412],
  });

/** Removes there what was removed here, if it still is what it was. */
async function sendRemovals(found, pull) {
  for (const [path, { revision }] of base) {
    if (
      found.files.has(path) ||
      copies.has(path) ||
      refused.get(path) === "gone" ||
      (await look(path))?.isFile()
    )
      continue;
    const { ok, status } = await remove(path, revision);
    if (ok || status === 404) base.delete(path);
    else if (status === 409 || status === 412) await pull([path]);
    else refuse(path, "gone", "the server does not let it be removed");
    if (ok) say("removed", path);
  }
  const gone = [...dirs].filter((dir) => !found.folders.has(dir)).toSorted((a, b) => b.length - a.length);
  for (const dir of gone) {
    // Only what is empty, and still is when it goes: something new may have come into it.
    const { items } = await ask("GET", `/catalog/snapshot?limit=2&prefix=${encodeURIComponent(dir)}`);
    if (
      items.length === 0 ||
      (items.length === 1 && (await remove(dir, items[0].revision, "&recursive=true")).ok)
    )
      dirs.delete(dir);
  }
}

/** Makes new directories there. */
async function sendDirs(found) {
  const fresh = [...found.folders].filter((dir) => !dirs.has(dir) && !refused.has(dir));
  for (let start = 0; start < fresh.length; start += 64) {
    const operations = fresh.slice(start, start + 64).map((path) => ({ type: "mkdir", path }));
    const { items } = await ask("POST", "/ops", { operations });
    for (const [index, { ok, message }] of items.entries()) {
      const { path } = operations[index];
      if (ok) dirs.add(path);
      else refuse(path, "dir", message);
    }
  }
}

/** Sends files of which the server must still have the version that they were made from. */
async function sendFiles(changes, pull) {
  const writes = changes.map(({ path, bytes }) => {
    const ifMatchRevision = base.get(path)?.revision ?? null;
    return { path, contentBase64: bytes.toString("base64"), ifMatchRevision };
  });
  const { items } = await ask("POST", "/write-batch", { writes });
  for (const { path, stamp, bytes } of changes) {
    const item = items.find((one) => one.path === path);
    if (item?.ok) base.set(path, { revision: item.revision, hash: hashOf(bytes), stamp });
    else if (item?.code === "conflict") await pull([path]);
    else refuse(path, stamp, item?.message ?? "the server takes it for another name");
    if (item?.ok) say("sent", path);
  }
}

/** Sends a file that is too large for a batch. */
async function sendLarge({ path, stamp, bytes }, pull) {
  const known = base.get(path);
  const headers = known ? { "if-match": `"${known.revision}"` } : { "if-none-match": "*" };
  const response = await call("PUT", raw(path), { headers, body: bytes, also: [400, 403, 409, 412, 413] });
  const answer = await response.json();
  if (response.ok) base.set(path, { revision: answer.revision, hash: hashOf(bytes), stamp });
  else if ([409, 412].includes(response.status)) await pull([path]);
  else refuse(path, stamp, answer.message);
  if (response.ok) say("sent", path);
}

/** Sends what has changed here; `pull` fetches what has changed there as well. */
export async function push(pull) {
  const found = await scan();
  for (const [path, list] of copies) if (!list.some((copy) => found.files.has(copy))) copies.delete(path);
  const skipped = new Set([...copies].flat(2));
  await sendRemovals(found, pull);
  await sendDirs(found);
  const batch = [];
  for (const [path, stamp] of found.files) {
    const known = base.get(path);
    if (stamp === known?.stamp || skipped.has(path) || refused.get(path) === stamp) continue;
    const bytes = await readFile(at(path)).catch(() => null);
    const stats = await look(path);
    // Still being written: the next look will do.
    if (!bytes || !stats || stampOf(stats) !== stamp) continue;
    if (hashOf(bytes) === known?.hash) base.set(path, { ...known, stamp });
    else if (bytes.length > smallFile) await sendLarge({ path, stamp, bytes }, pull);
    else batch.push({ path, stamp, bytes });
    if (batch.length === 64) await sendFiles(batch.splice(0), pull);
  }
  if (batch.length > 0) await sendFiles(batch, pull);
}
