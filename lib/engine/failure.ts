import { isJsonObject } from "../json.ts";

/** What an engine cannot read, told without a word of what stands there: it may hold keys. */
export interface ConfigFailure {
  /** The engine's name for it: `ConfigJsonError` and the like. */
  name: string;
  /** The file, as the engine names it. */
  path: string | null;
  /** Where in the file: line and column, or the keys that lead there. */
  place: string | null;
}

/** The failure in an answer of an engine that could not read its configuration; null for any other answer. */
export function configFailure(body: unknown): ConfigFailure | null {
  if (!isJsonObject(body)) return null;
  const { name, data } = body;
  if (typeof name !== "string" || !/^Config\w{0,60}$/.test(name)) return null;
  const { path, message, issues } = isJsonObject(data) ? data : {};
  const place = typeof message === "string" ? lineIn(message) : keysIn(issues);
  return { name, path: typeof path === "string" ? path : null, place };
}

/** One sentence about it, for anybody. */
export function failureSentence({ name, path, place }: ConfigFailure): string {
  const detail = [name, place].filter(Boolean).join(", ");
  return `It cannot read ${path ?? "its configuration"} (${detail}).`;
}

/** The engine's error as viewers get it (I04): its own words quote the whole file. */
export function failureForViewers(body: unknown): unknown {
  const failure = configFailure(body);
  if (failure === null) return body;
  const { name, path, place } = failure;
  return { name, data: { ...(path === null ? {} : { path }), message: place ?? "" } };
}

/** What comes after the text of the file, which may look like it: the last such line counts. */
function lineIn(message: string): string | null {
  const errors = message.slice(message.lastIndexOf("--- Errors ---"));
  return /^\w{1,40} at line \d+, column \d+/m.exec(errors)?.[0] ?? null;
}

function keysIn(issues: unknown): string | null {
  const [first]: unknown[] = Array.isArray(issues) ? issues : [];
  const keys: unknown = isJsonObject(first) ? first["path"] : null;
  return Array.isArray(keys) && keys.length > 0 ? keys.map(String).join(".").slice(0, 200) : null;
}
