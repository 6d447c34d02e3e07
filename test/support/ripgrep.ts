import { join } from "node:path";

/** A ripgrep of the tests' own, so that none depends on what a machine has. */
export const ripgrep: string = join(import.meta.dirname, "../node_modules/@vscode/ripgrep-linux-x64/bin/rg");
