import { describe } from "vitest";
import { processRuntime, programs } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

describe("Node 24", () => {
  behaviour(processRuntime("Node 24", {}, (dist) => [programs.node24, `${dist}/bin/openwork-server.js`]));
});
