import { describe } from "vitest";
import { processRuntime, programs } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

const gaps = {
  bareRefusals:
    "Deno.serve refuses what is no HTTP request itself, without a body, and takes one that names no host.",
  webSocketRelay: "Deno.serve does not lend the connection of a WebSocket.",
  noLateBody: "Deno.serve takes the bodies away that are still arriving when it shuts down.",
  noCallerPause: "Deno reads a WebSocket whether its messages are wanted or not.",
};

describe("Deno", () => {
  // The flag makes a request's signal tell of clients that leave, and of nothing else.
  const command = [programs.deno, "run", "-A", "--unstable-no-legacy-abort"];
  behaviour(processRuntime("Deno", gaps, (dist) => [...command, `${dist}/bin/openwork-server.js`]));
});
