import { constants } from "node:fs";
import { errno } from "./fs.ts";
import type { DiskContext } from "./stage.ts";
import { unlinkQuietly } from "./stage.ts";
import { joinPath } from "./tree.ts";
import type { Dir } from "./tree.ts";
import { Slices } from "./walk.ts";

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** The path of a child whose name may be any bytes. */
const at = (dir: Dir, name: Buffer): Buffer => Buffer.concat([Buffer.from(`${dir.path}/`), name]);

/**
 * Deletes a temporary, whatever it is. A tree is flattened as it goes: directories found inside one are first
 * renamed up to the top, so that depth costs neither descriptors nor stack, and no link is ever followed.
 */
export async function removeTrash(context: DiskContext, parent: Dir, name: string): Promise<void> {
  const stats = parent.child(name);
  if (stats === null) return;
  if (!stats.isDirectory()) return unlinkQuietly(context, parent, name);
  const { fs, tree } = context;
  makeWritable(context, parent.at(name));
  const top = tree.openDir(joinPath(parent.rel, name), true);
  const slices = new Slices();
  try {
    for (;;) {
      const inner = await clear(context, top, slices);
      if (inner.length === 0) break;
      for (const child of inner) await empty(context, top, child, slices);
    }
  } finally {
    top.close();
  }
  fs.rmdirSync(parent.at(name));
}

/** Unlinks all but the directories of a directory, and returns those. */
async function clear(context: DiskContext, dir: Dir, slices: Slices): Promise<Buffer[]> {
  const inner: Buffer[] = [];
  for (const name of context.fs.rawNamesSync(dir.path)) {
    if (!unlinked(context, at(dir, name))) inner.push(name);
    if (slices.due()) await slices.turn();
  }
  return inner;
}

/** Whether the child could be unlinked; false for a directory. Trying is quicker than asking first. */
function unlinked(context: DiskContext, path: Buffer): boolean {
  try {
    context.fs.unlinkSync(path);
    return true;
  } catch (error) {
    if (errno(error) === "ENOENT") return true;
    if (context.fs.lstatSync(path)?.isDirectory()) return false;
    throw error;
  }
}

/** Empties a directory directly below the top, moving its own directories up, and removes it. */
async function empty(context: DiskContext, top: Dir, name: Buffer, slices: Slices): Promise<void> {
  const { fs } = context;
  // A name of our own making: the original may not be expressible as a string.
  const plain = context.names.next("trash");
  const whole = joinPath(top.rel, plain);
  moveUp(context, at(top, name), top.at(plain));
  makeWritable(context, top.at(plain));
  const dir = context.tree.openDir(whole, true);
  try {
    for (const inner of await clear(context, dir, slices))
      moveUp(context, at(dir, inner), top.at(context.names.next("trash")));
  } finally {
    dir.close();
  }
  fs.rmdirSync(top.at(plain));
}

/** A directory that may not be written cannot get a new parent either. */
function moveUp(context: DiskContext, from: Buffer, to: string): void {
  try {
    context.fs.renameSync(from, to);
  } catch (error) {
    if (errno(error) !== "EACCES" && errno(error) !== "EPERM") throw error;
    makeWritable(context, from.toString());
    context.fs.renameSync(from, to);
  }
}

/** Gives the owner all rights on a directory that is being deleted; never through a link. */
function makeWritable(context: DiskContext, path: string): void {
  const { fs } = context;
  let fd = -1;
  try {
    fd = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
    const mode = fs.fstatSync(fd).mode & 0o7777;
    if ((mode & 0o700) !== 0o700) fs.fchmodSync(fd, mode | 0o700);
  } catch {
    // Then the deletion itself will say what is wrong.
  } finally {
    if (fd >= 0) fs.closeSync(fd);
  }
}
