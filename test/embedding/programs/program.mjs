// What the programs of this folder have in common: each hosts a handler below /agent in a server of its own, as the
// command would: same flags, same variables, same line when it listens. The first argument is the built package.
import { randomUUID } from "node:crypto";
import { homedir } from "node:os";
import { pathToFileURL } from "node:url";

const [dist, ...flags] = process.argv.slice(2);

/** A module of the built package. */
export const load = (path) => import(pathToFileURL(`${dist}/${path}`).href);

const { parseFlags, resolveConfig, settingsPath } = await load("lib/config.js");
const { createHandler } = await load("handlers/index.js");

const place = { flags: parseFlags(flags), env: process.env, cwd: process.cwd(), home: homedir() };
const { config } = resolveConfig({
  ...place,
  configPath: settingsPath(place).path,
  file: null,
  realPath: (path) => path,
  randomToken: randomUUID,
});

/** A handler whose host `createHost` makes. */
export const mount = (createHost) => createHandler(createHost(config), { basePath: "/agent" });

/** Tells where it listens, and ends in order when it is told to. */
export function run(port, stop) {
  console.log(`listening on http://127.0.0.1:${port}/agent\n`);
  process.on("SIGTERM", () => void stop().then(() => process.exit(0)));
}
