import { decodeField, make, type MultipartError, type PartInfo, type Parser } from "multipasta";
import { decodeExtended, dispositionParameters } from "./content-disposition.ts";
import { ApiError } from "../errors.ts";
import { PieceReader } from "./piece-reader.ts";

/** A part of a form, in the order in which it arrives. A file's body is read before the next part is asked for, or skipped. */
export type FormPart =
  | { kind: "field"; name: string; value: string }
  | { kind: "file"; name: string; filename: string; body: ReadableStream<Uint8Array> };

/** Bounds of what a form may hold beside the contents of its files. */
const limits = { maxParts: 100, maxFieldSize: 64 * 1024 } as const;

/** What the parser found, in order. */
type Found =
  | { kind: "field"; name: string; value: string }
  | { kind: "open"; name: string; filename: string }
  | { kind: "chunk"; bytes: Uint8Array }
  | { kind: "close" };

/**
 * Reads a `multipart/form-data` body part by part, holding one chunk of it in memory at a time. Throws
 * `invalid_payload` for what is no form or breaks off.
 */
export async function* readForm(
  body: ReadableStream<Uint8Array>,
  contentType: string,
): AsyncGenerator<FormPart, void, undefined> {
  const reader = new FormReader(body, contentType);
  try {
    for (let found = await reader.next(); found; found = await reader.next()) {
      if (found.kind === "field") yield found;
      if (found.kind !== "open") continue;
      const file = new OpenFile(reader);
      yield { kind: "file", name: found.name, filename: found.filename, body: file.body };
      await file.skip();
    }
  } finally {
    await reader.release();
  }
}

/** The contents of the part that the reader is in. */
class OpenFile {
  readonly body: ReadableStream<Uint8Array>;
  readonly #reader: FormReader;
  #open = true;
  /** What did not fit into the memory that was lent. */
  #rest: Uint8Array | null = null;

  constructor(reader: FormReader) {
    this.#reader = reader;
    this.body = reader.reusesMemory
      ? new ReadableStream({ type: "bytes", pull: (controller) => this.#pullBytes(controller) })
      : new ReadableStream<Uint8Array>(
          {
            pull: async (controller) => {
              const bytes = await this.#next();
              if (bytes) controller.enqueue(bytes);
              else controller.close();
            },
          },
          { highWaterMark: 0 },
        );
  }

  /** Leaves behind what nobody read. */
  async skip(): Promise<void> {
    while (await this.#next());
  }

  /** Into the memory of whoever reads, or as a copy: what the reader found is gone when it reads on. */
  async #pullBytes(controller: ReadableByteStreamController): Promise<void> {
    const lent = controller.byobRequest;
    const view = lent?.view;
    const bytes = this.#rest ?? (await this.#next());
    this.#rest = null;
    if (!bytes) {
      controller.close();
      lent?.respond(0);
    } else if (!lent || !view) controller.enqueue(bytes.slice());
    else {
      const part = bytes.subarray(0, view.byteLength);
      new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(part);
      if (part.length < bytes.length) this.#rest = bytes.subarray(part.length);
      lent.respond(part.length);
    }
  }

  async #next(): Promise<Uint8Array | null> {
    while (this.#open) {
      const found = await this.#reader.next();
      if (found?.kind !== "chunk") this.#open = false;
      // A stream of bytes takes no piece without any.
      else if (found.bytes.length > 0) return found.bytes;
    }
    return null;
  }
}

/** Feeds the parser chunk by chunk and hands out what it finds. */
class FormReader {
  readonly #source: PieceReader;
  readonly #parser: Parser;
  #found: Found[] = [];
  #held: Uint8Array = new Uint8Array(0);
  #problem: string | null = null;
  #complete = false;
  #inFile = false;

  constructor(body: ReadableStream<Uint8Array>, contentType: string) {
    this.#source = new PieceReader(body);
    this.#parser = make({
      headers: { "content-type": contentType },
      ...limits,
      isFile: (info) => partName(info).filename !== null,
      onField: (info, value) => {
        this.#found.push({ kind: "field", name: partName(info).name, value: decodeField(info, value) });
      },
      onFile: (info) => {
        const { name, filename } = partName(info);
        this.#found.push({ kind: "open", name, filename: filename ?? "" });
        this.#inFile = true;
        return (bytes) => {
          if (!bytes) this.#inFile = false;
          this.#found.push(bytes ? { kind: "chunk", bytes } : { kind: "close" });
        };
      },
      onError: (error) => {
        if (!this.#complete) this.#problem ??= describe(error);
      },
      onDone: () => {
        this.#complete = true;
      },
    });
  }

