import { HttpAnswerError, type BodyFraming } from "./answer-head.ts";

/** Finds the body in the bytes of a connection. */
export interface BodyReader {
  /** All of the body has been read. */
  readonly done: boolean;
  /**
   * Adds the parts of `bytes` that belong to the body to `pieces`, as views of the same memory, and returns how many of
   * `bytes` belong to the answer: fewer than there are only when it ended. Throws {@link HttpAnswerError}.
   */
  read<Bytes extends Uint8Array>(bytes: Bytes, pieces: Bytes[]): number;
}

/** A reader for a body that is framed like this. */
export function bodyReader(framing: BodyFraming): BodyReader {
  if (framing === "chunked") return new ChunkedReader();
  return new LengthReader(
    framing === "none" ? 0 : framing === "until-close" ? Number.POSITIVE_INFINITY : framing,
  );
}

/** A view of a part, of the class of the whole. */
function part<Bytes extends Uint8Array>(bytes: Bytes, from: number, to: number): Bytes {
  // The method of a subclass, such as Node's, returns that subclass, which its type in the standard does not say.
  return bytes.subarray(from, to) as Bytes;
}

/** A body of announced length, or one without an end. */
class LengthReader implements BodyReader {
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  read<Bytes extends Uint8Array>(bytes: Bytes, pieces: Bytes[]): number {
    const count = Math.min(bytes.length, this.#left);
    if (count > 0) pieces.push(count === bytes.length ? bytes : part(bytes, 0, count));
    this.#left -= count;
    return count;
  }
}

const lf = 10;
const cr = 13;
/** More digits are no exact number. */
const mostDigits = 12;
/** Most bytes of the extensions of one chunk, which nobody uses, and of all trailers. */
const mostUseless = 16 * 1024;

/** Where a chunked body stands. */
type Place =
  | "size"
  | "extension"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailer"
  | "trailer-lf"
  | "done";

/**
 * A body in chunks (RFC 9112, 7.1), read as strictly as it is written there: a line ends with both its characters, and
 * a size is digits alone. Extensions and trailers are dropped: both are for the next hop.
 */
class ChunkedReader implements BodyReader {
  #place: Place = "size";
  #digits = 0;
  /** What is left of the chunk. */
  #left = 0;
  #useless = 0;
  /** The trailer line that is being read has something in it. */
  #inTrailer = false;

  get done(): boolean {
    return this.#place === "done";
  }

  read<Bytes extends Uint8Array>(bytes: Bytes, pieces: Bytes[]): number {
    let at = 0;
    while (at < bytes.length && this.#place !== "done") {
      if (this.#place === "data") {
        const end = Math.min(at + this.#left, bytes.length);
        pieces.push(part(bytes, at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#place = "data-cr";
      } else {
        // It is inside.
        this.#step(bytes[at] ?? 0);
        at += 1;
      }
    }
    return at;
  }

  #step(byte: number): void {
    switch (this.#place) {
      case "size":
        this.#size(byte);
        break;
      case "extension":
        if (byte === cr) this.#place = "size-lf";
        else this.#skip(byte);
        break;
      case "size-lf":
        expect(byte, lf);
        this.#place = this.#left === 0 ? "trailer" : "data";
        this.#digits = 0;
        this.#useless = 0;
        break;
      case "data-cr":
        expect(byte, cr);
        this.#place = "data-lf";
        break;
      case "data-lf":
        expect(byte, lf);
        this.#place = "size";
        break;
      case "trailer":
        if (byte === cr) this.#place = "trailer-lf";
        else {
          this.#skip(byte);
          this.#inTrailer = true;
        }
        break;
      case "trailer-lf":
        expect(byte, lf);
        this.#place = this.#inTrailer ? "trailer" : "done";
        this.#inTrailer = false;
        break;
    }
  }

  #size(byte: number): void {
    const digit = digitOf(byte);
    if (digit >= 0) {
      this.#digits += 1;
      if (this.#digits > mostDigits) throw malformed();
      this.#left = this.#left * 16 + digit;
    } else if (this.#digits === 0) throw malformed();
    else if (byte === cr) this.#place = "size-lf";
    else if (byte === 0x3b || byte === 0x20 || byte === 0x09) this.#place = "extension";
    else throw malformed();
  }

  #skip(byte: number): void {
    this.#useless += 1;
    if (byte === lf || byte === 0 || this.#useless > mostUseless) throw malformed();
  }
}

function digitOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw malformed();
}

function malformed(): HttpAnswerError {
  return new HttpAnswerError("a chunk of its answer is malformed");
}
