// What both sides had in common, kept from one run to the next: else everything that changed in between would be a
// conflict, and what was deleted would come back.
import { lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { base, copies, dirs, scan, target } from "./local.mjs";

/** Beside the target, so that what is put together there only needs a new name to take its place. */
const memory = `${target}.mirror`;
const file = join(memory, "known.json");
const [url, , workspace] = process.argv.slice(2);
let temporary;
let written;

/** What is known holds for this folder and this workspace alone, not for another one of the same name. */
async function pair() {
  const { ino, birthtimeMs } = await lstat(target);
  return [url, workspace, ino, birthtimeMs].join(" ");
}

/** An empty directory for files that are not complete; what an earlier run left behind is removed. */
export async function makeTemporary() {
  await mkdir(memory, { recursive: true });
  const old = (await readdir(memory)).filter((name) => name.startsWith("incoming-"));
  await Promise.all(old.map((name) => rm(join(memory, name), { recursive: true, force: true })));
  temporary = await mkdtemp(join(memory, "incoming-"));
  return temporary;
}

/** Takes up what the last run knew. */
export async function recall() {
  // A damaged file is none: then each difference is a conflict, and nothing is lost.
  const kept = await readFile(file, "utf8")
    .then(JSON.parse)
    .catch(() => null);
  if (kept?.pair !== (await pair())) return;
  // A folder without any file was rather emptied to begin anew than to have all deleted there.
  if ((await scan()).files.size === 0) return;
  for (const [path, known] of kept.base) base.set(path, known);
  for (const path of kept.dirs) dirs.add(path);
  for (const [path, list] of kept.copies) copies.set(path, list);
}

/** Keeps what is known now. An end before that is harmless: what became the same is found to be the same. */
export async function remember() {
  const text = JSON.stringify({ pair: await pair(), base: [...base], dirs: [...dirs], copies: [...copies] });
  if (text === written) return;
  const fresh = join(temporary, "known.json");
  await writeFile(fresh, text);
  await rename(fresh, file);
  written = text;
}
