import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createDiskStorage } from "../../adapters/storage/disk.ts";
import type { Watch, WatchBatch } from "../../lib/storage.ts";
import { eventually } from "../files/support.ts";
import { temporaryDir } from "./temporary-dir.ts";

const queueFile = "/proc/sys/fs/inotify/max_queued_events";

it.runIf(process.platform === "linux")(
  "a queue that overflows by what happens in several trees together leaves none of them in ignorance",
  async () => {
    using temporary = temporaryDir();
    // A new file is told twice: in no tree alone is the half of the queue reached.
    const files = Math.ceil(Number(readFileSync(queueFile, "utf8")) / 6);
    const trees = [1, 2, 3, 4].map((n) => join(temporary.path, `tree-${n}`));
    const batches = new Map<string, WatchBatch[]>();
    const watches: (Watch | null)[] = [];
    for (const dir of trees) {
      mkdirSync(dir);
      const told: WatchBatch[] = [];
      batches.set(dir, told);
      watches.push(await createDiskStorage(dir).watch((batch) => told.push(batch)));
    }
    // Nothing is read from the queue while this runs.
    for (const dir of trees) for (let n = 0; n < files; n += 1) writeFileSync(join(dir, `file-${n}`), "text");
    for (const dir of trees) {
      await eventually(() => {
        const told = batches.get(dir) ?? [];
        const paths = new Set(told.flatMap((batch) => batch.paths));
        expect(told.some((batch) => batch.missed) || paths.size === files).toBe(true);
      });
    }
    for (const watch of watches) await watch?.close();
  },
);
