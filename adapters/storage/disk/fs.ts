import * as fs from "node:fs";
import { promisify } from "node:util";
import { StorageError } from "../../../lib/storage.ts";
import type { StorageErrorCode } from "../../../lib/storage.ts";
import { quote } from "../refusals.ts";

/** What `lstat` and `fstat` tell that the storage uses. */
export type Stats = fs.Stats;

/** A name with its type, as `readdir` gives it. */
export type Dirent = fs.Dirent;

/**
 * All that the disk storage asks of the operating system. Tests replace single members to inject faults.
 * Quick calls are synchronous, since a hop to the thread pool costs ten times the call itself; those that
 * wait for a device are asynchronous.
 */
export interface DiskFs {
  openSync(path: string, flags: number, mode?: number): number;
  closeSync(fd: number): void;
  fstatSync(fd: number): Stats;
  /** Null when there is no such name. */
  lstatSync(path: string | Buffer): Stats | null;
  readlinkSync(path: string): string;
  realpathSync(path: string): string;
  /** The kind of file system at a path, as the number of statfs(2); 0 where it is not told. */
  fileSystemSync(path: string): number;
  readdirSync(path: string): string[];
  direntsSync(path: string): Dirent[];
  /** Names as bytes, for trees whose names need not be UTF-8. */
  rawNamesSync(path: string): Buffer[];
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
  writeSync(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  ftruncateSync(fd: number, length: number): void;
  futimesSync(fd: number, atime: number, mtime: number): void;
  fchmodSync(fd: number, mode: number): void;
  fchownSync(fd: number, uid: number, gid: number): void;
  renameSync(from: string | Buffer, to: string): void;
  linkSync(from: string, to: string): void;
  unlinkSync(path: string | Buffer): void;
  mkdirSync(path: string, mode?: number): void;
  rmdirSync(path: string | Buffer): void;
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  write(fd: number, buffer: Uint8Array, offset: number, length: number): Promise<number>;
  readdir(path: string): Promise<string[]>;
  unlink(path: string): Promise<void>;
  fsync(fd: number): Promise<void>;
  fdatasync(fd: number): Promise<void>;
  /** Tells one run of the operating system from the next; "" where it does not say. */
  bootId(): string;
}

const unlink = promisify(fs.unlink);
const fsync = promisify(fs.fsync);
const fdatasync = promisify(fs.fdatasync);
const readdir = promisify(fs.readdir) as (path: string) => Promise<string[]>;

/** The real file system, through `node:fs` (Node, Bun and Deno). */
export const nodeFs: DiskFs = {
  openSync: fs.openSync,
  closeSync: fs.closeSync,
  fstatSync: (fd) => fs.fstatSync(fd),
  lstatSync: (path) => fs.lstatSync(path, { throwIfNoEntry: false }) ?? null,
  readlinkSync: (path) => fs.readlinkSync(path),
  realpathSync: (path) => fs.realpathSync.native(path),
  // The kernel's number is unsigned and may arrive with a sign.
  fileSystemSync: (path) => fs.statfsSync(path).type >>> 0,
  readdirSync: (path) => fs.readdirSync(path),
  direntsSync: (path) => fs.readdirSync(path, { withFileTypes: true }),
  rawNamesSync: (path) => fs.readdirSync(path, { encoding: "buffer" }),
  readSync: (fd, buffer, offset, length, position) => fs.readSync(fd, buffer, offset, length, position),
  writeSync: (fd, buffer, offset, length) => fs.writeSync(fd, buffer, offset, length),
  ftruncateSync: fs.ftruncateSync,
  futimesSync: fs.futimesSync,
  fchmodSync: fs.fchmodSync,
  fchownSync: fs.fchownSync,
  renameSync: fs.renameSync,
  linkSync: fs.linkSync,
  unlinkSync: fs.unlinkSync,
  mkdirSync: (path, mode) => void fs.mkdirSync(path, mode),
  rmdirSync: (path) => fs.rmdirSync(path),
  read: (fd, buffer, offset, length, position) =>
    new Promise((resolve, reject) => {
      fs.read(fd, buffer, offset, length, position, (error, count) =>
        error ? reject(error) : resolve(count),
      );
    }),
  write: (fd, buffer, offset, length) =>
    new Promise((resolve, reject) => {
      fs.write(fd, buffer, offset, length, null, (error, count) => (error ? reject(error) : resolve(count)));
    }),
  readdir,
  unlink,
  fsync,
  fdatasync,
  bootId: () => readSystem("/proc/sys/kernel/random/boot_id").trim(),
};

/** What the system tells in a file of its own; "" where there is none. */
export function readSystem(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The `errno` name of a system error, or "" for anything else. */
export function errno(error: unknown): string {
  if (error instanceof StorageError || !(error instanceof Error) || !("code" in error)) return "";
  // Other errors have codes as well, but only those of the system are written so.
  return typeof error.code === "string" && /^[A-Z][A-Z0-9_]*$/.test(error.code) ? error.code : "";
}

const reasons: Record<string, [StorageErrorCode, string]> = {
  ENOENT: ["not_found", "does not exist"],
  ENOTDIR: ["not_a_directory", "goes through something that is not a directory"],
  EISDIR: ["is_directory", "is a directory"],
  EEXIST: ["exists", "already exists"],
  ENOTEMPTY: ["not_empty", "is a directory that is not empty"],
  EACCES: ["denied", "may not be accessed by the server (permissions)"],
  EPERM: ["denied", "may not be changed by the server (permissions)"],
  EROFS: ["denied", "is on a read-only file system"],
  ENOSPC: ["no_space", "cannot be written: the disk is full"],
  EDQUOT: ["no_space", "cannot be written: the disk quota is used up"],
  ENAMETOOLONG: ["invalid_path", "is too long for this file system"],
  ELOOP: ["outside", "goes through a link that leads nowhere inside the root"],
  EXDEV: ["io", "cannot be moved to another file system"],
  EMFILE: ["io", "cannot be opened: the server has too many files open"],
  ENFILE: ["io", "cannot be opened: the system has too many files open"],
};

/** Turns whatever a system call threw into a StorageError that names the relative path, or what it is `shown` as. */
export function storageError(error: unknown, path: string, shown: string = path): StorageError {
  if (error instanceof StorageError) return error;
  const code = errno(error);
  const [kind, reason] = reasons[code] ?? ["io", `could not be accessed${code ? ` (${code})` : ""}`];
  return new StorageError(kind, `${quote(shown)} ${reason}.`, { path }, error);
}

const exhaustion: ReadonlySet<string> = new Set(["ENOSPC", "EMFILE", "ENFILE", "ENOMEM"]);

/**
 * Whether the system refused because it or this process has no more to give: no descriptors, watches or memory. That
 * says nothing of the directory that was asked for, which must not pass for an unreadable one.
 */
export function isExhausted(error: unknown): boolean {
  return exhaustion.has(errno(error instanceof StorageError ? error.cause : error));
}

/** Lets other work run. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
