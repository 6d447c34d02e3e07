import { readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { defineConfig } from "rolldown";

const require = createRequire(import.meta.url);
const fullName = (id) => (id.startsWith("node:") ? id : `node:${id}`);

/** What costs nothing to look at. */
function plainEntries(builtin) {
  const described = Object.entries(Object.getOwnPropertyDescriptors(builtin));
  return described
    .filter(([name, { get }]) => !get && name !== "default")
    .map(([name, { value }]) => [name, value]);
}

/** Takes what is named and nothing else. */
function plain(name) {
  const lines = plainEntries(require(name)).map(([key]) => `export const ${key} = builtin.${key};`);
  return `const builtin = process.getBuiltinModule("${name}");\n${lines.join("\n")}\nexport default builtin;\n`;
}

/** Offers functions and classes only, the classes not to be derived from; the first call loads the module. */
function late(name) {
  const functions = plainEntries(require(name)).filter(([, value]) => typeof value === "function");
  const lines = functions.map(([key]) =>
    /^[A-Z]/.test(key)
      ? `export function ${key}(...args) { return new (load().${key})(...args); }`
      : `export const ${key} = (...args) => load().${key}(...args);`,
  );
  return `const load = () => process.getBuiltinModule("${name}");\n${lines.join("\n")}\n`;
}

const lean = new Map([
  ["node:http", plain],
  ["node:https", late],
  ["node:crypto", plain],
]);

/**
 * An import of one of these modules looks at all that they offer, and what they offer behind a getter is loaded by that:
 * from Node 22 on the built-in HTTP client and web cryptography, 10 MB that the command does not need. TLS is three
 * more, and most engines are beside the server and speak without it.
 */
const leanBuiltins = {
  name: "lean-builtins",
  resolveId: (id) => (lean.has(fullName(id)) ? `\0${fullName(id)}` : null),
  load: (id) => (id[0] === "\0" ? lean.get(id.slice(1))?.(id.slice(1)) : null),
};

/** The adapter of Node brings a whole HTTP client along, and looks for others; it needs the classes of messages. */
const leanFetch = {
  name: "lean-fetch",
  resolveId: (id) => (id === "@whatwg-node/fetch" ? "\0lean-fetch" : null),
  load: (id) =>
    id === "\0lean-fetch"
      ? 'export { Headers, ReadableStream, Request, Response, URL } from "@whatwg-node/node-fetch";'
      : null,
};

/**
 * V8 keeps a text with two bytes for each character as soon as one of them needs two. Such characters stand in strings
 * and patterns, where an escape means the same.
 */
const asciiText = {
  name: "ascii-text",
  generateBundle(_options, bundle) {
    for (const chunk of Object.values(bundle)) {
      if (chunk.type !== "chunk") continue;
      chunk.code = chunk.code.replace(
        /[^\0-\x7f]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
      );
    }
  },
};

/** Only afterwards: whoever is being started meanwhile finds its pieces. */
const clearOld = {
  name: "clear-old",
  writeBundle({ dir }, bundle) {
    for (const name of readdirSync(dir)) if (!(name in bundle)) rmSync(join(dir, name), { recursive: true });
  },
};

// The command as one file: a start that resolves a hundred small modules takes twice as long.
export default defineConfig({
  input: { "openwork-server": "dist/adapters/cli.js" },
  platform: "node",
  external: ["@parcel/watcher"],
  plugins: [leanBuiltins, leanFetch, asciiText, clearOld],
  // jsonc-parser's default build is UMD, which cannot be bundled.
  resolve: { mainFields: ["module", "main"] },
  output: {
    dir: "dist/bin",
    format: "esm",
    // The text of the program stays in memory: without comments and blanks it is half as long. Names stay, for stacks.
    minify: { compress: true, mangle: { keepNames: true }, codegen: true },
    entryFileNames: "[name].js",
    // Names go by contents: a server that outlives an update must not load a piece of another build, whose short names
    // for what pieces share mean other things.
    chunkFileNames: "[name]-[hash].js",
    // What every start loads is in one file: each more has to be found. With it goes all that it imports.
    codeSplitting: {
      groups: [
        {
          name: "server",
          test: /rolldown\/runtime|\/adapters\/(?:command|http-server|local\/(?:config|server|upgrade))\.js$/,
        },
      ],
    },
  },
});
