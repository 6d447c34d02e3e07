import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const repo = fileURLToPath(new URL("../../", import.meta.url));
const cache = join(repo, "node_modules", ".cache", "openwork-build");
const sources = ["handlers", "lib", "adapters", "ui", "client"];

/**
 * Compiles the sources and returns the path of the result, for tests that start real processes. Nothing is
 * compiled when nothing changed, and test runs side by side wait for each other. Type errors do not matter
 * here. `OPENWORK_TEST_DIST` names a finished build to use instead.
 */
export async function buildOnce(): Promise<string> {
  const given = process.env.OPENWORK_TEST_DIST;
  if (given) return given;
  const dist = join(repo, "dist");
  await mkdir(cache, { recursive: true });
  await lock();
  try {
    const key = await sourceKey();
    const keyFile = join(cache, "key");
    if ((await readFile(keyFile, "utf8").catch(() => "")) === key && (await exists(dist))) return dist;
    const fresh = await mkdtemp(join(cache, "out-"));
    try {
      await compile(fresh);
      await publish(fresh, dist);
      await bundle();
      await writeFile(keyFile, key);
    } finally {
      await rm(fresh, { recursive: true, force: true });
    }
  } finally {
    await rmdir(join(cache, "lock")).catch(() => undefined);
  }
  return dist;
}

const exists = (path: string): Promise<boolean> => stat(path).then(Boolean, () => false);

async function lock(): Promise<void> {
  const path = join(cache, "lock");
  for (;;) {
    try {
      return await mkdir(path);
    } catch {
      const since = await stat(path).catch(() => null);
      // A killed run leaves its lock behind; no compilation takes this long.
      if (since && Date.now() - since.mtimeMs > 60_000) await rmdir(path).catch(() => undefined);
      await new Promise((resolve) => {
        setTimeout(resolve, 100);
      });
    }
  }
}

async function filesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function sourceKey(): Promise<string> {
  const hash = createHash("sha256");
  for (const dir of sources) {
    for (const file of (await filesBelow(join(repo, dir))).toSorted()) {
      hash
        .update(relative(repo, file))
        .update("\0")
        .update(await readFile(file));
    }
  }
  for (const file of ["tsconfig.json", "tsconfig.build.json", "rolldown.config.mjs"])
    hash.update(await readFile(join(repo, file)));
  return hash.digest("hex");
}

async function compile(outDir: string): Promise<void> {
  const tsc = join(repo, "node_modules", "typescript", "bin", "tsc");
  const output = await run([tsc, "-p", join(repo, "tsconfig.build.json"), "--outDir", outDir]);
  if ((await filesBelow(outDir)).length === 0) throw new Error(`The build gave no files:\n${output}`);
}

/** Makes the command's single file out of the compiled ones. */
async function bundle(): Promise<void> {
  await run([join(repo, "node_modules", "rolldown", "bin", "cli.mjs"), "-c"]);
}

/** Runs a script of Node and returns what it prints. */
function run(args: readonly string[]): Promise<string> {
  return new Promise<string>((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: repo, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    child.stdout.on("data", (chunk) => (text += String(chunk)));
    child.stderr.on("data", (chunk) => (text += String(chunk)));
    child.on("error", reject);
    child.on("close", () => resolve(text));
  });
}

/** Puts the files in place one by one, each whole, leaves those alone that did not change, and drops those of old. */
async function publish(from: string, to: string): Promise<void> {
  const kept = new Set((await filesBelow(from)).map((file) => relative(from, file)));
  for (const file of await filesBelow(to)) {
    const path = relative(to, file);
    if (!kept.has(path) && !path.startsWith("bin")) await rm(file);
  }
  for (const file of await filesBelow(from)) {
    const target = join(to, relative(from, file));
    const old = await readFile(target).catch(() => null);
    if (old?.equals(await readFile(file))) continue;
    await mkdir(dirname(target), { recursive: true });
    await rename(file, target);
  }
}
