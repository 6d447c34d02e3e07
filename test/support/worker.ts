import { Log, LogLevel, Miniflare } from "miniflare";
import { bundleForWeb } from "./bundle.ts";

/** The newest date that the workerd of the tests knows. */
export const compatibilityDate = "2026-04-26";

/** Starts workerd with a Worker of one Durable Object class, bundled from `entry`. */
export async function startWorker(options: {
  /** TypeScript or JavaScript, below the repository. */
  entry: string;
  className: string;
  bindingName: string;
  bindings?: Record<string, string>;
}): Promise<Miniflare> {
  const { code, imports } = await bundleForWeb(options.entry);
  if (imports.length > 0) throw new Error(`The Worker imports ${imports.join(", ")}`);
  const worker = new Miniflare({
    modules: true,
    script: code,
    compatibilityDate,
    host: "127.0.0.1",
    port: 0,
    cf: false,
    log: new Log(LogLevel.NONE),
    durableObjects: { [options.bindingName]: { className: options.className, useSQLite: true } },
    bindings: options.bindings ?? {},
  });
  await worker.ready;
  return worker;
}
