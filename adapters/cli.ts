#!/usr/bin/env node
/** Node 22 keeps compiled code between starts when asked; older ones compile anew. */
function enableCompileCache(): void {
  const enable: unknown = Reflect.get(process.getBuiltinModule("node:module"), "enableCompileCache");
  if (typeof enable === "function") enable();
}

enableCompileCache();
// Loaded only now: what was loaded before is compiled anew at every start.
const { main } = await import("./command.ts");
await main(process.argv.slice(2));
