/**
 * `npm run ui:script`: writes ui/script.ts, the script of the built-in page as one text, from the modules in ui/console.
 * The server hands it out from memory, so it needs no file at run time. `--print` writes to standard output instead.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";

const repo = join(import.meta.dirname, "..");
const bundle = await rolldown({
  cwd: repo,
  input: "ui/console/main.ts",
  platform: "browser",
  experimental: { attachDebugInfo: "none" },
});
const { output } = await bundle.generate({ format: "esm" });
await bundle.close();
const [{ code }, ...others] = output;
if (others.length > 0) throw new Error("the script of the page must be one file");

const text = `// Made by \`npm run ui:script\` from the modules in ui/console.

/** Script of the built-in page. */
export const script: string = \`${code.replaceAll(/[\\`]|\$(?=\{)/g, "\\$&")}\`;
`;
if (process.argv.includes("--print")) process.stdout.write(text);
else writeFileSync(join(repo, "ui/script.ts"), text);
