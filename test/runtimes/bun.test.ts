import { describe } from "vitest";
import { processRuntime, programs } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

const gaps = {
  bareRefusals: "Bun.serve refuses what is no HTTP request itself, without a body.",
  webSocketRelay: "Bun.serve does not lend the connection of a WebSocket.",
};

describe("Bun", () => {
  behaviour(processRuntime("Bun", gaps, (dist) => [programs.bun, `${dist}/bin/openwork-server.js`]));
});
