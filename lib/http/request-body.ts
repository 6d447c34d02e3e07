import { ApiError } from "../errors.ts";
import { byteReader } from "./piece-reader.ts";

/**
 * The body of a request as a stream that can be given up without ending the connection: cancelling it leaves
 * the rest unread, so that the client still gets the answer that says why. An absent body is an empty one.
 * It fails with what `tooLarge` makes of the bytes seen, as soon as they are more than `maxBytes`.
 */
export function requestBody(
  request: Request,
  maxBytes: number,
  tooLarge: (size: number) => ApiError,
): ReadableStream<Uint8Array> {
  refuseDeclared(request, maxBytes, tooLarge);
  const { body } = request;
  if (!body) return new ReadableStream({ start: (controller) => controller.close() });
  let size = 0;
  const count = (bytes: number): void => {
    size += bytes;
    if (size > maxBytes) throw tooLarge(size);
  };
  const reader = byteReader(body);
  return reader ? countedBytes(reader, count) : counted(body.getReader(), count);
}

function counted(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  count: (bytes: number) => void,
): ReadableStream<Uint8Array> {
  let given = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (given) return;
          if (done) return controller.close();
          count(value.length);
          controller.enqueue(value);
        } catch (error) {
          if (!given) controller.error(error);
        }
      },
      cancel() {
        // The reader keeps its lock: letting go of it makes some runtimes end the connection.
        given = true;
      },
    },
    { highWaterMark: 0 },
  );
}

const pieceSize = 64 * 1024;

/** The same, into the memory of whoever reads. */
function countedBytes(
  reader: ReadableStreamBYOBReader,
  count: (bytes: number) => void,
): ReadableStream<Uint8Array> {
  let given = false;
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      try {
        const lent = controller.byobRequest;
        const view = lent?.view;
        const { done, value } = await reader.read(
          view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(pieceSize),
        );
        if (given) return;
        count(value?.length ?? 0);
        if (done) controller.close();
        if (lent && value) lent.respondWithNewView(value);
        // A copy of the right size: who keeps a piece must not keep room for sixty-four thousand bytes.
        else if (!done) controller.enqueue(value.slice());
      } catch (error) {
        if (!given) controller.error(error);
      }
    },
    cancel() {
      // As above.
      given = true;
    },
  });
}

/** How a body is read as a whole. */
export interface BodyLimits {
  maxBytes: number;
  /** What is thrown when there are more bytes than that; `size` of them were declared or seen. */
  tooLarge(size: number): ApiError;
  /** Told of bytes before they are kept; throws when there is no room for them. */
  take(bytes: number): void;
}

/**
 * The body of a request as a whole, bytes counted as they come; an absent body is an empty one. As with
 * {@link requestBody} the rest of one that is refused stays unread.
 */
export async function readBody(request: Request, limits: BodyLimits): Promise<Uint8Array> {
  refuseDeclared(request, limits.maxBytes, (size) => limits.tooLarge(size));
  if (!request.body) return new Uint8Array(0);
  const gathered = new Gathered();
  const reader = request.body.getReader();
  const read = (): Promise<ReadableStreamReadResult<Uint8Array>> => reader.read().catch(withdrawn(request));
  for (let next = await read(); !next.done; next = await read()) {
    const size = gathered.size + next.value.length;
    if (size > limits.maxBytes) throw limits.tooLarge(size);
    limits.take(next.value.length);
    gathered.add(next.value);
  }
  return gathered.bytes();
}

/** What a body that breaks off means: a client that went away is no fault of the server. */
function withdrawn(request: Request): (cause: unknown) => never {
  return (cause) => {
    if (!request.signal.aborted) throw cause;
    const message = "The client went away before its request had arrived.";
    throw new ApiError("request_withdrawn", message, undefined, { cause });
  };
}

/** Content-Length is only a short cut: what counts are the bytes that come. */
function refuseDeclared(request: Request, maxBytes: number, tooLarge: (size: number) => ApiError): void {
  const declared = Number(request.headers.get("content-length"));
  if (declared > maxBytes) throw tooLarge(declared);
}

const smallestBlock = 4096;
const largestBlock = 1024 * 1024;

/**
 * Bytes that come in pieces. They are copied together, since a piece of one byte costs a hundred times that as an
 * object and may keep the whole buffer alive that it was read into.
 */
class Gathered {
  /** The first piece as it came: most bodies have no other. */
  #only: Uint8Array | null = null;
  readonly #blocks: Uint8Array[] = [];
  /** Bytes of the last block that are in use. */
  #used = 0;
  size = 0;

  add(piece: Uint8Array): void {
    if (this.size === 0) this.#only = piece;
    else {
      if (this.#only) this.#copy(this.#only);
      this.#only = null;
      this.#copy(piece);
    }
    this.size += piece.length;
  }

  /** All bytes in one. */
  bytes(): Uint8Array {
    if (this.#only) return this.#only;
    const bytes = new Uint8Array(this.size);
    let at = 0;
    for (const block of this.#blocks) {
      const part = at + block.length > this.size ? block.subarray(0, this.size - at) : block;
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  #copy(piece: Uint8Array): void {
    for (let at = 0; at < piece.length;) {
      let block = this.#blocks.at(-1);
      if (!block || this.#used === block.length) {
        block = new Uint8Array(Math.min(Math.max(this.size, smallestBlock), largestBlock));
        this.#blocks.push(block);
        this.#used = 0;
      }
      const part = piece.subarray(at, at + block.length - this.#used);
      block.set(part, this.#used);
      this.#used += part.length;
      at += part.length;
    }
  }
}
