import { isAlias, isMap, isScalar, parseDocument, stringify, visit, YAMLMap, type Document } from "yaml";
import { ApiError } from "../errors.ts";

/** A text cut at its front matter; `open + yaml + close + body` is the text again. */
export interface SplitText {
  /** A byte order mark, if any, and the opening `---` line. */
  open: string;
  /** The lines between, each with its line end. */
  yaml: string;
  /** The closing `---` line. */
  close: string;
  body: string;
}

/** The top level of a front matter: scalars as they are; lists and mappings only by their presence, as undefined. */
export type Fields = ReadonlyMap<string, unknown>;

/** Most characters of a front matter. What people write has hundreds; parsing costs time per character. */
export const maxFrontmatterLength: number = 16 * 1024;

/** Aliases at the top level that are still followed; anything more is a bomb or a mistake. */
const maxAliases = 10;

/** Width at which long plain strings are folded. */
const lineWidth = 80;

const byteOrderMark = "\u{FEFF}";

/**
 * Cuts a text at its front matter: a first line `---`, at least one line, a line `---`; null when there is none.
 * One pass of `indexOf`, so hostile texts cost no more than their length.
 */
export function splitFrontmatter(text: string): SplitText | null {
  const start = text.startsWith(byteOrderMark) ? 1 : 0;
  const open = markerEnd(text, start);
  if (open < 0 || open === text.length || markerEnd(text, open) >= 0) return null;
  let newline = text.indexOf("\n---", open);
  while (newline >= 0) {
    const end = markerEnd(text, newline + 1);
    if (end >= 0) {
      return {
        open: text.slice(0, open),
        yaml: text.slice(open, newline + 1),
        close: text.slice(newline + 1, end),
        body: text.slice(end),
      };
    }
    newline = text.indexOf("\n---", newline + 1);
  }
  return null;
}

/** The index after a line that is exactly `---`, its line end included; -1 when the line at `start` is another. */
function markerEnd(text: string, start: number): number {
  if (!text.startsWith("---", start)) return -1;
  const after = start + 3;
  if (after === text.length) return after;
  if (text[after] === "\n") return after + 1;
  return text[after] === "\r" && text[after + 1] === "\n" ? after + 2 : -1;
}

/** The fields and the body of a text; without front matter no fields and the whole text. Throws `invalid_frontmatter`. */
export function readFrontmatter(text: string): { fields: Fields; body: string } {
  const split = splitFrontmatter(text);
  if (!split) return { fields: new Map(), body: withoutMark(text) };
  return { fields: fieldsOf(parseYaml(split.yaml).document), body: split.body };
}

/** A text without its leading byte order mark. */
export function withoutMark(text: string): string {
  return text.startsWith(byteOrderMark) ? text.slice(1) : text;
}

/** A front matter block, both marker lines included, with the given fields in their order. */
export function frontmatterBlock(fields: Readonly<Record<string, string | boolean | null>>): string {
  return `---\n${stringify(fields, { lineWidth })}---\n`;
}

/**
 * Sets fields in the front matter of a text that has one: other keys, their order and comments stay, missing
 * fields are appended in the order given. Written in block style with the text's own line ends; a byte order
 * mark goes. Throws `invalid_frontmatter`.
 */
export function editFrontmatter(split: SplitText, fields: Readonly<Record<string, string>>): string {
  const { document, map } = parseYaml(split.yaml);
  const before = fieldsOf(document);
  for (const [key, value] of Object.entries(fields)) {
    if (before.get(key) !== value) map.set(key, value);
  }
  asBlockStyle(document);
  const block = `---\n${textOf(document)}---\n`;
  return (split.open.endsWith("\r\n") ? block.replaceAll("\n", "\r\n") : block) + split.body;
}

function parseYaml(yaml: string): { document: Document; map: YAMLMap } {
  if (yaml.length > maxFrontmatterLength) {
    throw broken(`The front matter is longer than ${maxFrontmatterLength} characters.`);
  }
  const document = documentOf(yaml);
  const error = document.errors[0];
  if (error) {
    const line = yaml.slice(0, error.pos[0]).split("\n").length + 1;
    throw broken(`The front matter is not valid YAML: ${error.message} (line ${line})`, { line });
  }
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    const comment = document.contents?.comment;
    document.contents = new YAMLMap(document.schema);
    if (comment) document.comment = comment;
  }
  if (!isMap(document.contents)) throw broken("The front matter is not a mapping of keys to values.");
  return { document, map: document.contents };
}

function documentOf(yaml: string): Document {
  try {
    // Checking for equal keys in the library compares each with each; `fieldsOf` does it in one pass.
    return parseDocument(yaml, {
      schema: "core",
      merge: false,
      uniqueKeys: false,
      prettyErrors: false,
      logLevel: "error",
    });
  } catch (error) {
    // The library's parser recurses before it counts.
    if (error instanceof RangeError) throw broken("The front matter is nested too deep.");
    throw error;
  }
}

function fieldsOf(document: Document): Fields {
  const fields = new Map<string, unknown>();
  let aliases = 0;
  for (const { key, value } of isMap(document.contents) ? document.contents.items : []) {
    const name = isScalar(key) ? String(key.value) : null;
    if (name === null) continue;
    if (fields.has(name)) throw broken(`The front matter has the key ${JSON.stringify(name)} twice.`);
    if (isAlias(value) && ++aliases > maxAliases)
      throw broken(`The front matter has over ${maxAliases} aliases.`);
    const node = isAlias(value) ? value.resolve(document) : value;
    if (node === undefined)
      throw broken(`The front matter has an alias to nothing under ${JSON.stringify(name)}.`);
    fields.set(name, isScalar(node) ? node.value : undefined);
  }
  return fields;
}

function textOf(document: Document): string {
  try {
    return document.toString({ lineWidth });
  } catch (error) {
    // An alias to nothing deeper down shows itself here.
    throw broken(
      `The front matter cannot be written: ${error instanceof Error ? error.message : "it is not valid"}`,
    );
  }
}

/** Drops what the author's spelling fixed (flow style, quotes), so that the writer chooses; and document markers, which would end the block. */
function asBlockStyle(document: Document): void {
  visit(document, {
    Collection(_key, node) {
      node.flow = false;
    },
    Scalar(_key, node) {
      delete node.type;
    },
  });
  if (document.directives) {
    document.directives.docStart = null;
    document.directives.docEnd = false;
  }
}

function broken(message: string, details?: unknown): ApiError {
  return new ApiError("invalid_frontmatter", message, details);
}
