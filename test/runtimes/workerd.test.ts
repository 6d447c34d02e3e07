import { workerd } from "../contract/subject.ts";
import { behaviour } from "../contract/suite.ts";

behaviour(workerd);
