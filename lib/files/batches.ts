import { byteStream } from "../byte-stream.ts";
import { base64Length, writeBase64, type Base64Codec } from "../base64.ts";
import { ApiError } from "../errors.ts";
import { StorageError, type Entry } from "../storage.ts";

/** Most items of a batch, and most bytes of a file in one (wire contract, 10.13). */
export const mostItems = 64;
export const largestFile = 5_000_000;

/** An item that could not be done; what the client needs beyond code and message is beside them. */
export interface FailedItem {
  ok: false;
  code: string;
  message: string;
  [detail: string]: unknown;
}

/** A failure as an item of an answer; `otherwise` is the code for what has none of its own. */
export function failedItem(
  error: unknown,
  otherwise: string,
  where: Readonly<Record<string, unknown>>,
): FailedItem {
  const failed = (
    code: string,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
  ): FailedItem => ({
    ok: false,
    ...where,
    code,
    message,
    ...details,
  });
  if (error instanceof ItemError) return failed(error.code, error.message, error.details);
  if (error instanceof ApiError) return failed(error.code, error.message);
  if (!(error instanceof StorageError)) return failed(otherwise, "Something went wrong with this item.");
  const { code, message, details = {} } = error;
  if (code === "conflict") {
    const { expectedRevision, currentRevision } = details;
    return failed("conflict", changedMessage, { expectedRevision, currentRevision });
  }
  if (code === "too_large")
    return failed("file_too_large", message, { maxBytes: largestFile, size: details["size"] });
  return failed(otherwise, message);
}

/** What a client is told whose item met a file that is not the one it knows. */
export const changedMessage =
  "The file is not the one that was expected; nothing was overwritten. Read it again and send the change anew.";

/** Says why one item of a batch cannot be done; the others go on. */
export class ItemError extends Error {
  override readonly name = "ItemError";
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/**
 * The item of a file that was read, as JSON in UTF-8 with what leads up to it: its contents go from bytes to bytes.
 */
export function fileItem(
  lead: string,
  path: string,
  { entry, bytes }: { entry: Entry; bytes: Uint8Array },
  codec?: Base64Codec,
): Uint8Array {
  const head = JSON.stringify({
    ok: true,
    path,
    kind: "file",
    bytes: bytes.length,
    updatedAt: entry.mtimeMs,
    revision: entry.revision,
  });
  const before = new TextEncoder().encode(`${lead}${head.slice(0, -1)},"contentBase64":"`);
  const length = base64Length(bytes.length);
  const item = new Uint8Array(before.length + length + 2);
  item.set(before);
  writeBase64(bytes, item, before.length, codec);
  item.set(closing, before.length + length);
  return item;
}

const closing = new TextEncoder().encode('"}');

/** Files are read ahead of a client that takes its time up to this many bytes, or one of any size. */
const mostAheadBytes = 4_000_000;

/** How an item is made, and about how many bytes that takes. */
export interface ItemMaker {
  size: number;
  make(lead: string): Promise<Uint8Array>;
}

/** What a stream of items answers to. */
export interface ItemStreamOptions {
  /** Most items that are being made at a time. */
  ahead: number;
  /** Aborted when the reader goes away. */
  signal: AbortSignal;
  /** Called once when the stream has ended, whichever way. */
  onEnd(): void;
}

/**
 * `{"items":[…]}` as a stream of items in order, of which a few are being made at a time, and of large ones no more
 * than one: memory stays flat. Each item begins with what leads up to it, because every piece of a stream costs,
 * however small.
 */
export function itemStream(
  makers: readonly ItemMaker[],
  { ahead, signal, onEnd }: ItemStreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const running: Promise<Uint8Array>[] = [];
  let next = 0;
  let closed = false;
  const start = (): void => {
    const held = makers.slice(next - running.length, next);
    let bytes = held.reduce((sum, { size }) => sum + size, 0);
    for (let maker = makers[next]; maker && running.length < ahead; maker = makers[next]) {
      bytes += maker.size;
      if (running.length > 0 && bytes > mostAheadBytes) return;
      running.push(maker.make(next === 0 ? '{"items":[' : ","));
      next += 1;
    }
  };
  return byteStream({
    signal,
    async next() {
      start();
      const made = running.shift();
      if (made) return made;
      if (closed) return null;
      closed = true;
      return encoder.encode(next === 0 ? '{"items":[]}' : "]}");
    },
    onEnd() {
      // What is being read is let go when it arrives.
      for (const made of running.splice(0)) made.catch(() => undefined);
      onEnd();
    },
  });
}
