/** What an ASCII `filename` may hold and still be read alike by everybody: no quote, backslash or percent sign. */
const plain = /^[\x20\x21\x23\x24\x26-\x5b\x5d-\x7e]*$/;

/**
 * `Content-Disposition` of a download that survives every name (I43): `filename="…"` in plain ASCII, and where
 * that is not the whole name also `filename*=UTF-8''…` (RFC 6266), which clients prefer.
 */
export function attachment(name: string): string {
  if (plain.test(name)) return `attachment; filename="${name}"`;
  const fallback = name.replaceAll(/[^\x20-\x7e]|["\\%]/gu, "_");
  return `attachment; filename="${fallback}"; filename*=UTF-8''${encodeExtended(name)}`;
}

/** Percent-encodes all but the attr-char of RFC 8187. */
function encodeExtended(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

const parameter = /;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\[^])*)"|([^\s;"]*))\s*/gy;

/**
 * The parameters of a `Content-Disposition` header as browsers, curl and fetch write it for forms: values in
 * raw UTF-8, `"` as `%22` or `\"`, line ends as `%0D%0A`; names in lower case, the first of a name counts.
 * Null when it is malformed.
 */
export function dispositionParameters(header: string): Map<string, string> | null {
  const start = header.indexOf(";");
  const parameters = new Map<string, string>();
  if (start < 0) return parameters;
  parameter.lastIndex = start;
  for (let end = start; end < header.length; end = parameter.lastIndex) {
    const match = parameter.exec(header);
    if (!match) return null;
    const [, name = "", quoted, token = ""] = match;
    const key = name.toLowerCase();
    if (!parameters.has(key)) parameters.set(key, quoted === undefined ? token : unquote(quoted));
  }
  return parameters;
}

function unquote(text: string): string {
  // A backslash escapes a quote and itself; before anything else it is a character of a (Windows) name.
  return text
    .replaceAll(/\\(["\\])/g, "$1")
    .replaceAll(/%(22|0D|0A)/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Decodes `UTF-8''…` (RFC 8187); null when it is anything else. */
export function decodeExtended(value: string): string | null {
  const encoded = /^utf-8'[^']*'(.*)$/is.exec(value)?.[1];
  if (encoded === undefined) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}
