import { readdirSync, rmSync } from "node:fs";
import { createRequire, isBuiltin } from "node:module";
import { join } from "node:path";
import { defineConfig } from "rolldown";

const require = createRequire(import.meta.url);
const fullName = (id) => (id.startsWith("node:") ? id : `node:${id}`);

const namesOf = (builtin) => Object.keys(builtin).filter((name) => name !== "default");

/** Left out of the bundle where nobody uses it. */
const read = (from, name) => `/*#__PURE__*/ (() => ${from}.${name})()`;

/** Takes what is named and nothing else. */
function plain(id) {
  const lines = namesOf(require(id)).map((name) => `export const ${name} = ${read("builtin", name)};`);
  return `const builtin = /*#__PURE__*/ process.getBuiltinModule("${id}");
${lines.join("\n")}
export default builtin;
`;
}

/** The first call of a function or class, or question of what class something is, loads the module; none is to be derived from. */
function late(id) {
  const builtin = require(id);
  const lines = namesOf(builtin).map((name) => {
    if (typeof builtin[name] !== "function") return `export const ${name} = ${read("load()", name)};`;
    return /^[A-Z]/.test(name)
      ? `export const ${name} = /*#__PURE__*/ lateClass("${name}");`
      : `export const ${name} = (...args) => load().${name}(...args);`;
  });
  return `const load = () => process.getBuiltinModule("${id}");
const lateClass = (name) =>
  Object.defineProperty(function (...args) { return new (load()[name])(...args); }, Symbol.hasInstance, {
    value: (object) => object instanceof load()[name],
  });
${lines.join("\n")}
`;
}

/** A start needs none of these. Most engines are beside the server and speak without TLS, which is 3 MB alone. */
const lateIds = new Set(["node:https", "node:readline", "node:tls", "node:worker_threads"]);

/**
 * An import of a built-in module looks at all that it offers, and what it offers behind a getter is loaded by that:
 * from Node 22 on the built-in HTTP client and web cryptography, 10 MB that the command does not need.
 */
const leanBuiltins = {
  name: "lean-builtins",
  // What rolldown itself brings stands below everything else, and must import nothing of it.
  resolveId: (id, importer, { kind }) =>
    kind === "import-statement" && isBuiltin(id) && importer?.[0] !== "\0" ? `\0${fullName(id)}` : null,
  load(id) {
    if (!id.startsWith("\0node:")) return null;
    return lateIds.has(id.slice(1)) ? late(id.slice(1)) : plain(id.slice(1));
  },
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
  // Asks for the formats of compression, to no end, and loads it for that.
  treeshake: { manualPureFunctions: ["getSupportedFormats"] },
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
    // What every start loads is in two files: each more has to be found, and what V8 needs to read a file, nine times
    // its size, stays with the process until something else needs it. With a file goes all that it imports.
    codeSplitting: {
      groups: [
        {
          name: "library",
          test: /^\0node:|\/adapters\/storage\/disk\.js$|\/lib\/services\.js$/,
          priority: 1,
        },
        {
          name: "server",
          test: /\/adapters\/(?:command|http-server|local\/(?:config|server|upgrade))\.js$/,
        },
      ],
    },
  },
});
