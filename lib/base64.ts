const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const padding = 61;
const invalid = 0x80;

const digits: Uint8Array = Uint8Array.from(alphabet, (character) => character.charCodeAt(0));
let madePairs: Uint16Array | null = null;

/** Two digits at a time, by 12 bits. Made when first asked for: where a codec does the work nobody needs the table. */
function pairsOfDigits(): Uint16Array {
  madePairs ??= Uint16Array.from(
    { length: 4096 },
    (_, n) => ((digits[n >>> 6] ?? 0) << 8) | (digits[n & 63] ?? 0),
  );
  return madePairs;
}

const standardValues: Uint8Array = valuesOf(alphabet);
const anyValues: Uint8Array = valuesOf(alphabet, "-_");

function valuesOf(characters: string, aliases = ""): Uint8Array {
  const values = new Uint8Array(256).fill(invalid);
  for (let i = 0; i < characters.length; i += 1) values[characters.charCodeAt(i)] = i;
  for (let i = 0; i < aliases.length; i += 1) values[aliases.charCodeAt(i)] = 62 + i;
  return values;
}

/**
 * Base64 of a runtime that has it in machine code. What it makes of a wrong text is checked here, so that every
 * runtime takes and refuses the same.
 */
export interface Base64Codec {
  /** Writes them into `target` as ASCII, from `at` on: in the standard alphabet, with padding. */
  write(bytes: Uint8Array, target: Uint8Array, at: number): void;
  /**
   * The bytes of the digits, of both alphabets, before the first `=`. Null, or fewer bytes than the length of
   * the text allows, when another character is among them.
   */
  decode(text: string): Uint8Array<ArrayBuffer> | null;
}

/** How many characters of base64 that many bytes take. */
export function base64Length(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

/** Writes bytes as base64 with padding into `target`, as ASCII, from `at` on. */
export function writeBase64(bytes: Uint8Array, target: Uint8Array, at: number, codec?: Base64Codec): void {
  if (codec) codec.write(bytes, target, at);
  else writeDigits(bytes, target, at);
}

function writeDigits(bytes: Uint8Array, target: Uint8Array, at: number): void {
  const pairs = pairsOfDigits();
  const whole = bytes.length - (bytes.length % 3);
  let out = at;
  for (let i = 0; i < whole; i += 3) {
    const three = ((bytes[i] as number) << 16) | ((bytes[i + 1] as number) << 8) | (bytes[i + 2] as number);
    const left = pairs[three >>> 12] as number;
    const right = pairs[three & 4095] as number;
    target[out] = left >>> 8;
    target[out + 1] = left;
    target[out + 2] = right >>> 8;
    target[out + 3] = right;
    out += 4;
  }
  if (whole === bytes.length) return;
  const last = ((bytes[whole] ?? 0) << 16) | ((bytes[whole + 1] ?? 0) << 8);
  target[out] = digits[last >>> 18] ?? 0;
  target[out + 1] = digits[(last >>> 12) & 63] ?? 0;
  target[out + 2] = whole + 1 < bytes.length ? (digits[(last >>> 6) & 63] ?? 0) : padding;
  target[out + 3] = padding;
}

/** Bytes as base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
  const text = new Uint8Array(base64Length(bytes.length));
  writeBase64(bytes, text, 0);
  return new TextDecoder().decode(text);
}

/** The bytes of strict base64 (padding, no blanks, no other alphabet); null when it is anything else. `""` is no bytes. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  return text.length % 4 === 0 ? decode(text, standardValues) : null;
}

/** As {@link fromBase64}, but the URL alphabet counts as well, and padding may be left off. */
export function fromAnyBase64(text: string, codec?: Base64Codec): Uint8Array<ArrayBuffer> | null {
  if (text.length % 4 !== 0 && text.endsWith("=")) return null;
  return codec ? decodeNatively(text, codec) : decode(text, anyValues);
}

/** Where the padding begins. */
function digitsOf(text: string): number {
  if (!text.endsWith("=")) return text.length;
  return text.endsWith("==") ? text.length - 2 : text.length - 1;
}

function decodeNatively(text: string, codec: Base64Codec): Uint8Array<ArrayBuffer> | null {
  const end = digitsOf(text);
  if (end % 4 === 1) return null;
  const bytes = codec.decode(text);
  return bytes?.length === Math.floor((end * 3) / 4) ? bytes : null;
}

function decode(text: string, values: Uint8Array): Uint8Array<ArrayBuffer> | null {
  const end = digitsOf(text);
  if (end % 4 === 1) return null;
  // Characters beyond ASCII take more than one byte, all of them invalid: they show as a wrong length at the latest.
  const source = new TextEncoder().encode(text);
  if (source.length !== text.length) return null;
  const bytes = new Uint8Array(Math.floor((end * 3) / 4));
  const whole = end - (end % 4);
  let seen = 0;
  let out = 0;
  // Every index is in range: reads of typed arrays that cannot miss need no fallback, which would cost a third.
  for (let i = 0; i < whole; i += 4) {
    const a = values[source[i] as number] as number;
    const b = values[source[i + 1] as number] as number;
    const c = values[source[i + 2] as number] as number;
    const d = values[source[i + 3] as number] as number;
    seen |= a | b | c | d;
    bytes[out] = (a << 2) | (b >>> 4);
    bytes[out + 1] = (b << 4) | (c >>> 2);
    bytes[out + 2] = (c << 6) | d;
    out += 3;
  }
  if (end > whole) {
    const a = values[source[whole] ?? 0] ?? invalid;
    const b = values[source[whole + 1] ?? 0] ?? invalid;
    const c = whole + 2 < end ? (values[source[whole + 2] ?? 0] ?? invalid) : 0;
    seen |= a | b | c;
    bytes[out] = (a << 2) | (b >>> 4);
    if (whole + 2 < end) bytes[out + 1] = (b << 4) | (c >>> 2);
  }
  return (seen & invalid) === 0 ? bytes : null;
}
