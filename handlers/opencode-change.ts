import type { Awaitable } from "../lib/awaitable.ts";
import type { JsonObject } from "../lib/json.ts";
import { chooseOpencode, readOpencode, writeOpencode, type OpencodeFile } from "../lib/opencode/config.ts";
import { absolutePath } from "../lib/paths.ts";
import type { ScopedAnswer } from "../lib/redaction.ts";
import type { Context } from "../lib/route.ts";

/** A change of the engine's configuration file in a workspace. */
export interface OpencodeChange {
  /** The contract's action word. */
  action: "plugins.add" | "plugins.remove" | "mcp.add" | "mcp.remove";
  /** One line for the host. */
  summary: string;
  /** The file as it should be; called again when the file changed meanwhile. */
  change: (file: OpencodeFile) => JsonObject;
  /** What the caller is answered once it is done. */
  list: () => Awaitable<ScopedAnswer<object>>;
}

/** Changes the engine's configuration file of a workspace, and answers with the list that came of it. */
export async function changeOpencode(
  context: Context,
  { action, summary, change, list }: OpencodeChange,
): Promise<{ jsonText: string }> {
  const { workspace, services, caller } = context;
  return services.changes.run(context, {
    action,
    summary,
    paths: [absolutePath(workspace.path, await chooseOpencode(workspace.storage))],
    targets: ["opencode.json"],
    onConflict: "replan",
    async plan(view) {
      const file = await readOpencode(view);
      return {
        changes: writeOpencode(file, change(file)),
        answer: async () => ({ jsonText: (await list()).json(caller.scope) }),
      };
    },
  });
}

/** How a summary names what a client sent: quoted and cut, so that it does not fill the host's screen. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
