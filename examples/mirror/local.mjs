// The folder here, and what is known of it.
import { createHash } from "node:crypto";
import { link, lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

export const target = resolve(process.argv[5] ?? "");

/** What was last the same on both sides, by path: {revision there, hash, stamp here}. */
export const base = new Map();
/** Directories that both sides have. */
export const dirs = new Set();
/** Copies of remote versions whose conflict nobody has settled yet, by path. */
export const copies = new Map();

/** Tells what happens on stdout. */
export const say = (what, path, why = "") => console.log(`${what} ${path}${why && `: ${why}`}`);
export const hashOf = (bytes) => createHash("sha256").update(bytes).digest("hex");
export const parentOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));
export const isBelow = (path, dir) => path === dir || path.startsWith(`${dir}/`);
/** What changes when a file is written. */
export const stampOf = (stats) => `${stats.ino} ${stats.size} ${stats.mtimeMs}`;

/** Where a path of the workspace is here; one that would lead out of the target is none. */
export function at(path) {
  if (path.split("/").some((part) => ["", ".", ".."].includes(part))) throw new Error(`no path: ${path}`);
  return join(target, path);
}

/** The state of a path here, null when there is nothing. */
export const look = (path) => lstat(at(path)).catch(() => null);

/** Makes a directory and those above. */
export async function makeDir(path) {
  if (path !== "") await mkdir(at(path), { recursive: true });
  for (let dir = path; dir !== ""; dir = parentOf(dir)) dirs.add(dir);
}

/** Puts a complete file in place, if that still is what the caller saw (`null`: nothing). */
export async function place(from, path, seen) {
  if (seen === null) return link(from, at(path)).then(() => rm(from));
  const now = await lstat(at(path));
  if (stampOf(now) !== seen) throw new Error("changed meanwhile");
  return rename(from, at(path));
}

/** What is here: files with their states, and directories. Links and special files are left alone. */
export async function scan(dir = "", found = { files: new Map(), folders: new Set() }) {
  for (const entry of await readdir(join(target, dir), { withFileTypes: true })) {
    const path = dir === "" ? entry.name : `${dir}/${entry.name}`;
    const stats = entry.isFile() ? await look(path) : null;
    if (stats) found.files.set(path, stampOf(stats));
    if (!entry.isDirectory()) continue;
    found.folders.add(path);
    await scan(path, found).catch((error) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  return found;
}
