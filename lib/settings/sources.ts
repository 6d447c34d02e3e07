import { ConfigError, quoted, switchWord } from "./error.ts";
import type { SettingsFile } from "./file.ts";
import type { ParsedFlags } from "./flags.ts";
import type { Setting } from "./table.ts";

/** Where settings come from, and where what is odd about them is told. */
export interface Sources {
  flags: ParsedFlags;
  env: Readonly<Record<string, string | undefined>>;
  file: SettingsFile;
  warn(text: string): void;
}

/** A value as one source gives it. `source` is how messages call that place. */
export interface Given {
  from: "cli" | "env" | "file";
  source: string;
  value: unknown;
}

function atKey(file: object, dotted: string): unknown {
  let value: unknown = file;
  for (const part of dotted.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value ?? undefined;
}

const isBlank = (value: unknown): boolean =>
  value === undefined || (typeof value === "string" && value.trim() === "");

/** What the sources give, the strongest first; blank values count as unset (I93, I94). */
export function given(sources: Sources, setting: Setting): Given[] {
  const found: Given[] = [];
  const add = (from: Given["from"], source: string, value: unknown): void => {
    if (!isBlank(value)) found.push({ from, source, value });
  };
  const { flag, variable, key } = setting;
  if (flag) add("cli", `--${flag.name}`, sources.flags.values[flag.name]);
  if (variable) add("env", variable, sources.env[variable]);
  if (key) add("file", `${key} in the settings file`, atKey(sources.file, key));
  return found;
}

/** The strongest value as trimmed text. */
export function readText(
  sources: Sources,
  setting: Setting,
): { from: Given["from"]; value: string } | undefined {
  const first = given(sources, setting)[0];
  return first && { from: first.from, value: String(first.value).trim() };
}

/** The strongest value to the letter, outer blanks and all. */
export function readVerbatim(sources: Sources, setting: Setting): string | undefined {
  const first = given(sources, setting)[0];
  return first && String(first.value);
}

/** A switch: the strongest source decides, and an unknown word there stops the start (I94). */
export function readSwitch(sources: Sources, setting: Setting, fallback: boolean): boolean {
  const first = given(sources, setting)[0];
  return first ? switchWord(first.value, first.source) : fallback;
}

/** A finite number; undefined for a text that is none. */
export function toNumber(value: unknown): number | undefined {
  const number = typeof value === "number" ? value : Number(String(value).trim());
  return Number.isFinite(number) ? number : undefined;
}

/**
 * A number: a flag that is none is ignored, so that the next source applies, while a variable that is none
 * means the default. Both are told.
 */
export function readNumber(
  sources: Sources,
  setting: Setting,
  fallback: number,
): { value: number; source: string } {
  for (const { from, source, value } of given(sources, setting)) {
    const number = toNumber(value);
    if (number !== undefined) return { value: number, source };
    if (from !== "cli") {
      sources.warn(`${source} is no number: ${quoted(value)}; ${fallback} is used.`);
      break;
    }
    sources.warn(`${source} is no number and ignored: ${quoted(value)}.`);
  }
  return { value: fallback, source: "the default" };
}

/** One of some words, without regard to case and outer blanks; an unknown word counts as `fallback` and is told. */
export function readWord<T extends string>(
  sources: Sources,
  setting: Setting,
  words: readonly T[],
  fallback: T,
): T {
  const first = given(sources, setting)[0];
  if (!first) return fallback;
  const word = String(first.value).trim().toLowerCase();
  const known = words.find((one) => one === word);
  if (known === undefined) {
    sources.warn(`${first.source} knows ${words.join(", ")}; ${quoted(first.value)} counts as ${fallback}.`);
  }
  return known ?? fallback;
}

/** A list in one text: a JSON array when it starts with `[`, else pieces between `,` or `;`. Blank pieces are dropped. */
export function parseList(text: string, source: string, warn: (text: string) => void): string[] {
  const trimmed = text.trim();
  if (!trimmed.startsWith("[")) return cleaned(trimmed.split(/[,;]/));
  try {
    const value: unknown = JSON.parse(trimmed);
    if (Array.isArray(value)) return cleaned(value);
  } catch {
    // Told below.
  }
  warn(`${source} starts like a JSON array but is none; it counts as an empty list.`);
  return [];
}

function cleaned(values: readonly unknown[]): string[] {
  return values
    .filter((value): value is string => typeof value === "string")
    .map((value) => value.trim())
    .filter((value) => value !== "");
}

/** A list setting; undefined when no source has it. An explicit empty list is a value. */
export function readList(sources: Sources, setting: Setting): string[] | undefined {
  const flag = setting.flag && sources.flags.values[setting.flag.name];
  // `--cors ""` says "none" as clearly as a command line can.
  if (flag !== undefined && flag.trim() === "") return [];
  const first = given(sources, setting)[0];
  if (!first) return undefined;
  return Array.isArray(first.value)
    ? cleaned(first.value)
    : parseList(String(first.value), first.source, (text) => sources.warn(text));
}

/** A TCP port; one that no socket can have stops the start. */
export function checkPort(value: number, source: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 65_535) {
    throw new ConfigError(`${source} must be a port from 0 to 65535, got ${quoted(value)}.`);
  }
  return value;
}
