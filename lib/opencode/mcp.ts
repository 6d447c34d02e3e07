import { ApiError } from "../errors.ts";
import { matchesGlob } from "../glob.ts";
import { copyObject, isJsonObject, type JsonObject } from "../json.ts";
import { misshapen, opencodeObject, type OpencodeFile } from "./config.ts";

/** An MCP server as listed (wire contract, 10.7). */
export interface McpItem {
  name: string;
  config: unknown;
  source: "config.global" | "config.project";
  disabledByTools?: true;
}

/** Refuses names that are not made of letters, digits, `_` and `-`, begin with `-`, or mean something to JavaScript. */
export function checkMcpName(name: string): void {
  if (/^\w[\w-]*$/.test(name) && name !== "__proto__") return;
  throw new ApiError(
    "invalid_mcp_name",
    `${JSON.stringify(name.slice(0, 80))} is no name for an MCP server: use letters, digits, "_" and "-", and begin with no "-".`,
  );
}

/** Refuses a server without what its type needs; everything else in it is stored untouched. */
export function checkMcpConfig(config: JsonObject): void {
  const { type, command, url } = config;
  if (type === "local") {
    const fine =
      Array.isArray(command) && command.length > 0 && command.every((word) => typeof word === "string");
    if (!fine) throw invalid("command", "a local server needs a list of texts, the program first");
  } else if (type === "remote") {
    if (typeof url !== "string" || url.trim() === "")
      throw invalid("url", "a remote server needs the address as a text");
  } else throw invalid("type", 'it must be "local" or "remote"');
}

function invalid(field: string, why: string): ApiError {
  return new ApiError("invalid_mcp_config", `config.${field}: ${why}.`, { path: `config.${field}` });
}

/** The file as it should be with that server; one of the same name is replaced in its place. */
export function withMcp(file: OpencodeFile, name: string, server: JsonObject): JsonObject {
  const config = opencodeObject(file);
  const mcp = config["mcp"] ?? copyObject(null);
  if (!isJsonObject(mcp)) throw misshapen(file, ["mcp"], "an object with a key per server");
  const servers = copyObject(mcp);
  servers[name] = server;
  return { ...config, mcp: servers };
}

/** The file as it should be without that server; a name that is not there changes nothing. */
export function withoutMcp(file: OpencodeFile, name: string): JsonObject {
  const config = opencodeObject(file);
  const mcp = config["mcp"];
  if (!isJsonObject(mcp) || !Object.hasOwn(mcp, name)) return config;
  const servers = copyObject(mcp);
  delete servers[name];
  return { ...config, mcp: servers };
}

/** All servers: those of the user that the project does not name itself, then those of the project, each in the order of its file. */
export function listMcp(project: unknown, global: unknown): McpItem[] {
  const own = serversOf(project);
  const inherited = Object.entries(serversOf(global)).filter(([name]) => !Object.hasOwn(own, name));
  const projectRules = denyRules(project);
  const allRules = [...denyRules(global), ...projectRules];
  return [
    ...inherited.map(([name, config]) => item(name, config, "config.global", allRules)),
    ...Object.entries(own).map(([name, config]) => item(name, config, "config.project", projectRules)),
  ];
}

function item(name: string, config: unknown, source: McpItem["source"], rules: readonly string[]): McpItem {
  return isDenied(name, rules) ? { name, config, source, disabledByTools: true } : { name, config, source };
}

function serversOf(config: unknown): JsonObject {
  const mcp = isJsonObject(config) ? config["mcp"] : undefined;
  return isJsonObject(mcp) ? mcp : {};
}

/** The patterns of `tools.deny` that can mean a server at all, each once. */
function denyRules(config: unknown): string[] {
  const tools = isJsonObject(config) ? config["tools"] : undefined;
  const deny = isJsonObject(tools) ? tools["deny"] : undefined;
  if (!Array.isArray(deny)) return [];
  return [...new Set(deny)].filter((rule): rule is string => typeof rule === "string" && /^[m*?]/.test(rule));
}

function isDenied(name: string, rules: readonly string[]): boolean {
  const targets = [`mcp.${name}`, `mcp.${name}.*`, `mcp:${name}`, `mcp:${name}:*`, "mcp.*", "mcp:*"];
  return rules.some((rule) => targets.some((target) => matchesGlob(rule, target)));
}
