import { quoted, switchWord } from "./error.ts";
import { settingsKeys, unknownKeys } from "./file.ts";
import { settingsTable } from "./table.ts";

/** A command line, taken apart. */
export interface ParsedFlags {
  /** By flag name without dashes; the last one wins. A switch holds its word, `true` when it stood alone. */
  values: Readonly<Record<string, string>>;
  /** Every `--workspace`, in order. */
  workspaces: readonly string[];
  /** Flags nobody knows, as typed, without their values. */
  unknown: readonly string[];
  /** What else was not understood. */
  warnings: readonly string[];
}

const known: ReadonlyMap<string, "value" | "switch"> = new Map([
  ...settingsTable.flatMap((row) =>
    row.flag ? [[row.flag.name, row.flag.value ? "value" : "switch"] as const] : [],
  ),
  ["no-log-requests", "switch"],
  ["version", "switch"],
  ["help", "switch"],
]);

/** The names of all flags, without dashes. */
export const flagNames: readonly string[] = [...known.keys()];

function split(arg: string): { name: string; inline: string | undefined } {
  const at = arg.indexOf("=");
  return at < 0
    ? { name: arg.slice(2), inline: undefined }
    : { name: arg.slice(2, at), inline: arg.slice(at + 1) };
}

const isKnownFlag = (arg: string): boolean => arg.startsWith("--") && known.has(split(arg).name);

class Reader {
  readonly values: Record<string, string> = {};
  readonly workspaces: string[] = [];
  readonly unknown: string[] = [];
  readonly warnings: string[] = [];
  #afterUnknown = false;

  /** Takes one argument; says whether it also consumed `next`. */
  take(arg: string, next: string | undefined): boolean {
    const afterUnknown = this.#afterUnknown;
    this.#afterUnknown = false;
    if (arg === "--") return false;
    if (arg === "-h") this.values["help"] = "true";
    else if (arg.startsWith("--")) return this.#flag(arg, next);
    else if (/^-[^\d.]/.test(arg)) this.#unknownFlag(arg, true);
    // What follows an unknown flag is most likely its value: a launcher may be newer than this server.
    else if (!afterUnknown)
      this.warnings.push(`${quoted(arg)} is ignored: a workspace is given as --workspace PATH.`);
    return false;
  }

  #unknownFlag(name: string, mayHaveValue: boolean): void {
    this.unknown.push(name);
    this.#afterUnknown = mayHaveValue;
  }

  #flag(arg: string, next: string | undefined): boolean {
    const { name, inline } = split(arg);
    const kind = known.get(name);
    if (kind === undefined) this.#unknownFlag(`--${name}`, inline === undefined);
    else if (kind === "switch") this.#switch(name, inline);
    else if (inline !== undefined) this.#store(name, inline);
    else if (next === undefined || isKnownFlag(next)) {
      this.warnings.push(`--${name} is ignored: its value is missing.`);
    } else {
      this.#store(name, next);
      return true;
    }
    return false;
  }

  #switch(name: string, inline: string | undefined): void {
    const word = inline === undefined || inline.trim() === "" ? "true" : inline;
    if (name === "no-log-requests")
      this.values["log-requests"] = String(!switchWord(word, "--no-log-requests"));
    else this.values[name] = word;
  }

  #store(name: string, value: string): void {
    if (name === "workspace") this.workspaces.push(value);
    else this.values[name] = value;
  }
}

/** Reads a command line: `--flag value` and `--flag=value` (I92); unknown flags and their values are set aside. */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const reader = new Reader();
  for (let i = 0; i < argv.length; i += 1) {
    if (reader.take(argv[i] ?? "", argv[i + 1])) i += 1;
  }
  const { values, workspaces, unknown, warnings } = reader;
  return { values, workspaces, unknown, warnings };
}

/** The known name that an unknown one is likely to mean, or null. */
async function nearName(name: string, names: readonly string[]): Promise<string | null> {
  // Loaded here because a start without typos does not need it.
  const { closest, distance } = await import("fastest-levenshtein");
  const near = closest(name, names);
  return distance(name, near) <= Math.max(2, name.length / 3) ? near : null;
}

/** One sentence per unknown flag, with the nearest name when there is a near one (I92). */
export function unknownFlagWarnings(unknown: readonly string[]): Promise<string[]> {
  return Promise.all(
    unknown.map(async (flag) => {
      const shown = flag.slice(0, 64);
      const near = await nearName(shown.replace(/^-+/, ""), [...flagNames]);
      return `Unknown flag ${shown} is ignored${near === null ? "." : `; did you mean --${near}?`}`;
    }),
  );
}

/**
 * One sentence per key of the settings file that looks like a mistyped one. Other unknown keys are passed over: they
 * may be another program's.
 */
export async function mistypedKeyWarnings(file: unknown, path: string): Promise<string[]> {
  const unknown = unknownKeys(file).map((key) => key.slice(0, 64));
  const near = await Promise.all(unknown.map((key) => nearName(key, settingsKeys)));
  return unknown.flatMap((key, index) => {
    const meant = near[index];
    return meant ? [`${path}: the key ${quoted(key)} is ignored; did you mean ${quoted(meant)}?`] : [];
  });
}
