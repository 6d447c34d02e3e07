import { ApiError } from "../errors.ts";
import { copyObject, isJsonObject, prettyJson, sameJson, type JsonObject } from "../json.ts";
import { editJsonc } from "../jsonc/edit.ts";
import {
  jsoncProperty,
  jsoncValue,
  parseJsonc,
  positionOf,
  type JsoncNode,
  type JsoncProblem,
} from "../jsonc/parse.ts";
import {
  readText,
  StorageError,
  type Change,
  type ReadableStorage,
  type StorageErrorCode,
} from "../storage.ts";

/** What the functions here read through: a storage, a view of a plan, or a view of the cache. */
export type Reader = Pick<ReadableStorage, "stat" | "readFile">;

/** The opencode file of a directory as read: chosen, and parsed when it is there. */
export interface OpencodeFile {
  /** `opencode.jsonc` or `opencode.json`. */
  readonly path: string;
  /** The text and what it says; null when there is no such file yet. */
  readonly parsed: { readonly text: string; readonly root: JsoncNode } | null;
  /** The plain value, `{}` for a missing file. Objects in it have no prototype. */
  readonly value: unknown;
}

/** Chooses the opencode file: `opencode.jsonc` if it exists, else `opencode.json`, else the first to be made (wire contract, 10.3). */
export async function chooseOpencode(reader: Pick<Reader, "stat">): Promise<string> {
  for (const path of ["opencode.jsonc", "opencode.json"]) if (await isThere(reader, path)) return path;
  return "opencode.jsonc";
}

/** A link that leads out of the root is there: reading it then says what is wrong. */
async function isThere(reader: Pick<Reader, "stat">, path: string): Promise<boolean> {
  try {
    return (await reader.stat(path)) !== null;
  } catch (error) {
    if (error instanceof StorageError && error.code === "outside") return true;
    throw error;
  }
}

/** Reads the opencode file; 422 `invalid_jsonc` with code, offset and length of each error when it is broken. */
export async function readOpencode(reader: Reader): Promise<OpencodeFile> {
  const path = await chooseOpencode(reader);
  const text = await readConfigText(reader, path, "invalid_jsonc");
  if (text === null) return { path, parsed: null, value: copyObject(null) };
  const { root, problems } = parseJsonc(text);
  if (root) return { path, parsed: { text, root }, value: jsoncValue(root) };
  throw brokenJsonc(path, text, problems);
}

/** The opencode file as an object that can be changed; 422 when it holds something else. */
export function opencodeObject(file: OpencodeFile): JsonObject {
  if (isJsonObject(file.value)) return file.value;
  throw misshapen(file, [], "an object, so that settings can be put into it");
}

/**
 * The changes that make the opencode file say `value`: the text is edited in place, so that comments,
 * formatting and whatever already says so stay. A missing file is made with two spaces unless nothing is to be in it.
 */
export function writeOpencode(file: OpencodeFile, value: JsonObject): Change[] {
  if (!file.parsed) return Object.keys(value).length === 0 ? [] : [writeText(file.path, prettyJson(value))];
  const { text, root } = file.parsed;
  const edited = editJsonc(text, root, value);
  return edited === text ? [] : [writeText(file.path, edited)];
}

/** Whether a value stands for "remove this key": `{"$unset": true}` (I27). */
function isUnset(value: unknown): boolean {
  return isJsonObject(value) && value["$unset"] === true && Object.keys(value).length === 1;
}

