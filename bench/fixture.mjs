import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";

const numbers = (count) => Array.from({ length: count }, (_, index) => index);

const opencode = `{
  // The model of this project.
  "$schema": "https://opencode.ai/config.json",
  "model": "provider/model",
  "plugin": ["plugin-one@1.0.0", "plugin-two"],
  "mcp": {
    "files": { "type": "local", "command": ["files", "--stdio"], "enabled": false },
    "search": { "type": "remote", "url": "https://search.example/mcp", "enabled": false },
  },
  "permission": { "edit": "ask", "bash": { "*": "ask", "git status": "allow" } },
}
`;

const skill = (n) => `---
name: skill-${n}
description: What skill number ${n} is good for, in one sentence of ordinary length.
---

# Skill ${n}

## When to use

- When the work is of kind ${n}.

${"A paragraph of instructions, as people write them.\n".repeat(20)}`;

const command = (n) => `---
name: command-${n}
description: What command number ${n} does
agent: build
model: provider/model
subtask: false
---

Do the thing number ${n} with $ARGUMENTS.
`;

/** A home and a workspace of ordinary size: two configuration files, 20 skills, 20 commands. */
export async function makeFixture() {
  const root = await realpath(await mkdtemp(join(tmpdir(), "openwork-bench-")));
  const home = join(root, "home");
  const workspace = join(root, "workspace");
  const commands = join(workspace, ".opencode/commands");
  await mkdir(commands, { recursive: true });
  await mkdir(home);
  await writeFile(join(workspace, "opencode.jsonc"), opencode);
  await writeFile(join(workspace, ".opencode/openwork.json"), '{ "version": 1, "name": "bench" }\n');
  for (const n of numbers(20)) {
    const dir = join(workspace, `.opencode/skills/skill-${n}`);
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, "SKILL.md"), skill(n));
    await writeFile(join(commands, `command-${n}.md`), command(n));
  }
  const id = `ws_${createHash("sha256").update(workspace).digest("hex").slice(0, 12)}`;
  return { home, workspace, id, remove: () => rm(root, { recursive: true, force: true }) };
}

/** Writes an audit log of `megabytes` MB for a workspace, as the server does. */
export async function writeAuditLog({ home, workspace, id }, megabytes) {
  const dir = join(home, ".openwork/openwork-server/audit");
  await mkdir(dir, { recursive: true });
  const out = createWriteStream(join(dir, `${id}.jsonl`));
  let written = 0;
  for (let n = 0; written < megabytes * 1_000_000; n += 1) {
    const line = `${JSON.stringify({
      id: `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
      workspaceId: id,
      actor: { type: "remote", tokenHash: "0".repeat(64), scope: "collaborator" },
      action: "skills.upsert",
      target: `${workspace}/.opencode/skills/skill-${n % 20}/SKILL.md`,
      summary: `Write the skill skill-${n % 20}`,
      timestamp: 1_700_000_000_000 + n,
    })}\n`;
    written += line.length;
    if (!out.write(line)) await once(out, "drain");
  }
  out.end();
  await once(out, "close");
}
