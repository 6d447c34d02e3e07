import { printParseErrorCode, visit } from "jsonc-parser";

/** A property of an object (with its key) or an element of a list (key null), and where it stands in the text. */
export interface JsoncItem {
  readonly key: string | null;
  /** Where the key, or the keyless value, begins. */
  readonly offset: number;
  readonly value: JsoncNode;
  /** Where the comma after it is, or null. */
  comma: number | null;
}

/** A value and where it stands in the text; `end` is the offset behind its last character. */
export type JsoncNode =
  | { readonly kind: "scalar"; readonly offset: number; readonly end: number; readonly value: unknown }
  | { readonly kind: "object" | "array"; readonly offset: number; end: number; readonly items: JsoncItem[] };

/** An object or a list. */
export type JsoncContainer = Extract<JsoncNode, { items: unknown }>;

/** One thing that is wrong with a text (wire contract, section 6); offset and length count characters. */
export interface JsoncProblem {
  code: string;
  offset: number;
  length: number;
}

/** What a text holds: a root when nothing is wrong, else the problems. */
export type JsoncDocument = { root: JsoncNode; problems: null } | { root: null; problems: JsoncProblem[] };

/** Deeper nesting than this is refused: everything that walks a configuration may then recurse. */
const deepest = 200;
/** More problems than this tell nobody more. */
const mostProblems = 100;

/** Parses JSON with comments and trailing commas; a byte-order mark at the start is fine. Never throws. */
export function parseJsonc(text: string): JsoncDocument {
  const builder = new TreeBuilder();
  try {
    // The mark becomes a blank, so that all offsets stay those of the file.
    visit(text.startsWith("\uFEFF") ? ` ${text.slice(1)}` : text, builder.visitor, {
      allowTrailingComma: true,
    });
  } catch (error) {
    if (!(error instanceof TooDeep)) throw error;
    builder.problems.unshift({ code: "NestingTooDeep", offset: error.offset, length: 1 });
  }
  if (builder.root && builder.problems.length === 0) return { root: builder.root, problems: null };
  return { root: null, problems: builder.problems.slice(0, mostProblems) };
}

/** The plain value of a node. Objects have no prototype, so that no key means anything but itself; the last of duplicate keys wins. */
export function jsoncValue(node: JsoncNode): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "array") return node.items.map((item) => jsoncValue(item.value));
  // An object without prototype: reads as any other by those who check its keys first.
  const value = Object.create(null) as Record<string, unknown>;
  for (const item of node.items) if (item.key !== null) value[item.key] = jsoncValue(item.value);
  return value;
}

/** The item that counts for a key: the last one. */
export function jsoncProperty(node: JsoncNode, key: string): JsoncItem | null {
  return (node.kind === "object" && node.items.findLast((item) => item.key === key)) || null;
}

/** Line and column, both from 1, of an offset. */
export function positionOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset).split(/\r\n|\r|\n/);
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

class TooDeep extends Error {
  readonly offset: number;

  constructor(offset: number) {
    super("nested too deep");
    this.offset = offset;
  }
}

/** Collects the tree from the parser's callbacks; on a broken text it holds nonsense, which nobody looks at. */
class TreeBuilder {
  root: JsoncNode | null = null;
  readonly problems: JsoncProblem[] = [];
  readonly #open: JsoncContainer[] = [];
  #key: { name: string; offset: number } | null = null;

  readonly visitor: Parameters<typeof visit>[1] = {
    onObjectBegin: (offset) => this.#begin("object", offset),
    onArrayBegin: (offset) => this.#begin("array", offset),
    onObjectProperty: (name, offset) => {
      this.#key = { name, offset };
    },
    onObjectEnd: (offset, length) => this.#finish(offset + length),
    onArrayEnd: (offset, length) => this.#finish(offset + length),
    onLiteralValue: (value: unknown, offset, length) =>
      this.#add({ kind: "scalar", offset, end: offset + length, value }),
    onSeparator: (character, offset) => {
      const last = character === "," ? this.#open.at(-1)?.items.at(-1) : undefined;
      if (last) last.comma = offset;
    },
    onError: (error, offset, length) => {
      this.problems.push({ code: printParseErrorCode(error), offset, length });
    },
  };

  #begin(kind: "object" | "array", offset: number): void {
    if (this.#open.length >= deepest) throw new TooDeep(offset);
    const node: JsoncContainer = { kind, offset, end: offset, items: [] };
    this.#add(node);
    this.#open.push(node);
  }

  #add(value: JsoncNode): void {
    const parent = this.#open.at(-1);
    if (!parent) this.root ??= value;
    else
      parent.items.push({
        key: this.#key?.name ?? null,
        offset: this.#key?.offset ?? value.offset,
        value,
        comma: null,
      });
    this.#key = null;
  }

  #finish(end: number): void {
    const node = this.#open.pop();
    if (node) node.end = end;
  }
}
