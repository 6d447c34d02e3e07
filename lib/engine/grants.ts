import { ApiError } from "../errors.ts";
import { isJsonObject } from "../json.ts";

/** Calls whose bodies may hand out permissions: the rules of a session, and tools that a prompt switches on. */
const granting: RegExp = /^\/session(?:\/[^/]+|\/[^/]+\/(?:message|prompt_async))?$/i;
/** The fields that do it. */
const grantingFields: ReadonlySet<string> = new Set(["permission", "tools"]);

/** Whether a call may carry permissions for the engine, which then no longer asks its owner. */
export function mayGrant(call: { method: string; path: string }): boolean {
  return (call.method === "POST" || call.method === "PATCH") && granting.test(call.path);
}

/** Whether a whole body does so: a rule that allows something, or a tool that is switched on. What is no JSON may. */
export function grantsPermission(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return false;
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return true;
  }
  if (!isJsonObject(body)) return false;
  const { permission, tools } = body;
  const rules = Array.isArray(permission) ? permission : [permission];
  const allows = rules.some(
    (rule) => rule !== undefined && !(isJsonObject(rule) && isRefusal(rule["action"])),
  );
  return allows || (isJsonObject(tools) && Object.values(tools).some((on) => on !== false));
}

function isRefusal(action: unknown): boolean {
  return action === "deny" || action === "ask";
}

/**
 * Passes a long body on and breaks it off before its end when it names one of the fields: the engine never has
 * the whole, and so does nothing. Only the outermost object is looked at, a byte at a time.
 */
export function withoutGrants(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const scanner = new KeyScanner();
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        if (scanner.finds(chunk)) {
          const message =
            "A body this long may not carry permissions or tools: the host could not be shown it.";
          throw new ApiError("forbidden", message, { fields: [...grantingFields] });
        }
        controller.enqueue(chunk);
      },
    }),
  );
}

const quote = 0x22;
const backslash = 0x5c;
/** Longer keys are none of those looked for, however they are escaped. */
const longestKey = 200;

/** Looks for fields of the outermost object in JSON that comes in pieces. */
class KeyScanner {
  #depth = 0;
  #inText = false;
  #escaped = false;
  /** Whether the next text at the outermost level is a key. */
  #keyNext = false;
  #key: number[] | null = null;

  finds(chunk: Uint8Array): boolean {
    for (const byte of chunk) {
      if (this.#inText ? this.#text(byte) : this.#structure(byte)) return true;
    }
    return false;
  }

  #text(byte: number): boolean {
    if (byte !== quote || this.#escaped) {
      this.#escaped = byte === backslash && !this.#escaped;
      if (this.#key && this.#key.length <= longestKey) this.#key.push(byte);
      return false;
    }
    this.#inText = false;
    const key = this.#key;
    this.#key = null;
    return key !== null && grantingFields.has(unescaped(key));
  }

  #structure(byte: number): boolean {
    const char = String.fromCharCode(byte);
    if (byte === quote) {
      this.#inText = true;
      this.#key = this.#keyNext && this.#depth === 1 ? [] : null;
      this.#keyNext = false;
    } else if (char === "{" || char === "[") {
      this.#depth += 1;
      this.#keyNext = char === "{" && this.#depth === 1;
    } else if (char === "}" || char === "]") this.#depth -= 1;
    else if (char === "," && this.#depth === 1) this.#keyNext = true;
    return false;
  }
}

function unescaped(key: readonly number[]): string {
  const text = new TextDecoder().decode(Uint8Array.from(key));
  try {
    return String(JSON.parse(`"${text}"`));
  } catch {
    return text;
  }
}
