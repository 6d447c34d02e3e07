import type { Socket } from "node:net";
import {
  clientFrame,
  isCloseCode,
  noCloseCode,
  ServerFrameReader,
  WebSocketProtocolError,
  type WebSocketMessage,
} from "../../lib/http/websocket-frames.ts";

/** What a close frame says. */
export interface Farewell {
  readonly code: number;
  readonly reason: string;
}

/** The caller's end of a WebSocket, as the server of a runtime gives it. */
export interface CallerSocket {
  /** False when it was dropped. */
  send(data: string | Uint8Array): boolean;
  /** Bytes that were sent and that the caller has not taken yet. */
  buffered(): number;
  /** 1005 stands for no code. */
  close(code: number, reason: string): void;
  /** Stops reading the caller. Absent where the runtime reads on whatever happens. */
  pause?(): void;
  resume?(): void;
}

/** How a WebSocket ends whose caller may no more, or whose workspace is gone. */
export const dismissal: Farewell = { code: 1008, reason: "The token was revoked or the workspace deleted." };

/** How it ends when the server does. */
export const serverStops: Farewell = { code: 1001, reason: "The server stops." };

/** What a gateway says whose other side ended without a word (registered with IANA). */
export const engineLost: Farewell = { code: 1014, reason: "The engine's connection ended." };

/** More than this waiting for the caller, bytes, and the engine is not read. */
const callerHighWater = 1024 * 1024;
/** How often it is looked whether the caller has taken what waits for it, milliseconds. */
const lookAgainMs = 10;
/** More than this waiting for the engine, bytes, and a caller that cannot be made to wait is sent away. */
const engineLimit = 16 * 1024 * 1024;
/** How long the engine's connection lives on without a word after the end, milliseconds. */
const farewellMs = 10_000;
/** How long the engine's connection waits for a caller that was promised a WebSocket, milliseconds. */
const openWithinMs = 30_000;

/**
 * Passes the messages of a WebSocket on, where a runtime does not lend the caller's connection itself: whole
 * messages with their kind, close codes and reasons. Each side is slowed down while the other one does not take
 * what came. Pings are answered by the side that got them.
 */
export class Relay {
  readonly #engine: Socket;
  readonly #early: Uint8Array;
  readonly #onEnd: () => void;
  readonly #frames = new ServerFrameReader();
  #caller: CallerSocket | null = null;
  /** How it ended: what still comes is nobody's. */
  #ended: Farewell | null = null;
  #lookAgain: ReturnType<typeof setTimeout> | undefined;
  readonly #tooLate: ReturnType<typeof setTimeout>;

  /** `head` is what the engine has sent already; `onEnd` is called when its connection is gone. */
  constructor(engine: Socket, head: Uint8Array, onEnd: () => void) {
    this.#engine = engine;
    this.#early = head;
    this.#onEnd = onEnd;
    // What went wrong is told by the close that follows.
    engine.on("error", () => engine.destroy());
    engine.once("close", () => this.#engineGone());
    engine.on("drain", () => this.#caller?.resume?.());
    // A program that hosts the handler may drop its answer, or keep the messages to itself.
    this.#tooLate = setTimeout(() => engine.destroy(), openWithinMs);
  }

  /** Begins, once the caller has its WebSocket. */
  open(caller: CallerSocket): void {
    clearTimeout(this.#tooLate);
    if (this.#ended) {
      caller.close(this.#ended.code, this.#ended.reason);
      return;
    }
    this.#caller = caller;
    this.#fromEngine(this.#early);
    this.#engine.on("data", (chunk: Buffer) => this.#fromEngine(chunk));
    this.#engine.once("end", () => this.#leaveEngine());
  }

  /** A message of the caller. */
  fromCaller(data: string | Uint8Array): void {
    if (this.#ended) return;
    if (this.#engine.writableLength > engineLimit) {
      this.#end(1013, "The engine does not take messages fast enough.");
      return;
    }
    this.#tell(typeof data === "string" ? { kind: "text", text: data } : { kind: "binary", bytes: data });
    if (this.#engine.writableNeedDrain) this.#caller?.pause?.();
  }

  /** The caller closed, with 1005 for no code; or is gone, with any code that no close frame may carry. */
  callerClosed(code: number, reason: string): void {
    if (!this.#ended && (code === noCloseCode || isCloseCode(code))) this.#sayGoodbye(code, reason);
    // Without a close frame nobody waits for its answer.
    else if (!this.#ended) this.#engine.destroy();
    this.#caller = null;
    this.#stopWaiting();
  }

  /** The server stops. */
  stop(): void {
    this.#end(serverStops.code, serverStops.reason);
  }

  /** The caller may no more, or the workspace is gone. */
  dismiss(): void {
    this.#end(dismissal.code, dismissal.reason);
  }

  #fromEngine(chunk: Uint8Array): void {
    if (this.#ended) return;
    try {
      for (const message of this.#frames.read(chunk)) this.#pass(message);
    } catch (error) {
      if (!(error instanceof WebSocketProtocolError)) throw error;
      this.#end(error.code, error.message);
    }
    this.#waitForCaller();
  }

  #pass(message: WebSocketMessage): void {
    if (this.#ended) return;
    if (message.kind === "text") this.#give(message.text);
    else if (message.kind === "binary") this.#give(message.bytes);
    else if (message.kind === "ping") this.#tell({ kind: "pong", bytes: message.bytes });
    else if (message.kind === "close") this.#end(message.code, message.reason);
  }

  #give(data: string | Uint8Array): void {
    // A stream of which a piece is missing is worse than none.
    if (this.#caller?.send(data) === false) this.#end(1013, "The caller does not take messages fast enough.");
  }

  #waitForCaller(): void {
    if (this.#ended || (this.#caller?.buffered() ?? 0) <= callerHighWater) return;
    this.#engine.pause();
    clearTimeout(this.#lookAgain);
    this.#lookAgain = setTimeout(() => {
      if ((this.#caller?.buffered() ?? 0) > callerHighWater) this.#waitForCaller();
      else this.#engine.resume();
    }, lookAgainMs);
  }

  #stopWaiting(): void {
    clearTimeout(this.#lookAgain);
    this.#engine.resume();
  }

  #tell(message: WebSocketMessage): void {
    if (this.#engine.writable) this.#engine.write(clientFrame(message));
  }

  /** Closes both sides. */
  #end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#sayGoodbye(code, reason);
    this.#caller?.close(code, reason);
  }

  #sayGoodbye(code: number, reason: string): void {
    this.#ended = { code, reason };
    this.#tell({ kind: "close", code, reason });
    this.#leaveEngine();
    this.#stopWaiting();
  }

  #leaveEngine(): void {
    this.#engine.end();
    this.#engine.setTimeout(farewellMs, () => this.#engine.destroy());
  }

  #engineGone(): void {
    clearTimeout(this.#tooLate);
    this.#stopWaiting();
    this.#onEnd();
    if (this.#ended) return;
    this.#ended = engineLost;
    this.#caller?.close(this.#ended.code, this.#ended.reason);
  }
}
