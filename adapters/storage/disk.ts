import { StorageError } from "../../lib/storage.ts";
import type { Storage } from "../../lib/storage.ts";
import { Appender } from "./disk/append.ts";
import { Committer } from "./disk/commit.ts";
import { nodeFs } from "./disk/fs.ts";
import type { DiskFs } from "./disk/fs.ts";
import { TemporaryNames } from "./disk/names.ts";
import { readStream, readWhole, statPath } from "./disk/read.ts";
import { neededFromAbove, recoverJournals, sweep } from "./disk/recover.ts";
import { WriteClock } from "./disk/revision.ts";
import type { DiskContext } from "./disk/stage.ts";
import { DiskTree } from "./disk/tree.ts";
import { listDirectory, walkTree } from "./disk/walk.ts";
import { watchTree } from "./disk/watch.ts";

export type { DiskFs } from "./disk/fs.ts";

/** How a disk storage behaves. */
export interface DiskOptions {
  /** Refuse every change with `denied`. Default: false. */
  readOnly?: boolean;
  /** Mode of new files, for example 0o600 for secrets. Default: 0o666 less the umask. */
  fileMode?: number;
  /** Mode of new directories, the root included. Default: 0o777 less the umask. */
  dirMode?: number;
  /**
   * Only files directly in the root are ever written: a start then looks for abandoned temporaries there alone.
   * For a root that may be somebody's home directory. Default: false.
   */
  flat?: boolean;
  /** Offer `watch` where the platform can. Default: true. */
  watch?: boolean;
  /**
   * Confine through `/proc/self/fd` where it exists, which leaves no gap between check and use. False forces
   * the portable checks: reads, `list` and `stat` then prove by change times that no name on the way was swapped
   * for a link, and wait while names there change; `walk` and changes leave a gap of microseconds. Default: true.
   */
  procfs?: boolean;
  /** The file system calls; tests inject faults here. Default: `node:fs`. */
  fs?: DiskFs;
}

/** A storage on a disk. */
export interface DiskStorage extends Storage {
  /** Settles when the sweep that `recover` started has seen the whole tree; at once before that. */
  readonly swept: Promise<void>;
  /** Settles when no commit is running and all that were answered have let go of lock and journal. */
  settled(): Promise<void>;
}

/**
 * A storage confined to a directory. It need not exist: until the first write it reads as empty.
 * Runs on Node, Bun and Deno.
 */
export function createDiskStorage(root: string, options: DiskOptions = {}): DiskStorage {
  const fs = options.fs ?? nodeFs;
  const tree = new DiskTree(root, fs, options.procfs ?? true);
  const { fileMode, dirMode } = options;
  const context: DiskContext = {
    fs,
    tree,
    clock: new WriteClock(),
    names: new TemporaryNames(),
    fileMode,
    dirMode,
  };
  return new Disk(context, options);
}

class Disk implements DiskStorage {
  readonly location: string;
  swept: Promise<void> = Promise.resolve();
  readonly #context: DiskContext;
  readonly #options: DiskOptions;
  readonly #committer: Committer;
  readonly #appender: Appender;

  constructor(context: DiskContext, options: DiskOptions) {
    this.location = context.tree.location;
    this.#context = context;
    this.#options = options;
    this.#committer = new Committer(context);
    this.#appender = new Appender(context);
  }

  get realLocation(): string | null {
    try {
      return this.#context.tree.realRoot();
    } catch {
      // What is wrong with it is told to whoever uses it.
      return null;
    }
  }

  async stat(path: string): ReturnType<Storage["stat"]> {
    return statPath(this.#context.tree, path);
  }

  list(path: string, options?: Parameters<Storage["list"]>[1]): ReturnType<Storage["list"]> {
    return listDirectory(this.#context.tree, path, options?.names);
  }

  walk(path: string, options?: Parameters<Storage["walk"]>[1]): ReturnType<Storage["walk"]> {
    return walkTree(this.#context.tree, path, options);
  }

  readFile(path: string, options?: Parameters<Storage["readFile"]>[1]): ReturnType<Storage["readFile"]> {
    return readWhole(this.#context.tree, this.#context.clock, path, options?.maxBytes);
  }

  read(path: string, options?: Parameters<Storage["read"]>[1]): ReturnType<Storage["read"]> {
    return readStream(this.#context.tree, this.#context.clock, path, options?.range);
  }

  async watch(listener: Parameters<Storage["watch"]>[0]): ReturnType<Storage["watch"]> {
    return this.#options.watch === false ? null : watchTree(this.#context.tree, listener);
  }

  async commit(changes: Parameters<Storage["commit"]>[0]): ReturnType<Storage["commit"]> {
    this.#mustWrite();
    return this.#committer.commit(changes);
  }

  settled(): Promise<void> {
    return this.#committer.settled();
  }

  async stage(...[path, body, options]: Parameters<Storage["stage"]>): ReturnType<Storage["stage"]> {
    this.#mustWrite();
    return this.#committer.stage(path, body, options);
  }

  async discard(staged: Parameters<Storage["discard"]>[0]): Promise<void> {
    this.#committer.discard(staged);
  }

  async append(path: string, lines: readonly string[]): Promise<void> {
    this.#mustWrite();
    await this.#appender.append(path, lines);
  }

  async recover(): Promise<void> {
    if (this.#options.readOnly) return;
    const failed = await recoverJournals(this.#context).catch((error: unknown) => {
      throw this.#context.tree.refusal(error, "");
    });
    const kept = await neededFromAbove(this.#context);
    if (this.#options.flat) {
      await sweep(this.#context, kept, () => false);
    } else {
      // What a start waits for is only where most temporaries come to lie.
      await sweep(
        this.#context,
        kept,
        (rel) => rel === ".opencode" || (rel.startsWith(".opencode/") && !rel.includes("node_modules")),
      );
      this.swept = sweep(this.#context, kept, () => true);
    }
    if (failed) throw failed;
  }

  #mustWrite(): void {
    if (this.#options.readOnly) throw new StorageError("denied", "This storage is read-only.");
  }
}
