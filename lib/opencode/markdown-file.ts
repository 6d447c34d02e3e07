import { ApiError } from "../errors.ts";
import type { ReadableStorage } from "../storage.ts";

/** The reads that discovery needs; a storage, or a view of one that remembers what was read. */
export type Files = Pick<ReadableStorage, "stat" | "list" | "readFile">;

/** Most bytes of a SKILL.md or a command file: larger ones are neither read nor written. */
const maxMarkdownBytes: number = 1024 * 1024;

/** The text of a Markdown file, null when no file is there; `not_text` when it is not UTF-8, `too_large`. */
export async function readMarkdown(files: Files, path: string): Promise<string | null> {
  // A view notes what it read only when the read succeeds: this notes the file also when it is too large.
  const entry = await files.stat(path);
  if (!entry || entry.kind === "dir") return null;
  const file = await files.readFile(path, { maxBytes: maxMarkdownBytes });
  if (!file) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(file.bytes);
  } catch (cause) {
    throw new ApiError("not_text", `${path} is not UTF-8 text.`, { path }, { cause });
  }
}

/** The bytes of a text that will be a Markdown file; refuses what could not be read back. */
export function markdownBytes(text: string): Uint8Array {
  if (!text.isWellFormed()) {
    throw new ApiError("invalid_payload", "The text holds half a surrogate pair, which no file can hold.");
  }
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= maxMarkdownBytes) return bytes;
  throw new ApiError(
    "file_too_large",
    `The file would have ${bytes.length} bytes; at most ${maxMarkdownBytes} are read.`,
    {
      maxBytes: maxMarkdownBytes,
      size: bytes.length,
    },
  );
}
