// Changes one file again and again beside other processes, or dies while it holds the lock.
import { writeSync } from "node:fs";

const { dist, root, name, times, dies, procfs } = JSON.parse(process.argv[2]);
const { createDiskStorage } = await import(`${dist}/adapters/storage/disk.js`);
const { nodeFs } = await import(`${dist}/adapters/storage/disk/fs.js`);

const fs = { ...nodeFs };
// The backup is linked between check and rename: a pause there gives others every chance to slip in.
fs.linkSync = (...args) => {
  nodeFs.linkSync(...args);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
};
if (dies) fs.renameSync = () => process.kill(process.pid, "SIGKILL");
const storage = createDiskStorage(root, { fs, procfs });

async function add(item) {
  for (;;) {
    const file = await storage.readFile("list.json");
    const items = file === null ? [] : JSON.parse(new TextDecoder().decode(file.bytes));
    const body = new TextEncoder().encode(JSON.stringify([...items, item]));
    const ifRevision = file === null ? null : file.entry.revision;
    try {
      await storage.commit([{ op: "write", path: "list.json", body, ifRevision }]);
      return;
    } catch (error) {
      if (error.code !== "conflict") throw error;
    }
  }
}

for (let i = 0; i < times; i += 1) await add(`${name}${i}`);
writeSync(1, "done");
