/** A setting that must stop the start. The message names the source (flag, variable or key) and quotes the value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** A value as a message shows it: JSON, cut when long. */
export function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

const words: ReadonlyMap<string, boolean> = new Map([
  ["1", true],
  ["true", true],
  ["yes", true],
  ["on", true],
  ["0", false],
  ["false", false],
  ["no", false],
  ["off", false],
]);

/** The one meaning of the words a switch takes, wherever it is set (I94); `source` is named when the word is unknown. */
export function switchWord(value: unknown, source: string): boolean {
  const known = words.get(String(value).trim().toLowerCase());
  if (known === undefined) {
    throw new ConfigError(`${source} must be 1, true, yes, on or 0, false, no, off; got ${quoted(value)}.`);
  }
  return known;
}
