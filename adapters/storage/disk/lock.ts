import { constants } from "node:fs";
import { StorageError } from "../../../lib/storage.ts";
import { errno } from "./fs.ts";
import { lockName } from "./names.ts";
import type { DiskContext } from "./stage.ts";
import { removeTrash } from "./trash.ts";
import type { Dir } from "./tree.ts";

const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
const openFlags: number = O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK;

const patienceMs = 10_000;
const maxLock = 8192;
const record = /\.owtmp-[0-9a-f]{20}\n/g;

/**
 * The lock file is a log of claims, each appended in one write. It belongs to the first claim whose process
 * lives and which is not withdrawn, that is, repeated; only its owner deletes it. So a dead owner's lock, and one
 * that was created but never claimed, are taken over by a claim behind the dead ones: of several takers the
 * system's order of appends picks one, and nothing is ever taken away from a name that may be another's by now.
 */
class Lock {
  readonly #context: DiskContext;
  readonly #root: Dir;
  readonly #fd: number;
  #claim = "";

  constructor(context: DiskContext, root: Dir, fd: number) {
    this.#context = context;
    this.#root = root;
    this.#fd = fd;
  }

  /** Claims the lock if nobody has it; says whether it is held now. */
  take(size: number): boolean {
    const { fs, names } = this.#context;
    const dead = size === 0 ? [] : this.#claims();
    // The time is asked after the claims: one that came since the reading is not among the dead.
    const { ctimeMs, ino } = fs.fstatSync(this.#fd);
    if (dead.some((name) => !names.isAbandoned(name, ctimeMs))) return false;
    this.#claim = names.next("lock");
    this.#append();
    if (this.#claims().find((name) => !dead.includes(name)) !== this.#claim) {
      this.#append();
      return false;
    }
    // Its last owner may have deleted it between opening and claiming.
    return fs.lstatSync(this.#root.at(lockName))?.ino === ino;
  }

  #append(): void {
    const bytes = new TextEncoder().encode(`${this.#claim}\n`);
    const write = (): number => this.#context.fs.writeSync(this.#fd, bytes, 0, bytes.length);
    let count = 0;
    try {
      count = write();
    } catch {
      count = write();
    }
    if (count !== bytes.length) throw new StorageError("no_space", "The lock of the root cannot be written.");
  }

  /** The claims that are not withdrawn, in their order. */
  #claims(): string[] {
    const buffer = new Uint8Array(maxLock);
    const count = this.#context.fs.readSync(this.#fd, buffer, 0, maxLock, 0);
    const claims = new TextDecoder().decode(buffer.subarray(0, count)).match(record) ?? [];
    const names = claims.map((claim) => claim.slice(0, -1));
    return names.filter((name) => names.indexOf(name) === names.lastIndexOf(name));
  }

  /** Gives the lock up; a claim that cannot be deleted is withdrawn, so that it holds nobody up. */
  release(): void {
    try {
      // A claim behind ours is of somebody who takes us for dead; the file is no longer ours to delete.
      if (this.#claims().at(-1) === this.#claim && this.#unlinked()) return;
      this.#append();
    } catch {
      // The end of this process will free it.
    }
  }

  #unlinked(): boolean {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      try {
        this.#context.fs.unlinkSync(this.#root.at(lockName));
        return true;
      } catch (error) {
        if (errno(error) === "ENOENT") return true;
      }
    }
    return false;
  }

  close(): void {
    this.#context.fs.closeSync(this.#fd);
  }
}

/** One try: the held lock, or null when another has it. */
async function tryLock(context: DiskContext, root: Dir): Promise<Lock | null> {
  let fd = -1;
  try {
    fd = context.fs.openSync(root.at(lockName), openFlags, 0o644);
  } catch (error) {
    if (!["ELOOP", "EISDIR", "ENXIO"].includes(errno(error))) throw error;
  }
  const lock = new Lock(context, root, fd);
  let held = false;
  try {
    const stats = fd < 0 ? null : context.fs.fstatSync(fd);
    // A second name of the file could be one outside, which must not be written.
    if (stats === null || !stats.isFile() || stats.nlink > 1 || stats.size > maxLock / 2) {
      await removeTrash(context, root, lockName);
    } else {
      held = lock.take(stats.size);
    }
    return held ? lock : null;
  } finally {
    if (fd >= 0 && !held) lock.close();
  }
}

async function waitForLock(context: DiskContext, root: Dir): Promise<Lock> {
  const end = performance.now() + patienceMs;
  for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
    root.verify();
    const lock = await tryLock(context, root);
    if (lock !== null) return lock;
    if (performance.now() > end) {
      throw new StorageError(
        "io",
        "Another process has been changing these files for too long; try again later.",
      );
    }
    await new Promise((resolve) => void setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
  }
}

/**
 * Runs work while no other process commits below the root. `optional` says of an error whether the work may
 * then go on without the lock.
 */
export async function locked<T>(
  context: DiskContext,
  optional: (code: string) => boolean,
  work: () => Promise<T>,
): Promise<T> {
  const root = context.tree.openDir("");
  let lock: Lock | null = null;
  try {
    lock = await waitForLock(context, root).catch((error: unknown) => {
      if (optional(error instanceof StorageError ? error.code : errno(error))) return null;
      throw error;
    });
    return await work();
  } finally {
    lock?.release();
    lock?.close();
    root.close();
  }
}
