#!/usr/bin/env node
import * as nodeModule from "node:module";

/** Node 22 keeps compiled code between starts when asked; older ones compile anew. */
function enableCompileCache(): void {
  const enable: unknown = Reflect.get(nodeModule, "enableCompileCache");
  if (typeof enable === "function") enable();
}

enableCompileCache();
// Loaded only now: what was loaded before is compiled anew at every start.
const { main } = await import("./command.ts");
await main(process.argv.slice(2));
