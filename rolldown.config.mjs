import { defineConfig } from "rolldown";

// The command as one file: a start that resolves a hundred small modules takes twice as long.
export default defineConfig({
  input: { "openwork-server": "dist/adapters/cli.js" },
  platform: "node",
  external: ["@parcel/watcher"],
  // jsonc-parser's default build is UMD, which cannot be bundled.
  resolve: { mainFields: ["module", "main"] },
  output: {
    dir: "dist/bin",
    cleanDir: true,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
  },
});
