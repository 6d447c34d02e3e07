import { describe } from "vitest";
import { processRuntime, programs } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

describe("Node 22", () => {
  behaviour(processRuntime("Node 22", {}, (dist) => [programs.node22, `${dist}/bin/openwork-server.js`]));
});
