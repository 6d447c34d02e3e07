import { basename, dirname, join } from "node:path";
import { nodeFs } from "../../adapters/storage/disk/fs.ts";
import type { DiskFs } from "../../adapters/storage/disk/fs.ts";

/** The name that a directory really has for one that is told apart by its letters alone, as on macOS and Windows. */
function stored(path: string): string {
  const dir = dirname(path);
  if (dir === path) return path;
  const above = stored(dir);
  const name = basename(path).toLowerCase();
  try {
    const found = nodeFs.readdirSync(above).find((one) => one.toLowerCase() === name);
    return join(above, found ?? basename(path));
  } catch {
    return join(above, basename(path));
  }
}

const real = (path: string | Buffer): string => stored(path.toString());

/** The real file system as one that does not tell upper from lower case. To be used with `procfs: false`. */
export function caselessFs(): DiskFs {
  return {
    ...nodeFs,
    openSync: (path, flags, mode) => nodeFs.openSync(real(path), flags, mode),
    lstatSync: (path) => nodeFs.lstatSync(real(path)),
    readlinkSync: (path) => nodeFs.readlinkSync(real(path)),
    realpathSync: (path) => nodeFs.realpathSync(real(path)),
    readdirSync: (path) => nodeFs.readdirSync(real(path)),
    direntsSync: (path) => nodeFs.direntsSync(real(path)),
    rawNamesSync: (path) => nodeFs.rawNamesSync(real(path)),
    readdir: (path) => nodeFs.readdir(real(path)),
    linkSync: (from, to) => nodeFs.linkSync(real(from), real(to)),
    unlinkSync: (path) => nodeFs.unlinkSync(real(path)),
    unlink: (path) => nodeFs.unlink(real(path)),
    mkdirSync: (path, mode) => nodeFs.mkdirSync(real(path), mode),
    rmdirSync: (path) => nodeFs.rmdirSync(real(path)),
    renameSync(from, to) {
      const source = real(from);
      const target = real(to);
      // A rename that changes nothing but the case gives the file its new name; other hard links of it stay.
      nodeFs.renameSync(source, source === target ? join(dirname(target), basename(to)) : target);
    },
  };
}
