import type { ByteRange } from "../storage.ts";

const single = /^bytes=(\d*)-(\d*)$/i;

/**
 * What a `Range` header asks of a body of `size` bytes (RFC 9110, section 14): one range, both ends inclusive
 * and within the body; `unsatisfiable`; or null for the whole body, which is the answer to no header, another
 * unit, several ranges, and anything malformed.
 */
export function parseRange(header: string | null, size: number): ByteRange | "unsatisfiable" | null {
  const match = header === null ? null : single.exec(header.trim());
  if (!match) return null;
  const [, first = "", last = ""] = match;
  if (first === "") return suffixRange(last, size);
  const start = Number(first);
  const end = last === "" ? Infinity : Number(last);
  if (end < start) return null;
  if (start >= size) return "unsatisfiable";
  return { start, end: Math.min(end, size - 1) };
}

function suffixRange(digits: string, size: number): ByteRange | "unsatisfiable" | null {
  if (digits === "") return null;
  const length = Number(digits);
  if (length === 0) return "unsatisfiable";
  // No Content-Range can describe a part of nothing.
  if (size === 0) return null;
  return { start: Math.max(0, size - length), end: size - 1 };
}
