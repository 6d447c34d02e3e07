import { Buffer } from "node:buffer";
import type { Base64Codec } from "../../lib/base64.ts";

/** Base64 in machine code, which is about ten times as fast as any script. */
export const bufferCodec: Base64Codec = {
  encode: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64"),
  decode(text) {
    // It looks at the low half of a character only, and may take one beyond ASCII for a digit.
    if (Buffer.byteLength(text) !== text.length) return null;
    const { buffer, byteOffset, byteLength } = Buffer.from(text, "base64");
    return new Uint8Array(buffer, byteOffset, byteLength);
  },
};
