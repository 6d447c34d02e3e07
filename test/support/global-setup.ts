import { buildOnce } from "./build.ts";

/** Compiles once before the tests; the workers inherit the path and do not look again. */
export default async function setup(): Promise<void> {
  process.env.OPENWORK_TEST_DIST = await buildOnce();
}