  /** Whether the bytes of a chunk that was found are overwritten when the next thing is looked for. */
  get reusesMemory(): boolean {
    return this.#source.reusesMemory;
  }

  /** The next thing found, or null after the last part. */
  async next(): Promise<Found | null> {
    for (;;) {
      const found = this.#found.shift();
      if (found) return found;
      if (this.#problem !== null) throw malformed(this.#problem);
      if (this.#complete) return null;
      await this.#feed();
    }
  }

  /** Lets go of the body; whatever follows the form stays unread. */
  async release(): Promise<void> {
    await this.#source.cancel().catch(() => undefined);
  }

  async #feed(): Promise<void> {
    const piece = await this.#source.read();
    try {
      if (piece) this.#write(piece);
      else this.#end();
    } catch (cause) {
      this.#problem ??= cause instanceof URIError ? brokenName : parseProblem(cause);
    }
  }

  /** The parser takes a boundary for that of another part when a chunk ends between the two dashes that close the form. */
  #write(chunk: Uint8Array): void {
    const bytes = this.#held.length > 0 ? joined(this.#held, chunk) : chunk;
    const end = bytes.length - trailingDashes(bytes);
    this.#held = bytes.slice(end);
    // The parser keeps up to a boundary of the end of what it is given.
    const own = this.reusesMemory ? Math.max(0, end - keptByParser) : end;
    if (own > 0) this.#parser.write(bytes.subarray(0, own));
    if (own < end) this.#parser.write(bytes.slice(own, end));
    // Of fields and headers it keeps all.
    if (!this.#inFile) this.#source.leave();
  }

  #end(): void {
    if (this.#held.length > 0) this.#parser.write(this.#held);
    this.#parser.end();
    if (!this.#complete) this.#problem ??= "it breaks off before its closing boundary";
  }
}

/** More than the longest boundary with its dashes and line break (RFC 2046, 5.1.1). */
const keptByParser = 128;

const dash = 0x2d;

/** Two at most: the closing ones. */
function trailingDashes(bytes: Uint8Array): number {
  if (bytes.at(-1) !== dash) return 0;
  return bytes.at(-2) === dash ? 2 : 1;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}

/** Name and file name of a part, read from its header itself: the parser drops headers with names beyond Latin-1. */
function partName({ headers }: PartInfo): { name: string; filename: string | null } {
  const header = headers["content-disposition"];
  const parameters = dispositionParameters((Array.isArray(header) ? header[0] : header) ?? "");
  if (!parameters) throw new Error("a part has a malformed Content-Disposition");
  const extended = decodeExtended(parameters.get("filename*") ?? "");
  return { name: parameters.get("name") ?? "", filename: extended ?? parameters.get("filename") ?? null };
}

function describe(error: MultipartError): string {
  // oxlint-disable-next-line no-underscore-dangle -- the library calls it so
  switch (error._tag) {
    case "InvalidBoundary":
      return "its Content-Type names no boundary";
    case "BadHeaders":
      return "a part has malformed headers";
    case "InvalidDisposition":
      return "a part has no name";
    case "EndNotReached":
      return "it breaks off before its closing boundary";
    case "ReachedLimit":
      return `it has more than ${limits.maxParts} parts, or a field of more than ${limits.maxFieldSize} bytes`;
  }
}

/** The parser decodes what RFC 7578 (section 4.2) does not allow in forms, and throws. */
const brokenName =
  "the %XX escapes of a filename* are no UTF-8; the name may also be sent as it is in filename";

const parseProblem = (cause: unknown): string =>
  cause instanceof Error ? cause.message : "it does not parse";

function malformed(problem: string): ApiError {
  return new ApiError("invalid_payload", `The body is no multipart/form-data: ${problem}.`);
}
