// Runs one piece of work on a storage and kills itself before or after its n-th changing call.
import { constants, writeSync } from "node:fs";

const { dist, root, work, changes, at, when } = JSON.parse(process.argv[2]);
const { createDiskStorage } = await import(`${dist}/adapters/storage/disk.js`);
const { nodeFs } = await import(`${dist}/adapters/storage/disk/fs.js`);

const asynchronous = ["write", "unlink", "fsync", "fdatasync"];
const mutating = [
  ...asynchronous,
  ..."writeSync ftruncateSync futimesSync fchmodSync fchownSync renameSync linkSync unlinkSync mkdirSync mkdirsSync rmdirSync".split(
    " ",
  ),
];
let count = 0;
const die = () => process.kill(process.pid, "SIGKILL");

const fs = { ...nodeFs };
for (const name of [...mutating, "openSync"]) {
  fs[name] = (...args) => {
    if (name === "openSync" && !(args[1] & constants.O_CREAT)) return nodeFs[name](...args);
    const mine = count === at;
    count += 1;
    if (mine && when === "before") die();
    if (!mine || when === "before") return nodeFs[name](...args);
    if (asynchronous.includes(name)) return nodeFs[name](...args).finally(die);
    try {
      return nodeFs[name](...args);
    } finally {
      die();
    }
  };
}

const storage = createDiskStorage(root, { fs });
if (work === "recover") {
  await storage.recover();
  await storage.swept;
} else {
  for (const change of changes)
    if (change.op === "write") change.body = new TextEncoder().encode(change.body);
  await storage.commit(changes);
  writeSync(1, "answered ");
  await storage.settled();
}
writeSync(1, `${count}`);
