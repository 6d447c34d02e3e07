/** What another server answers with before the body, as far as passing it on goes. */
export interface AnswerHead {
  status: number;
  /** Names in lower case; of what may be said once the first counts, and cookies stay apart. */
  headers: Record<string, string | string[]>;
  /** How the end of the body shows. `none` for an answer that has no body whatever it says. */
  framing: BodyFraming;
  /** The connection may be used for another request when the body has ended. */
  keepsConnection: boolean;
}

/** How a body is framed (RFC 9112, 6.3). A number is its length. */
export type BodyFraming = number | "chunked" | "until-close" | "none";

/** The other side does not speak HTTP/1.1 as it must; nothing more may be read from it. */
export class HttpAnswerError extends Error {
  override readonly name = "HttpAnswerError";
}

/** Of these Node's own client takes the first; all others are joined. */
const single: ReadonlySet<string> = new Set([
  "age",
  "content-type",
  "etag",
  "expires",
  "last-modified",
  "location",
  "retry-after",
  "server",
]);

const statusLine = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
/** With the blanks around the value: a pattern that leaves them out goes back and forth in them. */
const headerLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)$/;
/** Longer lengths are no exact numbers. */
const lengthValue = /^\d{1,15}$/;

/**
 * Reads the head of an answer, without the empty line behind it. It is strict where laxness would let two readers see
 * different ends of the body: no folded or blank names, no bare line feeds, no length beside an encoding or twice.
 * Throws {@link HttpAnswerError}. `method` is that of the request.
 */
export function parseAnswerHead(text: string, method: string): AnswerHead {
  const [first = "", ...lines] = text.split("\r\n");
  const [, minor, code] = statusLine.exec(first) ?? [];
  if (code === undefined) throw new HttpAnswerError("it does not answer in HTTP/1.1");
  const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string>;
  for (const line of lines) addHeader(headers, line);
  const status = Number(code);
  const isHttp11 = minor === "1";
  const framing = framingOf(headers, isHttp11);
  const connection = String(headers["connection"] ?? "").toLowerCase();
  const keeps = isHttp11 ? !/\bclose\b/.test(connection) : /\bkeep-alive\b/.test(connection);
  const isBodiless = method === "HEAD" || status < 200 || status === 204 || status === 304;
  return {
    status,
    headers,
    framing: isBodiless ? "none" : framing,
    keepsConnection: keeps && (isBodiless || framing !== "until-close"),
  };
}

/** Whether a head may begin like this. */
export function beginsHead(text: string): boolean {
  return "HTTP/1.".startsWith(text.slice(0, 7)) && !/(?:^|[^\r])\n/.test(text);
}

function addHeader(headers: Record<string, string | string[]>, line: string): void {
  const [, given, padded = ""] = headerLine.exec(line) ?? [];
  if (given === undefined) throw new HttpAnswerError("a header of its answer is malformed");
  const name = given.toLowerCase();
  const value = withoutBlanks(padded);
  const known = headers[name];
  if (name === "set-cookie") headers[name] = Array.isArray(known) ? [...known, value] : [value];
  else if (known === undefined) headers[name] = value;
  else if (name === "content-length") throw new HttpAnswerError("its answer has two lengths");
  else if (!single.has(name)) headers[name] = `${String(known)}, ${value}`;
}

/** The value between its blanks. `trim` would take half a letter of UTF-8 along: here each of its bytes is a character. */
function withoutBlanks(padded: string): string {
  let from = 0;
  let to = padded.length;
  while (isBlank(padded.charCodeAt(from))) from += 1;
  while (to > from && isBlank(padded.charCodeAt(to - 1))) to -= 1;
  return padded.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function framingOf(headers: Readonly<Record<string, unknown>>, isHttp11: boolean): BodyFraming {
  const { "transfer-encoding": encoding, "content-length": length } = headers;
  if (encoding !== undefined) {
    if (length !== undefined) throw new HttpAnswerError("its answer has a length and an encoding");
    if (!isHttp11 || String(encoding).toLowerCase() !== "chunked")
      throw new HttpAnswerError("its answer has an encoding other than chunked");
    return "chunked";
  }
  if (length === undefined) return "until-close";
  if (!lengthValue.test(String(length))) throw new HttpAnswerError("its answer has a length that is none");
  return Number(length);
}
