import { mkdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import { nodeFs, type DiskFs } from "../../adapters/storage/disk/fs.ts";
import { temporaryDir } from "./temporary-dir.ts";

const nfs = 0x6969;
const pathOf = (fd: number): string => readlinkSync(`/proc/self/fd/${fd}`);

/** The real file system, in which everything called `remote` is on another one, an NFS. */
function withMount(): DiskFs {
  return {
    ...nodeFs,
    fstatSync(fd) {
      const stats = nodeFs.fstatSync(fd);
      if (pathOf(fd).endsWith("/remote")) stats.dev += 1;
      return stats;
    },
    fileSystemSync: (path) =>
      path.startsWith("/proc/") && readlinkSync(path).endsWith("/remote") ? nfs : nodeFs.fileSystemSync(path),
  };
}

it.runIf(process.platform === "linux")(
  "a file system that does not tell of all changes is not watched, nor a tree with one in it",
  async () => {
    using temporary = temporaryDir();
    const dir = temporary.path;
    mkdirSync(join(dir, "plain"));
    mkdirSync(join(dir, "with/remote"), { recursive: true });
    const watchable = async (path: string): Promise<boolean> => {
      const watch = await createDiskStorage(join(dir, path), { fs: withMount() }).watch(() => undefined);
      await watch?.close();
      return watch !== null;
    };
    expect(await watchable("plain")).toBe(true);
    expect(await watchable("with/remote")).toBe(false);
    expect(await watchable("with")).toBe(false);
  },
);
