/** `npm run build:bin`: makes out/openwork-server, the command as one file that needs no runtime. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const repo = join(import.meta.dirname, "..");

/** The native watcher finds its addon by a name made at run time; in one file it has to be named beforehand. */
const watcherInside = {
  name: "watcher-inside",
  setup(build) {
    const require = createRequire(createRequire(join(repo, "package.json")).resolve("@parcel/watcher"));
    const { MUSL, familySync } = require("detect-libc");
    const libc = process.platform !== "linux" ? "" : familySync() === MUSL ? "-musl" : "-glibc";
    const addon = require.resolve(`@parcel/watcher-${process.platform}-${process.arch}${libc}/watcher.node`);
    const contents = [
      `import { createWrapper } from ${JSON.stringify(require.resolve("./wrapper.js"))};`,
      `import addon from ${JSON.stringify(addon)};`,
      "export const { subscribe } = createWrapper(addon);",
    ].join("\n");
    build.onResolve({ filter: /^@parcel\/watcher$/ }, () => ({ path: "watcher", namespace: "inside" }));
    build.onLoad({ filter: /^watcher$/, namespace: "inside" }, () => ({ contents, loader: "js" }));
  },
};

/** Runs in Bun. */
async function compile() {
  await Bun.build({
    entrypoints: [join(repo, "dist/adapters/cli.js")],
    compile: { outfile: join(repo, "out/openwork-server") },
    format: "esm",
    minify: true,
    // Compiled ahead, it starts in less than half the time, for five megabytes more.
    bytecode: true,
    plugins: [watcherInside],
  });
}

/** What the packages of Bun call a processor. */
const processor = process.arch === "arm64" ? "aarch64" : process.arch;

/** Runs in Node: hands over to the Bun of the test tools, or to the one that is installed. */
function runInBun() {
  const ours = join(repo, `test/node_modules/@oven/bun-${process.platform}-${processor}/bin/bun`);
  const bun = existsSync(ours) ? ours : "bun";
  const { status, error } = spawnSync(bun, [import.meta.filename], { cwd: repo, stdio: "inherit" });
  if (error) process.stderr.write(`build:bin: ${bun} cannot be run; install Bun, or run npm run tools.\n`);
  process.exit(status ?? 1);
}

if ("Bun" in globalThis) await compile();
else runInBun();
