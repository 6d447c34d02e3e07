import { linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createDiskStorage, type DiskStorage } from "../../adapters/storage/disk.ts";
import { caselessFs } from "./caseless-fs.ts";
import { temporaryDir } from "./temporary-dir.ts";

const open = (dir: string): DiskStorage => createDiskStorage(dir, { procfs: false, fs: caselessFs() });

describe("where the file system does not tell upper from lower case", () => {
  it("a rename that changes nothing but the case keeps the file", async () => {
    using temporary = temporaryDir();
    const dir = temporary.path;
    writeFileSync(join(dir, "readme.md"), "text");
    const [entry] = await open(dir).commit([
      { op: "move", from: "readme.md", to: "README.md", replace: true },
    ]);
    expect(entry).toMatchObject({ path: "README.md", kind: "file", size: 4 });
    expect(readdirSync(dir)).toEqual(["README.md"]);
    expect(readFileSync(join(dir, "README.md"), "utf8")).toBe("text");
  });

  it("so does that of a directory", async () => {
    using temporary = temporaryDir();
    const dir = temporary.path;
    mkdirSync(join(dir, "docs"));
    writeFileSync(join(dir, "docs/one"), "text");
    const [entry] = await open(dir).commit([{ op: "move", from: "docs", to: "Docs", replace: true }]);
    expect(entry).toMatchObject({ path: "Docs", kind: "dir" });
    expect(readdirSync(dir, { recursive: true })).toEqual(["Docs", "Docs/one"]);
  });

  it("a rename onto another name of the same file leaves the new one", async () => {
    using temporary = temporaryDir();
    const dir = temporary.path;
    writeFileSync(join(dir, "old"), "text");
    linkSync(join(dir, "old"), join(dir, "new"));
    await open(dir).commit([{ op: "move", from: "old", to: "new", replace: true }]);
    expect(readdirSync(dir)).toEqual(["new"]);
    expect(readFileSync(join(dir, "new"), "utf8")).toBe("text");
  });
});
