import { isJsonObject, sameJson, type JsonObject } from "../json.ts";
import { jsoncValue, type JsoncContainer, type JsoncItem, type JsoncNode } from "./parse.ts";
import { TextLayout } from "./layout.ts";

/** A part of the text to be replaced; an empty part is an insertion. */
interface Edit {
  start: number;
  end: number;
  text: string;
}

/** What an item becomes part of: a key of an object, or null in a list, and the value. */
type Fresh = readonly [key: string | null, value: unknown];

/** Replaced values that stood on one line stay on it up to this many characters. */
const widest = 80;

/**
 * Makes a JSONC text say `value` with the least change: what already says so keeps its bytes, comments
 * outside replaced values stay, new lines follow the indentation and line endings that are there.
 * `root` is the parsed text. Of duplicate keys the last is changed, which is the one that counts; a key
 * that goes, goes with all its duplicates. An equal value gives the very same text.
 */
export function editJsonc(text: string, root: JsoncNode, value: unknown): string {
  const editor = new Editor(new TextLayout(text, root));
  editor.put(root, value, false);
  if (editor.edits.length === 0) return text;
  const edited = applyEdits(text, editor.edits);
  return /[\r\n]$/.test(edited) ? edited : edited + editor.layout.eol;
}

/** Applies edits in order of their place; neighbouring deletions may share blanks. */
function applyEdits(text: string, edits: Edit[]): string {
  const pieces: string[] = [];
  let at = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    pieces.push(text.slice(at, Math.max(at, edit.start)), edit.text);
    at = Math.max(at, edit.end);
  }
  pieces.push(text.slice(at));
  return pieces.join("");
}

class Editor {
  readonly edits: Edit[] = [];
  readonly layout: TextLayout;

  constructor(layout: TextLayout) {
    this.layout = layout;
  }

  /** Makes a node say a value. `flat`: what encloses it stands on one line, and so must it. */
  put(node: JsoncNode, value: unknown, flat: boolean): void {
    if (node.kind === "object" && isJsonObject(value)) this.#putObject(node, value, flat);
    else if (node.kind === "array" && Array.isArray(value)) this.#putArray(node, value, flat);
    else if (node.kind !== "scalar" || node.value !== value) this.#replace(node, value, flat);
  }

