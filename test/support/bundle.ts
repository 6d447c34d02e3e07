import { join } from "node:path";
import { rolldown, type RolldownOutput } from "rolldown";

/** A bundle as one text, and what it imports from elsewhere. */
export interface Bundle {
  code: string;
  imports: string[];
}

/**
 * Bundles an entry for a platform without anything of Node: what cannot be bundled stays an import and is told.
 * Takes TypeScript and JavaScript.
 */
export async function bundleForWeb(
  input: string,
  options: {
    minify?: boolean;
    /** What decides between conditional exports. Default: those of a bundler for Workers. */
    conditions?: readonly string[];
  } = {},
): Promise<Bundle> {
  const build = await rolldown({
    input,
    cwd: join(import.meta.dirname, "../.."),
    platform: "browser",
    logLevel: "silent",
    resolve: {
      conditionNames: [
        ...(options.conditions ?? ["workerd", "worker", "browser"]),
        "module",
        "import",
        "default",
      ],
      mainFields: ["module", "main"],
    },
    external: [/^node:/, /^cloudflare:/],
  });
  const { output }: RolldownOutput = await build.generate({
    format: "esm",
    codeSplitting: false,
    minify: options.minify ?? false,
  });
  await build.close();
  const [chunk] = output;
  // What was loaded on demand is in the same file, which then names itself.
  const imports = [...chunk.imports, ...chunk.dynamicImports].filter((name) => name !== chunk.fileName);
  return { code: chunk.code, imports };
}
