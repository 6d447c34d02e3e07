import { sha256 as sha256OfBytes } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** Lowercase hex SHA-256 of a text (as UTF-8) or of bytes. Synchronous, on every runtime. */
export function sha256Hex(input: string | Uint8Array): string {
  return bytesToHex(sha256OfBytes(typeof input === "string" ? utf8ToBytes(input) : input));
}

/** A SHA-256 of bytes that come in pieces. */
export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** Of all bytes so far, lowercase hex; nothing can be added after it. */
  hex(): string;
}

/** Begins a SHA-256. */
export function sha256(): RunningHash {
  const hash = sha256OfBytes.create();
  return { update: (bytes) => void hash.update(bytes), hex: () => bytesToHex(hash.digest()) };
}

/** Compares two texts of equal length without telling by its time where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i += 1) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}

/** The id of a workspace: `ws_` and the first 12 hex digits of the SHA-256 of its absolute path (wire contract, section 9). */
export function workspaceId(absolutePath: string): string {
  return `ws_${sha256Hex(absolutePath).slice(0, 12)}`;
}