  #putObject(node: JsoncContainer, value: JsonObject, flat: boolean): void {
    const last = new Map<string | null, JsoncItem>(node.items.map((item) => [item.key, item]));
    const keep = node.items.map((item) => item.key !== null && Object.hasOwn(value, item.key));
    const fresh: Fresh[] = Object.entries(value).filter(([key]) => !last.has(key));
    const order = Object.create(null) as JsonObject;
    for (const item of node.items)
      if (item.key !== null && Object.hasOwn(value, item.key)) order[item.key] = null;
    for (const [key] of fresh) order[String(key)] = null;
    const wanted = Object.keys(value);
    // Order can mean something (the last matching permission rule wins), so it is not left as it was.
    if (Object.keys(order).some((key, index) => key !== wanted[index]))
      return this.#replace(node, value, flat);
    const inner = this.layout.isOnOneLine(node);
    for (const [key, item] of last)
      if (key !== null && Object.hasOwn(value, key)) this.put(item.value, value[key], inner);
    this.#reshape(node, keep, fresh, flat);
  }

  #putArray(node: JsoncContainer, value: readonly unknown[], flat: boolean): void {
    const old = node.items.map((item) => jsoncValue(item.value));
    const keep: boolean[] = [];
    let taken = 0;
    for (const element of old) {
      const same = taken < value.length && sameJson(element, value[taken]);
      keep.push(same);
      if (same) taken += 1;
    }
    const sameAtPlace = old.filter((element, index) => sameJson(element, value[index])).length;
    if (old.length === value.length && sameAtPlace >= taken && (sameAtPlace > 0 || old.length === 1)) {
      const inner = this.layout.isOnOneLine(node);
      for (const [index, item] of node.items.entries()) this.put(item.value, value[index], inner);
    } else if (taken === 0 && old.length > 0 && value.length > 0) this.#replace(node, value, flat);
    else
      this.#reshape(
        node,
        keep,
        value.slice(taken).map((element) => [null, element] as const),
        flat,
      );
  }

  #replace(node: JsoncNode, value: unknown, flat: boolean): void {
    const { layout } = this;
    const oneLine = layout.inline(value);
    const short = node.kind !== "scalar" && layout.isOnOneLine(node) && oneLine.length <= widest;
    const text = flat || short ? oneLine : layout.block(value, layout.indentAt(node.offset));
    this.edits.push({ start: node.offset, end: node.end, text });
  }

  /** Drops items and adds others behind those that stay. */
  #reshape(node: JsoncContainer, keep: readonly boolean[], fresh: readonly Fresh[], flat: boolean): void {
    const { items } = node;
    const firstLoose = keep.lastIndexOf(true) + 1;
    for (const item of items.slice(0, firstLoose).filter((_, index) => !keep[index]))
      this.#remove(item, false);
    const loose = items.slice(firstLoose);
    if (fresh.length === 0 && firstLoose === 0 && items.length > 0 && !this.layout.hasComments(node)) {
      this.edits.push({ start: node.offset + 1, end: node.end - 1, text: "" });
      return;
    }
    // The places of what goes at the end are taken by what comes: fewer commas move.
    const reused = Math.min(loose.length, fresh.length);
    for (const [index, item] of loose.entries()) {
      const entry = fresh[index];
      if (entry) this.#overwrite(item, entry, this.layout.isOnOneLine(node));
      else this.#remove(item, true);
    }
    if (reused < loose.length && items.at(-1)?.comma === null)
      this.#removeComma(items[firstLoose + reused - 1]);
    if (fresh.length > reused) this.#append(node, fresh.slice(reused), flat);
  }

  #removeComma(item: JsoncItem | undefined): void {
    if (item && item.comma !== null) this.edits.push({ start: item.comma, end: item.comma + 1, text: "" });
  }

  #overwrite(item: JsoncItem, entry: Fresh, flat: boolean): void {
    const text = flat ? this.#inlineEntry(entry) : this.#blockEntry(entry, this.layout.indentAt(item.offset));
    this.edits.push({ start: item.offset, end: item.value.end, text });
  }

  /** Takes an item out, with its comma and, when nothing else is on them, its lines. `tail`: nothing that stays comes after it. */
  #remove(item: JsoncItem, tail: boolean): void {
    const { layout } = this;
    let { end } = item.value;
    if (item.comma !== null) {
      if (layout.skipBlanks(end) === item.comma) end = item.comma + 1;
      else this.#removeComma(item);
    }
    const before = layout.skipBlanksBack(item.offset);
    const after = layout.skipBlanks(end);
    if (layout.isLineStart(before)) {
      const wholeLines = layout.isLineEnd(after);
      this.edits.push({
        start: wholeLines ? before : item.offset,
        end: wholeLines ? layout.nextLine(after) : after,
        text: "",
      });
    } else this.edits.push({ start: tail ? before : item.offset, end: tail ? end : after, text: "" });
  }

  /** Adds items at the end of a container whose last item, if any, stays. */
  #append(node: JsoncContainer, fresh: readonly Fresh[], flat: boolean): void {
    const last = node.items.at(-1);
    if (last) this.#appendAfter(node, last, fresh);
    else this.#fill(node, fresh, flat);
  }

  #appendAfter(node: JsoncContainer, last: JsoncItem, fresh: readonly Fresh[]): void {
    const { layout } = this;
    const close = node.end - 1;
    const at = layout.trimBack(close);
    const comma = last.comma === null ? "" : ",";
    const contentEnd = last.comma === null ? last.value.end : last.comma + 1;
    if (layout.onSameLine(node.offset, last.offset) && layout.onSameLine(contentEnd, close)) {
      const indent = layout.indentAt(last.value.end);
      const oneLine = layout.isOnOneLine(node);
      const entries = fresh.map((entry) =>
        oneLine ? this.#inlineEntry(entry) : this.#blockEntry(entry, indent),
      );
      const gap = layout.tight ? "" : " ";
      const text = entries.map((entry) => gap + entry).join(",") + comma;
      this.edits.push({ start: at, end: at, text: last.comma === null ? `,${text}` : text });
      return;
    }
    const indent = layout.onSameLine(node.offset, last.offset)
      ? layout.indentAt(node.offset) + layout.unit
      : layout.indentAt(last.offset);
    const text = fresh.map((entry) => layout.eol + indent + this.#blockEntry(entry, indent)).join(",");
    if (last.comma === null) this.edits.push({ start: last.value.end, end: last.value.end, text: "," });
    this.edits.push({ start: at, end: at, text: text + comma });
  }

  /** Adds items to a container that has none, perhaps comments. */
  #fill(node: JsoncContainer, fresh: readonly Fresh[], flat: boolean): void {
    const { layout } = this;
    const close = node.end - 1;
    const at = layout.trimBack(close);
    if (flat && layout.isOnOneLine(node)) {
      const gap = layout.tight || (node.kind === "array" && at === node.offset + 1) ? "" : " ";
      const text = fresh.map((entry) => this.#inlineEntry(entry)).join(layout.tight ? "," : ", ");
      this.edits.push({ start: at, end: close, text: gap + text + gap });
      return;
    }
    const indent = layout.indentAt(node.offset);
    const inner = indent + layout.unit;
    const text = fresh.map((entry) => layout.eol + inner + this.#blockEntry(entry, inner)).join(",");
    this.edits.push({ start: at, end: close, text: text + layout.eol + indent });
  }

  #inlineEntry([key, value]: Fresh): string {
    const text = this.layout.inline(value);
    return key === null ? text : `${JSON.stringify(key)}:${this.layout.tight ? "" : " "}${text}`;
  }

  #blockEntry([key, value]: Fresh, indent: string): string {
    const text = this.layout.block(value, indent);
    return key === null ? text : `${JSON.stringify(key)}: ${text}`;
  }
}
