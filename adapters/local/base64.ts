import { Buffer } from "node:buffer";
import type { Base64Codec } from "../../lib/base64.ts";

/** Base64 in machine code, which is about ten times as fast as any script. */
export const bufferCodec: Base64Codec = {
  write(bytes, target, at) {
    const text = viewOf(bytes).toString("base64");
    // The digits are ASCII, and as Latin-1 they are copied without a look at each.
    viewOf(target).write(text, at, "latin1");
  },
  decode(text) {
    // It looks at the low half of a character only, and may take one beyond ASCII for a digit.
    if (Buffer.byteLength(text) !== text.length) return null;
    const { buffer, byteOffset, byteLength } = Buffer.from(text, "base64");
    return new Uint8Array(buffer, byteOffset, byteLength);
  },
};

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
