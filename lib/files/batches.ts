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

/**
 * `{"items":[…]}` as a stream of items in order, of which a few are being made at a time, and of large ones no more
 * than one: memory stays flat. Each item begins with what leads up to it, because every piece of a stream costs,
 * however small.
 */
export function itemStream(makers: readonly ItemMaker[], ahead: number): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const running: Promise<Uint8Array>[] = [];
  let next = 0;
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
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        start();
        const made = running.shift();
        if (!made) {
          controller.enqueue(encoder.encode(next === 0 ? '{"items":[]}' : "]}"));
          controller.close();
          return;
        }
        controller.enqueue(await made);
      },
      cancel() {
        // What is being read is let go when it arrives.
        for (const made of running.splice(0)) made.catch(() => undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
