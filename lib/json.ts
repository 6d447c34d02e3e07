import {
  check,
  custom,
  metadata,
  object,
  optional,
  pipe,
  unknown,
  type GenericSchema,
  type ObjectEntries,
  type ObjectSchema,
  type OptionalSchema,
} from "valibot";

/** An object of JSON: whatever its prototype, only its own keys count. */
export type JsonObject = Record<string, unknown>;

/** Whether a value is an object of JSON, neither null nor a list. */
export function isJsonObject(value: unknown): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** A copy without prototype, so that `constructor` and its like are keys as any other; null or nothing gives an empty one. */
export function copyObject(source: JsonObject | null | undefined): JsonObject {
  return Object.assign(Object.create(null) as JsonObject, source);
}

/** Whether two JSON values are the same; the order of keys counts, since some readers go by it. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return (
      Array.isArray(b) && a.length === b.length && a.every((element, index) => sameJson(element, b[index]))
    );
  }
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  const keys = Object.keys(a);
  const others = Object.keys(b);
  return (
    keys.length === others.length &&
    keys.every((key, index) => key === others[index] && sameJson(a[key], b[key]))
  );
}

/** JSON as new files hold it: two spaces and a final newline. */
export function prettyJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** A number in a JSON value that JSON cannot hold again (`1e999` reads as infinite): its path, or null. */
function unstorablePath(value: unknown): string | null {
  if (typeof value === "number") return Number.isFinite(value) ? null : "";
  if (value === null || typeof value !== "object") return null;
  for (const [key, child] of Object.entries(value)) {
    const below = unstorablePath(child);
    if (below !== null) return below === "" ? key : `${key}.${below}`;
  }
  return null;
}

/** Schema of an object with any keys; the generic schemas of valibot drop keys such as `constructor`. */
export const jsonObject: GenericSchema<JsonObject> = pipe(
  custom<JsonObject>(isJsonObject, "must be an object"),
  check((value) => unstorablePath(value) === null, "holds a number that is too large for JSON"),
  metadata({ type: "object" }),
);

/** Schema of an object with known keys: the one of valibot, which would take a list for an object without any. */
export function plainObject<E extends ObjectEntries>(
  entries: E,
  message = "must be an object",
): ObjectSchema<E, string> {
  const schema = object(entries, message);
  return {
    ...schema,
    "~run": (dataset, config) =>
      schema["~run"](Array.isArray(dataset.value) ? { ...dataset, value: "a list" } : dataset, config),
  };
}

/** Schema of a field that takes anything or nothing, of which the description says what is meant: the handler judges it. */
export function meant(shape: {
  type: "string" | "number" | "boolean";
  enum?: string[];
}): OptionalSchema<GenericSchema<unknown>, undefined> {
  return optional(pipe(unknown(), metadata(shape)));
}
