/** What one place of a name may be: this code unit, any, any number of any, or one of a set. */
type Token = number | typeof any | typeof star | CharacterSet;

const any = "?";
const star = "*";
/** A part of a pattern that stands for any number of directories. */
const directories = "**";

interface CharacterSet {
  negated: boolean;
  /** From one code unit up to another. */
  ranges: [from: number, to: number][];
}

/** The tokens of one name, or any number of names. */
type Part = readonly Token[] | typeof directories;

interface Rule {
  /** Its line: of two that apply the later one counts. */
  line: number;
  /** It lets in again what an earlier one leaves out. */
  negated: boolean;
  onlyDirectories: boolean;
  /** From the directory of the file on; else it is about names alone, wherever they are. */
  anchored: boolean;
  parts: readonly Part[];
}

/**
 * The rules of one `.gitignore` file, as gitignore(5) has them; only whether a directory above is left out is for the
 * caller to know. Whoever fills a workspace writes these patterns: a match takes time in proportion to the lengths of
 * pattern and path, whatever stars there are.
 */
export class IgnoreFile {
  /** Rules without wildcards, by their name, or by their path with a slash before it. */
  readonly #literals = new Map<string, Rule[]>();
  readonly #globs: Rule[] = [];

  constructor(text: string) {
    const lines = text.replace(/^\ufeff/, "").split("\n");
    for (const [line, given] of lines.entries()) {
      const rule = parseRule(given.replace(/\r$/, ""), line);
      if (rule === null) continue;
      const literal = literalOf(rule);
      const list = literal === null ? this.#globs : (this.#literals.get(literal) ?? []);
      list.push(rule);
      if (literal !== null) this.#literals.set(literal, list);
    }
  }

  /** Whether a path below the directory of the file is left out (true) or let in (false); null where nothing is said of it. */
  test(path: string, isDirectory: boolean): boolean | null {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const applies = (rule: Rule): boolean => isDirectory || !rule.onlyDirectories;
    let last = laterOf(
      this.#literals.get(name)?.findLast(applies),
      this.#literals.get(`/${path}`)?.findLast(applies),
    );
    let names: string[] | null = null;
    for (let i = this.#globs.length - 1; i >= 0; i -= 1) {
      const rule = this.#globs[i];
      if (rule === undefined || (last && last.line > rule.line)) break;
      if (!applies(rule)) continue;
      const isMatch = rule.anchored
        ? matchesPath(rule.parts, (names ??= path.split("/")))
        : matchesPath(rule.parts, [name]);
      if (!isMatch) continue;
      last = rule;
      break;
    }
    return last ? !last.negated : null;
  }
}

function laterOf(a: Rule | undefined, b: Rule | undefined): Rule | undefined {
  return a && b ? (a.line > b.line ? a : b) : (a ?? b);
}

