import { describe } from "vitest";
import { processRuntime, programs } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

describe("Node 20", () => {
  behaviour(processRuntime("Node 20", {}, (dist) => [programs.node20, `${dist}/bin/openwork-server.js`]));
});
