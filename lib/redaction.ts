import type { JsonObject } from "./json.ts";
import type { Scope } from "./scopes.ts";
import { cleanText, isSecretName, mask, maskArguments } from "./secrets.ts";

/** Deeper than this nothing is shown. */
const deepest = 400;

/** What stands under these keys may all be secret. */
const valueHolders: RegExp = /^(?:env|envs|environment|environments)$|headers?$/i;

/** The keys of objects under these are names of things, not of fields: a server called `auth` is no secret. */
const nameMaps: RegExp = /^(?:mcp|agent|mode|command|provider|models|permission|tools|lsp|formatter)$/;

/** Answers to permission questions, which stand under all kinds of names. */
const permissionWords = new Set(["", "allow", "ask", "deny"]);

/**
 * The value as viewers may see it: what headers and environments hold, what stands under keys that sound
 * secret, credentials in URLs and in command lines are replaced by `***`. Parts without secrets are shared
 * with the original, which is never changed.
 */
export function redact<T>(value: T): { value: T; redacted: boolean } {
  const clean = redactValue(value, 0) as T;
  return { value: clean, redacted: clean !== value };
}

function redactValue(value: unknown, depth: number, named = false): unknown {
  if (typeof value === "string") return cleanText(value);
  if (value === null || typeof value !== "object") return value;
  if (depth > deepest) return mask;
  if (Array.isArray(value)) return redactList(value, depth);
  return mapObject(value as JsonObject, (child, key) => {
    const isObject = child !== null && typeof child === "object";
    const secret = (isSecretName(key) || valueHolders.test(key)) && !(named && isObject);
    return secret ? hideAll(child, depth + 1) : redactValue(child, depth + 1, isObject && nameMaps.test(key));
  });
}

function redactList(list: readonly unknown[], depth: number): readonly unknown[] {
  const masked = maskArguments(list);
  return mapList(masked, (element) => redactValue(element, depth + 1));
}

/** Hides every text and number; what is left says only that there is something. */
function hideAll(value: unknown, depth: number): unknown {
  if (typeof value === "string") return permissionWords.has(value) ? value : mask;
  if (typeof value === "number") return mask;
  if (value === null || typeof value !== "object") return value;
  if (depth > deepest) return mask;
  if (Array.isArray(value)) return mapList(value, (element) => hideAll(element, depth + 1));
  return mapObject(value as JsonObject, (child) => hideAll(child, depth + 1));
}

function mapList(list: readonly unknown[], change: (element: unknown) => unknown): readonly unknown[] {
  const mapped = list.map((element) => change(element));
  return mapped.every((element, index) => element === list[index]) ? list : mapped;
}

function mapObject(object: JsonObject, change: (child: unknown, key: string) => unknown): JsonObject {
  let copy: JsonObject | null = null;
  for (const key of Object.keys(object)) {
    const child = object[key];
    const changed = change(child, key);
    if (changed === child) continue;
    // Without a prototype a key like `__proto__` is a key.
    copy ??= Object.assign(Object.create(null) as JsonObject, object);
    copy[key] = changed;
  }
  return copy ?? object;
}

/**
 * An answer kept in the cache together with both of its JSON texts, each made once and only when asked for:
 * the whole for collaborators and owners, and for viewers the redacted one, with `redacted: true` when it is.
 */
export class ScopedAnswer<T extends object> {
  readonly value: T;
  #whole: string | null = null;
  #redacted: string | null = null;
  /** The last text that was joined, and what of. */
  #joined = { text: "", more: "", whole: "" };

  constructor(value: T) {
    this.value = value;
  }

  /** The JSON object text for a scope. `more`: members that are not cached. */
  json(scope: Scope, more?: JsonObject): string {
    const text =
      scope === "viewer"
        ? (this.#redacted ??= redactedJson(this.value))
        : (this.#whole ??= JSON.stringify(this.value));
    return more === undefined ? text : this.#join(text, JSON.stringify(more));
  }

  /** One text for the same members: a new one would have to be copied together for each answer. */
  #join(text: string, more: string): string {
    const last = this.#joined;
    if (last.text !== text || last.more !== more)
      this.#joined = { text, more, whole: joinObjects(text, more) };
    return this.#joined.whole;
  }
}

/** The answer as data, for a scope: for handlers that build it anew each time. */
export function answerFor<T extends object>(scope: Scope, value: T): T & { redacted?: true } {
  if (scope !== "viewer") return value;
  const { value: clean, redacted } = redact(value);
  return redacted ? { ...clean, redacted: true } : clean;
}

function redactedJson(value: object): string {
  return JSON.stringify(answerFor("viewer", value));
}

function joinObjects(first: string, second: string): string {
  if (first === "{}") return second;
  return second === "{}" ? first : `${first.slice(0, -1)},${second.slice(1)}`;
}