function parseRule(given: string, line: number): Rule | null {
  if (given.startsWith("#")) return null;
  const trimmed = withoutTrailingSpaces(given);
  const negated = trimmed.startsWith("!");
  const whole = negated ? trimmed.slice(1) : trimmed;
  const onlyDirectories = whole.endsWith("/");
  const pattern = onlyDirectories ? whole.slice(0, -1) : whole;
  const anchored = pattern.includes("/");
  const parts = pattern === "" ? null : partsOf(pattern.replace(/^\//, ""), anchored);
  return parts && { line, negated, onlyDirectories, anchored, parts };
}

/** Spaces at the end count only behind a backslash. */
function withoutTrailingSpaces(line: string): string {
  let end = 0;
  for (let i = 0; i < line.length; i += 1) {
    if (line[i] === "\\") i += 1;
    else if (line[i] === " ") continue;
    end = i + 1;
  }
  return line.slice(0, end);
}

/** The parts between the slashes; null for a pattern that matches nothing because it is malformed. */
function partsOf(pattern: string, anchored: boolean): Part[] | null {
  const parts: Part[] = [];
  let tokens: Token[] = [];
  let stars = 0;
  const end = (): void => {
    // Two stars or more are special only as all that there is between two slashes.
    const isOpen = anchored && tokens.length === 1 && stars > 1;
    if (!isOpen) parts.push(tokens);
    else if (parts.at(-1) !== directories) parts.push(directories);
    tokens = [];
    stars = 0;
  };
  for (let at = 0; at < pattern.length;) {
    const [token, next] = tokenAt(pattern, at);
    if (token === null) return null;
    at = next;
    if (token === slash) end();
    else {
      if (token === star) stars += 1;
      if (token !== star || tokens.at(-1) !== star) tokens.push(token);
    }
  }
  end();
  // At its end it stands for something that lies inside, not for the directory itself.
  if (parts.at(-1) === directories) parts.push([star]);
  return parts;
}

const slash = 0x2f;

/** The token at a place of a pattern, null for none, and where the next one begins. */
function tokenAt(pattern: string, at: number): [token: Token | null, next: number] {
  switch (pattern[at]) {
    case "*":
      return [star, at + 1];
    case "?":
      return [any, at + 1];
    case "[":
      return characterSet(pattern, at + 1);
    case "\\":
      return at + 1 < pattern.length ? [pattern.charCodeAt(at + 1), at + 2] : [null, at];
    default:
      return [pattern.charCodeAt(at), at + 1];
  }
}

/** ASCII, as git has them. */
const classes: Readonly<Record<string, [from: number, to: number][]>> = {
  alnum: rangesOf("09AZaz"),
  alpha: rangesOf("AZaz"),
  blank: rangesOf("\t\t  "),
  cntrl: rangesOf("\0\x1f\x7f\x7f"),
  digit: rangesOf("09"),
  graph: rangesOf("!~"),
  lower: rangesOf("az"),
  print: rangesOf(" ~"),
  punct: rangesOf("!/:@[`{~"),
  space: rangesOf("\t\r  "),
  upper: rangesOf("AZ"),
  xdigit: rangesOf("09AFaf"),
};

function rangesOf(ends: string): [from: number, to: number][] {
  return Array.from({ length: ends.length / 2 }, (_, i) => [
    ends.charCodeAt(2 * i),
    ends.charCodeAt(2 * i + 1),
  ]);
}

/** The set whose bracket was opened just before; a bracket that comes first is one of its characters. */
function characterSet(pattern: string, start: number): [token: CharacterSet | null, next: number] {
  const ranges: CharacterSet["ranges"] = [];
  const negated = pattern[start] === "!" || pattern[start] === "^";
  const first = negated ? start + 1 : start;
  /** What a range could begin with. */
  let from: number | null = null;
  for (let at = first; at < pattern.length; at += 1) {
    if (pattern[at] === "]" && at > first) return [{ negated, ranges }, at + 1];
    const [, name] = (pattern[at] === "[" && /^\[:([^\]]*):\]/.exec(pattern.slice(at, at + 12))) || [];
    const isRange: boolean =
      pattern[at] === "-" && from !== null && at + 1 < pattern.length && pattern[at + 1] !== "]";
    if (name !== undefined) {
      const known = Object.hasOwn(classes, name) ? classes[name] : undefined;
      if (!known) break;
      ranges.push(...known);
      at += name.length + 3;
      from = null;
      continue;
    }
    if (isRange) at += 1;
    if (pattern[at] === "\\") at += 1;
    if (at >= pattern.length) break;
    const unit = pattern.charCodeAt(at);
    ranges.push([isRange ? (from ?? unit) : unit, unit]);
    from = isRange ? null : unit;
  }
  return [null, start];
}

/** The path or name that a rule without wildcards is about, as the rules keep it. */
function literalOf({ anchored, parts }: Rule): string | null {
  const names: string[] = [];
  for (const part of parts) {
    if (part === directories) return null;
    let name = "";
    for (const token of part) {
      if (typeof token !== "number") return null;
      name += String.fromCharCode(token);
    }
    names.push(name);
  }
  return anchored ? `/${names.join("/")}` : names.join("/");
}

/** Whether the parts match all names. Only the last `**` can take more: that is never worse than trying all of them. */
function matchesPath(parts: readonly Part[], names: readonly string[]): boolean {
  let p = 0;
  let open = -1;
  let resume = 0;
  for (let n = 0; n < names.length;) {
    const part = parts[p];
    if (part === directories) {
      open = p;
      resume = n;
      p += 1;
    } else if (part !== undefined && matchesName(part, names[n] ?? "")) {
      p += 1;
      n += 1;
    } else if (open >= 0) {
      p = open + 1;
      resume += 1;
      n = resume;
    } else return false;
  }
  return p === parts.length;
}

/** The same for the characters of one name. */
function matchesName(tokens: readonly Token[], name: string): boolean {
  // Most rules are about endings that most names do not have.
  const last = tokens.at(-1);
  if (typeof last === "number" && last !== name.charCodeAt(name.length - 1)) return false;
  let p = 0;
  let open = -1;
  let resume = 0;
  for (let n = 0; n < name.length;) {
    const token = tokens[p];
    if (token === star) {
      open = p;
      resume = n;
      p += 1;
    } else if (token !== undefined && takes(token, name.charCodeAt(n))) {
      p += 1;
      n += 1;
    } else if (open >= 0) {
      p = open + 1;
      resume += 1;
      n = resume;
    } else return false;
  }
  return p === tokens.length || (tokens[p] === star && p + 1 === tokens.length);
}

function takes(token: Exclude<Token, typeof star>, unit: number): boolean {
  if (typeof token === "number") return token === unit;
  return token === any || token.ranges.some(([from, to]) => unit >= from && unit <= to) !== token.negated;
}
