import { isJsonObject, prettyJson, sameJson, type JsonObject } from "../json.ts";
import { jsoncValue, parseJsonc } from "../jsonc/parse.ts";
import {
  chooseOpencode,
  mergeShallow,
  opencodeObject,
  openworkPath,
  patchOpenwork,
  readOpencode,
  writeOpencode,
  writeText,
  type Reader,
} from "../opencode/config.ts";
import type { Change } from "../storage.ts";

/** The two configurations of an import; an export of this server adds their texts, null for files that do not exist. */
export interface ConfigImport {
  mode: { opencode?: unknown; openwork?: unknown };
  opencode?: JsonObject | null | undefined;
  opencodePath?: string | null | undefined;
  opencodeText?: string | null | undefined;
  openwork?: JsonObject | null | undefined;
  openworkText?: string | null | undefined;
}

/** The opencode file that an import writes: the one that is there, else the one that the export came from, else the usual. */
export async function opencodeTarget(reader: Pick<Reader, "stat">, input: ConfigImport): Promise<string> {
  const chosen = await chooseOpencode(reader);
  if (!input.opencodePath || (await reader.stat(chosen))) return chosen;
  return input.opencodePath;
}

/** The changes to the two configurations. */
export async function configChanges(reader: Reader, input: ConfigImport): Promise<Change[]> {
  return [...(await opencodeChanges(reader, input)), ...(await openworkChanges(reader, input))];
}

async function opencodeChanges(reader: Reader, input: ConfigImport): Promise<Change[]> {
  const { opencode, opencodeText } = input;
  if (!opencode) return [];
  const target = await opencodeTarget(reader, input);
  const exists = (await reader.stat(target)) !== null;
  if (!exists && isAbsentFile(opencode, opencodeText)) return [];
  if (input.mode.opencode === "replace") return [writeText(target, exactText(opencode, opencodeText))];
  if (!exists && says(opencodeText, opencode)) return [writeText(target, opencodeText)];
  const file = await readOpencode(reader);
  return writeOpencode({ ...file, path: target }, mergeShallow(opencodeObject(file), opencode));
}

async function openworkChanges(reader: Reader, input: ConfigImport): Promise<Change[]> {
  const { openwork, openworkText } = input;
  if (!openwork) return [];
  const exists = (await reader.stat(openworkPath)) !== null;
  if (!exists && isAbsentFile(openwork, openworkText)) return [];
  if (input.mode.openwork === "replace" || (!exists && says(openworkText, openwork))) {
    return [writeText(openworkPath, exactText(openwork, openworkText))];
  }
  return patchOpenwork(reader, openwork);
}

/** Whether an export says that there was no such file, which an import must not make up. */
function isAbsentFile(value: JsonObject, text: string | null | undefined): boolean {
  return text === null && Object.keys(value).length === 0;
}

/** The exported text where it still says the value, so that comments survive; else the value printed. */
function exactText(value: JsonObject, text: string | null | undefined): string {
  return says(text, value) ? text : prettyJson(value);
}

function says(text: string | null | undefined, value: JsonObject): text is string {
  if (!text || !text.isWellFormed()) return false;
  const { root } = parseJsonc(text);
  const found = root && jsoncValue(root);
  return isJsonObject(found) && sameJson(found, value);
}
