import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { candidatesOf } from "../../adapters/ripgrep.ts";

it("ends quietly when the search is given up in the middle of a line", async () => {
  const dir = await mkdtemp(join(tmpdir(), "ripgrep-"));
  try {
    const command = join(dir, "rg");
    const whole = '{"type":"match","data":{"path":{"text":"./a"}}}';
    await writeFile(
      command,
      `#!/bin/sh\nprintf '%s\\n%s' '${whole}' '${whole.slice(0, 30)}'\nexec sleep 30\n`,
    );
    await chmod(command, 0o755);
    const given = new AbortController();
    const found: string[] = [];
    const query = { text: "x", caseSensitive: true, ignored: false };
    for await (const path of candidatesOf(command, dir, query, given.signal)) {
      found.push(path);
      setTimeout(() => given.abort(), 100);
    }
    expect(found).toEqual(["a"]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