/** A copy of `base` with the keys of `patch` put in, or taken out where the patch says `{"$unset": true}`. */
export function mergeShallow(base: JsonObject, patch: JsonObject): JsonObject {
  const merged = copyObject(base);
  for (const [key, value] of Object.entries(patch)) {
    if (isUnset(value)) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

/**
 * What PATCH makes of the opencode file: top-level keys are replaced, those of `permission` one by one (I27).
 * One word for all of `permission` becomes its rule for `*`, which means the same.
 */
export function patchOpencode(file: OpencodeFile, patch: JsonObject): JsonObject {
  const merged = mergeShallow(opencodeObject(file), patch);
  const wanted = Object.hasOwn(patch, "permission") ? patch["permission"] : undefined;
  if (!isJsonObject(wanted) || isUnset(wanted)) return merged;
  const base = opencodeObject(file)["permission"] ?? {};
  if (typeof base !== "string" && !isJsonObject(base))
    throw misshapen(file, ["permission"], "an object or one word");
  const permission = mergeShallow(typeof base === "string" ? { "*": base } : base, wanted);
  const untouched =
    Object.keys(permission).length === 0 && !Object.hasOwn(opencodeObject(file), "permission");
  if (untouched) delete merged["permission"];
  else merged["permission"] = permission;
  return merged;
}

/** Where OpenWork keeps its own settings of a workspace: plain JSON. */
export const openworkPath = ".opencode/openwork.json";

/** The openwork file: null for none, else what it holds; 422 `invalid_json` when it is broken. */
export async function readOpenwork(reader: Pick<Reader, "readFile">): Promise<{ value: unknown } | null> {
  const text = await readConfigText(reader, openworkPath, "invalid_json");
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text.replace(/^\uFEFF/, ""));
    // Reading it must be safe for all that walk it, as with the other file.
    if (parseJsonc(text).problems?.[0]?.code !== "NestingTooDeep") return { value };
  } catch (cause) {
    const first = parseJsonc(text).problems?.[0];
    const where = first
      ? ` Look at ${place(text, first.offset)}.`
      : " Comments and trailing commas are not allowed there.";
    throw new ApiError("invalid_json", `${openworkPath} is not valid JSON.${where}`, undefined, {
      status: 422,
      cause,
    });
  }
  throw new ApiError("invalid_json", `${openworkPath} is nested too deeply.`, undefined, { status: 422 });
}

/** The changes that merge `patch` shallowly into the openwork file; 422 `invalid_json` when that holds no object. */
export async function patchOpenwork(reader: Pick<Reader, "readFile">, patch: JsonObject): Promise<Change[]> {
  const current = await readOpenwork(reader);
  if (current && !isJsonObject(current.value)) {
    const message = `${openworkPath} must hold an object to be merged into; it holds ${kindOf(current.value)}.`;
    throw new ApiError("invalid_json", message, undefined, { status: 422 });
  }
  const merged = mergeShallow((current?.value ?? {}) as JsonObject, patch);
  return current && sameJson(current.value, merged) ? [] : [writeText(openworkPath, prettyJson(merged))];
}

/** A change that writes a text. */
export function writeText(path: string, text: string): Change {
  return { op: "write", path, body: new TextEncoder().encode(text) };
}

/** 422 for a value in the opencode file that is of another kind than a change of it needs; nothing is overwritten. */
export function misshapen(file: OpencodeFile, keys: readonly string[], wanted: string): ApiError {
  let node = file.parsed?.root ?? null;
  for (const key of keys) node = (node && jsoncProperty(node, key)?.value) ?? null;
  const name = keys.length === 0 ? file.path : `"${keys.join(".")}" in ${file.path}`;
  const found = node ? kindOf(jsoncValue(node)) : "something else";
  const details: JsoncProblem[] = node
    ? [{ code: "ValueExpected", offset: node.offset, length: node.end - node.offset }]
    : [];
  return new ApiError(
    "invalid_jsonc",
    `${name} must be ${wanted}; it is ${found}. Nothing was changed.`,
    details,
  );
}

function brokenJsonc(path: string, text: string, problems: readonly JsoncProblem[]): ApiError {
  const [first] = problems;
  const where = first ? `: ${first.code} at ${place(text, first.offset)}` : "";
  return new ApiError("invalid_jsonc", `${path} is not valid JSON with comments${where}.`, problems);
}

function place(text: string, offset: number): string {
  const { line, column } = positionOf(text, offset);
  return `line ${line}, column ${column}`;
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** What is the matter with a configuration that no client can put right by asking differently. */
const unreadable: Partial<Record<StorageErrorCode, string>> = {
  not_a_file: "cannot be read as UTF-8 text",
  is_directory: "is a directory",
  outside: "is a link that leads out of the workspace",
};

async function readConfigText(
  reader: Pick<Reader, "readFile">,
  path: string,
  code: "invalid_json" | "invalid_jsonc",
): Promise<string | null> {
  try {
    return (await readText(reader, path))?.text ?? null;
  } catch (cause) {
    const why = cause instanceof StorageError ? unreadable[cause.code] : undefined;
    if (why === undefined) throw cause;
    const details =
      code === "invalid_jsonc" ? [{ code: "InvalidCharacter", offset: 0, length: 0 }] : undefined;
    throw new ApiError(code, `${path} ${why}.`, details, { status: 422, cause });
  }
}
