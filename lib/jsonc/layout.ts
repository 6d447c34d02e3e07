import type { JsoncContainer, JsoncNode } from "./parse.ts";

/** How a JSONC text is laid out: its lines, its indentation, its line ending; and how new values look in it. */
export class TextLayout {
  readonly text: string;
  /** The line ending of the first line; `\n` when there is but one line. */
  readonly eol: string;
  /** What one level of indentation is; two spaces when the text does not tell. */
  readonly unit: string;
  /** Values follow their colon without a blank. */
  readonly tight: boolean;
  readonly #lineStarts: number[];

  constructor(text: string, root: JsoncNode) {
    this.text = text;
    this.eol = /\r\n|\r|\n/.exec(text)?.[0] ?? "\n";
    this.#lineStarts = [
      0,
      ...Array.from(text.matchAll(/\r\n|\r|\n/g), (match) => match.index + match[0].length),
    ];
    this.unit = this.#indentUnit(root) ?? "  ";
    this.tight = isTight(text, root);
  }

  /** A value on one line, as the text spaces such. */
  inline(value: unknown): string {
    if (this.tight) return JSON.stringify(value);
    // Strings hold no raw line break, so each one here is between values.
    const lines = JSON.stringify(value, null, 1);
    return lines
      .replace(/\[\n */g, "[")
      .replace(/\n *\]/g, "]")
      .replace(/\n */g, " ");
  }

  /** A value over as many lines as it takes; the first goes on where it is put, the others are indented. */
  block(value: unknown, indent: string): string {
    return JSON.stringify(value, null, "\t").replace(
      /\n(\t*)/g,
      (_, tabs: string) => this.eol + indent + this.unit.repeat(tabs.length),
    );
  }

  /** Whether two offsets are on one line. */
  onSameLine(a: number, b: number): boolean {
    return this.#lineOf(a) === this.#lineOf(b);
  }

  /** Whether a node begins and ends on one line. */
  isOnOneLine(node: JsoncNode): boolean {
    return this.onSameLine(node.offset, node.end - 1);
  }

  /** Whether there are comments between the items of a container. */
  hasComments(node: JsoncContainer): boolean {
    let at = node.offset + 1;
    for (const item of node.items) {
      if (this.text.slice(at, item.offset).includes("/")) return true;
      at = item.value.end;
    }
    return this.text.slice(at, node.end).includes("/");
  }

  /** The blanks that the line of an offset begins with. */
  indentAt(offset: number): string {
    const start = this.#lineStarts[this.#lineOf(offset)] ?? 0;
    // A byte-order mark is no indentation.
    const from = start === 0 && this.text.startsWith("\uFEFF") ? 1 : start;
    return this.text.slice(from, this.skipBlanks(from));
  }

  /** The first offset from here that is neither space nor tab. */
  skipBlanks(offset: number): number {
    let at = offset;
    while (this.text[at] === " " || this.text[at] === "\t") at += 1;
    return at;
  }

  /** The offset before here that spaces and tabs lead up from. */
  skipBlanksBack(offset: number): number {
    let at = offset;
    while (this.text[at - 1] === " " || this.text[at - 1] === "\t") at -= 1;
    return at;
  }

  /** As {@link skipBlanksBack}, over line breaks too. */
  trimBack(offset: number): number {
    let at = offset;
    while (at > 0 && /[ \t\r\n]/.test(this.text[at - 1] ?? "")) at -= 1;
    return at;
  }

  /** Whether a line begins here. */
  isLineStart(offset: number): boolean {
    return offset === 0 || isBreak(this.text[offset - 1]);
  }

  /** Whether a line ends here. */
  isLineEnd(offset: number): boolean {
    return isBreak(this.text[offset]);
  }

  /** Where the line after this line end begins. */
  nextLine(lineEnd: number): number {
    return lineEnd + (this.text.startsWith("\r\n", lineEnd) ? 2 : 1);
  }

  #lineOf(offset: number): number {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The indentation of the first item that stands deeper than its container. */
  #indentUnit(node: JsoncNode): string | null {
    if (node.kind === "scalar") return null;
    const outer = this.indentAt(node.offset);
    for (const item of node.items) {
      const indent = this.indentAt(item.offset);
      if (indent.length > outer.length && indent.startsWith(outer)) return indent.slice(outer.length);
    }
    for (const item of node.items) {
      const found = this.#indentUnit(item.value);
      if (found !== null) return found;
    }
    return null;
  }
}

function isBreak(character: string | undefined): boolean {
  return character === "\n" || character === "\r";
}

function isTight(text: string, root: JsoncNode): boolean {
  const first = root.kind === "object" ? root.items[0] : undefined;
  return first !== undefined && text[first.value.offset - 1] === ":";
}
