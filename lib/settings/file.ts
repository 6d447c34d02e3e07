import { parse, printParseErrorCode, type ParseError } from "jsonc-parser";
import * as v from "valibot";
import { ConfigError, quoted } from "./error.ts";

type Maybe<T> = T | null | undefined;

/** One entry of `workspaces` in server.json. */
export interface WorkspaceEntry {
  path: string;
  name?: Maybe<string>;
  workspaceType?: Maybe<"local" | "remote">;
  baseUrl?: Maybe<string>;
  directory?: Maybe<string>;
  opencodeUsername?: Maybe<string>;
  opencodePassword?: Maybe<string>;
}

/** The keys of server.json that this server knows, checked. `null` is the same as absent. */
export interface SettingsFile {
  host?: Maybe<string>;
  port?: Maybe<number>;
  token?: Maybe<string>;
  hostToken?: Maybe<string>;
  approval?: Maybe<{ mode?: Maybe<string>; timeoutMs?: Maybe<number> }>;
  corsOrigins?: Maybe<string[]>;
  allowedHosts?: Maybe<string[]>;
  /** Read as a switch. */
  trustProxy?: Maybe<boolean | string | number>;
  basePath?: Maybe<string>;
  authorizedRoots?: Maybe<string[]>;
  protectedPaths?: Maybe<string[]>;
  /** Read as a switch: `true`, or one of its words. */
  readOnly?: Maybe<boolean | string | number>;
  logFormat?: Maybe<string>;
  logRequests?: Maybe<boolean | string | number>;
  /** Read as a switch. */
  engine?: Maybe<boolean | string | number>;
  opencodeUsername?: Maybe<string>;
  opencodePassword?: Maybe<string>;
  workspaces?: Maybe<WorkspaceEntry[]>;
}

const text = v.nullish(v.string("must be a text"));
const number = v.nullish(v.number("must be a number"));
const texts = v.nullish(v.array(v.string("must be a text"), "must be a list of texts"));
const toggle = v.nullish(v.union([v.boolean(), v.string(), v.number()], "must be true or false"));

/** The library takes a list for an object. */
const noList = v.check((value: unknown) => !Array.isArray(value), "must be an object");

const workspaceKeys = v.object(
  {
    path: v.pipe(
      v.string("must be a text"),
      v.check((path) => path.trim() !== "", "must not be blank"),
    ),
    name: text,
    workspaceType: v.nullish(v.picklist(["local", "remote"], 'must be "local" or "remote"')),
    baseUrl: text,
    directory: text,
    opencodeUsername: text,
    opencodePassword: text,
  },
  "must be an object",
);
const workspace = v.pipe(v.unknown(), noList, workspaceKeys);
const approval = v.pipe(
  v.unknown(),
  noList,
  v.object({ mode: text, timeoutMs: number }, "must be an object"),
);

const shape = v.object(
  {
    host: text,
    port: number,
    token: text,
    hostToken: text,
    approval: v.nullish(approval),
    corsOrigins: texts,
    allowedHosts: texts,
    trustProxy: toggle,
    basePath: text,
    authorizedRoots: texts,
    protectedPaths: texts,
    readOnly: toggle,
    logFormat: text,
    logRequests: toggle,
    engine: toggle,
    opencodeUsername: text,
    opencodePassword: text,
    workspaces: v.nullish(v.array(workspace, "must be a list of objects")),
  },
  "must be an object",
);

/** The keys of server.json that mean something. */
export const settingsKeys: readonly string[] = Object.keys(shape.entries);

/** The other keys of a parsed file, whatever it is. */
export function unknownKeys(file: unknown): string[] {
  if (typeof file !== "object" || file === null || Array.isArray(file)) return [];
  return Object.keys(file).filter((key) => !settingsKeys.includes(key));
}

const secretKey = /(?:^|\.)(?:token|hostToken|opencodePassword)$/;

/** Checks the shape of server.json (I23); unknown keys are left out. The error names the key and quotes its value. */
export function checkSettings(file: unknown, configPath: string): SettingsFile {
  if (file === null || file === undefined) return {};
  if (Array.isArray(file)) throw new ConfigError(`${configPath} must be an object, got a list.`);
  const result = v.safeParse(shape, file, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const key = v.getDotPath(issue);
  const where = key === null ? configPath : `${configPath}: ${key}`;
  if (issue.type === "object" && issue.input === undefined) throw new ConfigError(`${where} is missing.`);
  // An object or list may hold a password further down.
  const isHidden =
    secretKey.test(key ?? "") || (issue.input instanceof Object && Object.keys(issue.input).length > 0);
  const got = isHidden ? "" : `, got ${quoted(issue.input)}`;
  throw new ConfigError(`${where} ${issue.message}${got}.`);
}

/** Own keys alone: the parser takes a key `__proto__` for the prototype, whose keys would count as well. */
function ownOnly(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ownOnly);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, ownOnly(part)]));
}

function position(source: string, offset: number): string {
  const before = source.slice(0, offset).split("\n");
  return `line ${before.length}, column ${(before.at(-1) ?? "").length + 1}`;
}

/** Reads the text of server.json: JSON with comments and trailing commas (I23). The error names line and column. */
export function parseSettings(source: string, configPath = "server.json"): unknown {
  const errors: ParseError[] = [];
  const body = source.startsWith("\uFEFF") ? source.slice(1) : source;
  let value: unknown;
  try {
    value = ownOnly(parse(body, errors, { allowTrailingComma: true, disallowComments: false }));
  } catch {
    throw new ConfigError(`${configPath} is nested too deeply to be a settings file.`);
  }
  const first = errors[0];
  if (!first) return value;
  const problem = printParseErrorCode(first.error)
    .replaceAll(/([a-z])([A-Z])/g, "$1 $2")
    .toLowerCase();
  throw new ConfigError(`${configPath} is not JSON, ${position(body, first.offset)}: ${problem}.`);
}
