import { describe } from "vitest";
import { isInstalled, processRuntime, programs } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

describe.runIf(isInstalled("node20"))("Node 20", () => {
  behaviour(processRuntime("Node 20", {}, (dist) => [programs.node20, `${dist}/adapters/cli.js`]));
});
