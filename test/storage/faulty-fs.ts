import { constants } from "node:fs";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import type { DiskFs } from "../../adapters/storage/disk/fs.ts";

const mutating = new Set<keyof DiskFs>([
  "writeSync",
  "ftruncateSync",
  "futimesSync",
  "fchmodSync",
  "fchownSync",
  "renameSync",
  "linkSync",
  "unlinkSync",
  "unlink",
  "mkdirSync",
  "rmdirSync",
  "write",
  "fsync",
  "fdatasync",
]);

/** A system error as Node throws it. */
export function systemError(code: string, call: string): Error {
  return Object.assign(new Error(`${code}: injected, ${call}`), { code, syscall: call });
}

/** Called before every call; throws to make it fail. `index` counts the calls that change something (else -1). */
export type Fault = (call: keyof DiskFs, index: number, args: readonly unknown[]) => void;

/** The real file system with a fault in it, and a count of the changing calls so far. */
export function faultyFs(fault: Fault): DiskFs & { calls(): number } {
  let count = 0;
  const wrapped = Object.entries(nodeFs).map(([name, call]: [string, (...args: unknown[]) => unknown]) => {
    const key = name as keyof DiskFs;
    const replacement = (...args: unknown[]): unknown => {
      const creates =
        key === "openSync" && typeof args[1] === "number" && (args[1] & constants.O_CREAT) !== 0;
      const index = creates || mutating.has(key) ? count : -1;
      if (index >= 0) count += 1;
      fault(key, index, args);
      return call(...args);
    };
    const asynchronous = ["read", "write", "fsync", "fdatasync", "readdir", "unlink"].includes(name);
    return [name, asynchronous ? async (...args: unknown[]) => replacement(...args) : replacement];
  });
  return { ...(Object.fromEntries(wrapped) as unknown as DiskFs), calls: () => count };
}
