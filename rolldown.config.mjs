import { createRequire } from "node:module";
import { defineConfig } from "rolldown";

const require = createRequire(import.meta.url);
const lean = new Set(["node:http", "node:https", "node:crypto"]);
const fullName = (id) => (id.startsWith("node:") ? id : `node:${id}`);

/** What costs nothing to look at. */
function plainNames(builtin) {
  const described = Object.entries(Object.getOwnPropertyDescriptors(builtin));
  return described.filter(([name, { get }]) => !get && name !== "default").map(([name]) => name);
}

/**
 * An import of one of these modules looks at all that they offer, and what they offer behind a getter is loaded by that:
 * from Node 22 on the built-in HTTP client and web cryptography, 10 MB that the command does not need. This makes
 * imports take what they name and nothing else.
 */
const leanBuiltins = {
  name: "lean-builtins",
  resolveId: (id) => (lean.has(fullName(id)) ? `\0${fullName(id)}` : null),
  load(id) {
    const name = id.slice(1);
    if (id[0] !== "\0" || !lean.has(name)) return null;
    const lines = plainNames(require(name)).map((key) => `export const ${key} = builtin.${key};`);
    return `const builtin = process.getBuiltinModule("${name}");\n${lines.join("\n")}\nexport default builtin;\n`;
  },
};

// The command as one file: a start that resolves a hundred small modules takes twice as long.
export default defineConfig({
  input: { "openwork-server": "dist/adapters/cli.js" },
  platform: "node",
  external: ["@parcel/watcher"],
  plugins: [leanBuiltins],
  // jsonc-parser's default build is UMD, which cannot be bundled.
  resolve: { mainFields: ["module", "main"] },
  output: {
    dir: "dist/bin",
    cleanDir: true,
    format: "esm",
    // The text of the program stays in memory: without comments and blanks it is half as long. Names stay, for stacks.
    minify: { compress: true, mangle: false, codegen: true },
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
  },
});
