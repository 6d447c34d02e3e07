import { connect as connectPlain, isIP, type OnReadOpts, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { beginsHead, HttpAnswerError, parseAnswerHead, type AnswerHead } from "../../lib/http/answer-head.ts";
import { bodyReader, type BodyReader } from "../../lib/http/body-reader.ts";
import { blockBytes, lendBlock, returnBlock } from "./blocks.ts";

/** Whom to connect to. */
export interface Address {
  protocol: string;
  hostname: string;
  port: number;
}

/** Who takes the body of an answer. */
export interface Sink {
  /** Whether it has use for memory that it must give back. */
  readonly borrows: boolean;
  /**
   * Takes pieces of the body. What is `lent` is overwritten once it returns true, or else once it calls `taken`; until
   * then nothing more comes.
   */
  take(pieces: readonly Buffer[], lent: boolean, taken: () => void): boolean;
  /** All of it has come. */
  end(): void;
  /** It broke off. */
  fail(error: Error): void;
}

/** The kept connection was closed by the other side before the request reached it. */
export class StaleConnection extends Error {}

/** What a request is answered with. */
export interface Answer {
  head: AnswerHead;
  /** All of it, or what is still to come. */
  body: Buffer | Body;
}

/** A request that waits for its answer. */
interface Waiting {
  method: string;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** More than this of a head, bytes, is nobody's answer. */
const mostHeadBytes = 16 * 1024;
/**
 * Idle connections are dropped early: a server that closes one at the moment a request goes out on it looks like
 * a failure of that request.
 */
const keptIdleMs = 4000;
/** Of a read that brings less than this, bytes, the copy costs less than memory of its own. */
const bulkBytes = 16 * 1024;

/**
 * All connections read into the same memory while there is little to read: it is copied out before anything else is
 * read. Windows is handed its memory ahead of the data, so there every connection reads as usual.
 */
const shared: Buffer | null = process.platform === "win32" ? null : Buffer.allocUnsafeSlow(64 * 1024);

/**
 * A connection to a target, for one request at a time, in HTTP/1.1. It stands in for Node's client, whose parser copies
 * each piece of a body into memory of its own: V8 marks the whole heap whenever some megabytes of it have gathered,
 * several times within one large answer. And of a silent event stream this keeps little more than the socket.
 */
export class Connection {
  readonly socket: Socket;
  readonly #onIdle: (connection: Connection) => void;
  readonly #onGone: (connection: Connection) => void;
  /** Something came on it, ever since the request was sent. */
  #isHeard = false;
  #isReused = false;
  #waiting: Waiting | null = null;
  /** The beginning of a head. */
  #partial: Buffer | null = null;
  #body: Body | null = null;
  /** The request has gone out whole. */
  #isSent = true;
  /** Stops whoever still sends the body of the request. */
  #stopBody: (() => void) | null = null;

  /** `onIdle` is called when another request may be sent, `onGone` when none may ever be. */
  constructor(
    address: Address,
    onIdle: (connection: Connection) => void,
    onGone: (connection: Connection) => void,
  ) {
    this.#onIdle = onIdle;
    this.#onGone = onGone;
    this.socket = open(address, shared && this.#onread(shared));
    if (shared === null) {
      this.socket.on("data", (bytes: Buffer) => {
        if (!this.#take(bytes, null)) this.socket.pause();
      });
    }
    this.socket.on("error", (error) => this.#fail(error));
    this.socket.once("end", () => {
      // What Node reads behind the last bytes of a reset connection is an end as well, but there is no peer any more.
      if (this.socket.remoteAddress !== undefined) this.#body?.ended();
      if (this.isIdle) this.socket.destroy();
    });
    this.socket.once("close", () => {
      this.#fail(Object.assign(new Error("the connection was closed"), { code: "ECONNRESET" }));
      this.#onGone(this);
    });
    this.socket.resume();
  }

  #onread(first: Buffer): OnReadOpts {
    let memory = first;
    return {
      buffer: () => (memory = this.#body?.wantsBlock ? lendBlock() : first),
      // What the next read goes into is asked for when this has returned.
      callback: (count) => this.#take(memory.subarray(0, count), memory),
    };
  }

  /** Nothing is on its way, and nothing was. */
  get isIdle(): boolean {
    return this.#waiting === null && this.#body === null;
  }

  /**
   * Sends the head of a request. Rejects with {@link StaleConnection} when it may be sent again elsewhere. `sent` is what
   * the caller calls when the body has gone out too.
   */
  ask(method: string, head: string): { answer: Promise<Answer>; sent(): void } {
    const { socket } = this;
    this.#isHeard = false;
    this.#isSent = false;
    if (this.#isReused) socket.ref();
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#waiting = { method, resolve, reject };
    });
    socket.write(head, "latin1");
    return {
      answer,
      sent: () => {
        this.#isSent = true;
        this.#stopBody = null;
      },
    };
  }

  /**
   * For whoever sends the body of the request: `stop` is called once, when no more of it is wanted because the answer is
   * over, or when it cannot be sent. That alone ends nothing: a target that refuses a body answers, closes, and resets
   * what still comes. Its answer lies here by then, and is read before the end of the connection shows.
   */
  takeBody(stop: () => void): void {
    this.#stopBody = stop;
    tolerateWrites(this.socket, () => this.#endBody());
  }

  #endBody(): void {
    const stop = this.#stopBody;
    this.#stopBody = null;
    stop?.();
  }

  /** Ends it, whatever is on its way. */
  destroy(error?: Error): void {
    this.#fail(error ?? new Error("aborted"));
    this.socket.destroy();
  }

  /** Whether to read on. */
  #take(bytes: Buffer, memory: Buffer | null): boolean {
    this.#isHeard = true;
    try {
      if (this.#body) return this.#takeBody(this.#body, bytes, memory);
      if (this.#waiting) return this.#takeHead(this.#waiting, bytes);
    } catch (error) {
      if (!(error instanceof HttpAnswerError)) throw error;
      this.destroy(error);
      return false;
    }
    // Nobody asked for it: it would be taken for the beginning of the next answer.
    this.socket.destroy();
    return false;
  }

  #takeHead(waiting: Waiting, bytes: Buffer): boolean {
    const all = this.#partial ? Buffer.concat([this.#partial, bytes]) : bytes;
    this.#partial = null;
    const end = all.indexOf("\r\n\r\n");
    if (end > mostHeadBytes || (end < 0 && all.length > mostHeadBytes))
      throw new HttpAnswerError("the headers of its answer are larger than 16 KiB");
    if (end < 0) {
      // Who speaks something else may wait for more as well.
      if (!beginsHead(all.toString("latin1"))) throw new HttpAnswerError("it does not answer in HTTP/1.1");
      this.#partial = Buffer.from(all);
      return true;
    }
    const head = parseAnswerHead(all.toString("latin1", 0, end), waiting.method);
    const rest = all.subarray(end + 4);
    // Nobody asked for another protocol, and nobody would read it.
    if (head.status === 101) throw new HttpAnswerError("the target switched protocols unasked");
    // More is to come.
    if (head.status < 200) return rest.length === 0 || this.#takeHead(waiting, rest);
    return this.#begin(waiting, head, rest);
  }

  #begin(waiting: Waiting, head: AnswerHead, bytes: Buffer): boolean {
    const reader = bodyReader(head.framing);
    const pieces: Buffer[] = [];
    const used = reader.read(bytes, pieces);
    this.#waiting = null;
    // It is read into again.
    const early = Buffer.concat(pieces);
    if (reader.done) {
      waiting.resolve({ head, body: early });
      this.#finish(head.keepsConnection && used === bytes.length);
      return true;
    }
    this.#body = new Body(this, head, reader, early);
    waiting.resolve({ head, body: this.#body });
    // What follows is left to the system until somebody wants it.
    return false;
  }

  #takeBody(body: Body, bytes: Buffer, memory: Buffer | null): boolean {
    const pieces: Buffer[] = [];
    const used = body.reader.read(bytes, pieces);
    const goesOn = body.take(pieces, memory !== null && memory === shared, memory);
    if (!body.reader.done) return goesOn;
    this.#body = null;
    this.#finish(body.head.keepsConnection && used === bytes.length);
    body.finish();
    return true;
  }

  /** The answer has come. What follows unasked ends the connection from this moment on. */
  #finish(keeps: boolean): void {
    this.#endBody();
    if (!keeps || !this.#isSent || this.socket.destroyed) {
      this.socket.destroy();
      return;
    }
    this.#isReused = true;
    const { socket } = this;
    // Of TLS the end may come after reading was stopped for a body that nobody had claimed yet.
    socket.resume();
    socket.unref();
    if (socket.timeout !== keptIdleMs) {
      socket.setTimeout(keptIdleMs);
      socket.on("timeout", () => {
        if (this.isIdle) socket.destroy();
      });
    }
    this.#onIdle(this);
  }

  #fail(error: Error): void {
    const waiting = this.#waiting;
    const body = this.#body;
    this.#waiting = null;
    this.#body = null;
    this.#endBody();
    body?.fail(error);
    if (!waiting) return;
    const isStale = this.#isReused && !this.#isHeard && /^(?:ECONNRESET|EPIPE)$/.test(codeOf(error));
    waiting.reject(isStale ? new StaleConnection() : error);
  }
}

/** Has writes that fail be told to `failed` alone. They take the place of the methods that Node's stream calls. */
function tolerateWrites(socket: Socket, failed: () => void): void {
  const { _write: write, _writev: writev } = socket;
  const tolerant =
    (callback: (error?: Error | null) => void) =>
    (error?: Error | null): void => {
      if (error) failed();
      callback();
    };
  socket._write = (chunk, encoding, callback) => write.call(socket, chunk, encoding, tolerant(callback));
  if (writev) socket._writev = (chunks, callback) => writev.call(socket, chunks, tolerant(callback));
}

function codeOf(error: Error): string {
  return String(Reflect.get(error, "code"));
}

function open({ protocol, hostname, port }: Address, onread: OnReadOpts | null): Socket {
  const options = {
    host: hostname,
    port,
    noDelay: true,
    // Finds targets that vanished without a word.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    ...(onread && { onread }),
  };
  if (protocol !== "https:") return connectPlain(options);
  const servername = isIP(hostname) === 0 ? { servername: hostname } : {};
  // Its types do not know `onread`, which it passes on to the socket.
  return connectTls({ ...options, ...servername, ALPNProtocols: ["http/1.1"] });
}

/** The body of an answer that has begun. It waits until somebody claims it. */
export class Body {
  readonly head: AnswerHead;
  readonly reader: BodyReader;
  readonly #connection: Connection;
  /** What came before it was claimed: of TLS more comes than was asked for. */
  #early: Buffer | null;
  #sink: Sink | null = null;
  #failure: Error | null = null;
  #isOver = false;
  /** Much comes at a time. */
  #isBulk = false;
  #onOver: (() => void) | null = null;

  constructor(connection: Connection, head: AnswerHead, reader: BodyReader, early: Buffer) {
    this.#connection = connection;
    this.head = head;
    this.reader = reader;
    this.#early = early;
  }

  /** Whether the next read should go into memory of its own. */
  get wantsBlock(): boolean {
    return this.#isBulk;
  }

  /** Nobody has claimed it yet. */
  get isFree(): boolean {
    return this.#sink === null;
  }

  /** It has ended, in whatever way. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Calls `tell` when it has ended in whatever way; at once when it has. There is one who is told. */
  onOver(tell: () => void): void {
    if (this.#isOver) tell();
    else this.#onOver = tell;
  }

  /** Has it all go to a sink, at once. */
  claim(sink: Sink): void {
    this.#sink = sink;
    const early = this.#early;
    this.#early = null;
    if (this.#failure) {
      sink.fail(this.#failure);
      return;
    }
    const hasRoom = !early || early.length === 0 || sink.take([early], false, this.resume);
    // It was cut short, or all of it came, before anybody asked for it.
    if (this.#isOver) sink.end();
    else if (hasRoom) this.resume();
  }

  /** Lets more come. */
  readonly resume = (): void => {
    // The connection may be another answer's by now.
    if (!this.#isOver) this.#connection.socket.resume();
  };

  /** Nobody wants the rest. */
  cancel(): void {
    if (this.#isOver) return;
    this.#over();
    this.#connection.destroy();
  }

  /** It ends here for who gets it, and nobody wants the rest. */
  cutShort(): void {
    const sink = this.#sink;
    if (this.#isOver) return;
    this.cancel();
    sink?.end();
  }

  /** For the connection: passes on what was read into `memory`; whether to read on. */
  take(pieces: Buffer[], isShared: boolean, memory: Buffer | null): boolean {
    const sink = this.#sink;
    const isBlock = memory !== null && !isShared;
    let size = 0;
    for (const piece of pieces) size += piece.length;
    this.#isBulk = sink?.borrows === true && size >= (isBlock ? bulkBytes : blockBytes / 8);
    if (!sink) {
      this.#early = Buffer.concat([this.#early ?? Buffer.alloc(0), ...pieces]);
      return false;
    }
    if (size === 0) {
      if (isBlock) returnBlock(memory);
      return true;
    }
    const kept = isShared
      ? [pieces.length === 1 && pieces[0] ? Buffer.from(pieces[0]) : Buffer.concat(pieces)]
      : pieces;
    const goesOn = sink.take(kept, isBlock, () => {
      if (isBlock) returnBlock(memory);
      this.resume();
    });
    if (goesOn && isBlock) returnBlock(memory);
    return goesOn;
  }

  /** For the connection: all has come. */
  finish(): void {
    if (this.#isOver) return;
    this.#over();
    this.#sink?.end();
  }

  /** For the connection: the other side will send no more. */
  ended(): void {
    if (this.head.framing === "until-close") this.finish();
  }

  /** For the connection: it broke off. */
  fail(error: Error): void {
    if (this.#isOver) return;
    this.#over();
    this.#failure = error;
    this.#sink?.fail(error);
  }

  #over(): void {
    this.#isOver = true;
    this.#onOver?.();
    this.#onOver = null;
  }
}
