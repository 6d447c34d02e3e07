import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

/** A request as it came over a connection of a {@link RawTarget}. */
export interface RawRequest {
  /** Its method and path. */
  line: string;
  /** All of its head, with the empty line. */
  head: string;
  socket: Socket;
  /** Reads its body, which is left unread until the answer is done. Resolves with what came of it, as it was framed. */
  body(): Promise<string>;
}

/** What came over a connection and was not taken yet. */
class Inbox {
  readonly #socket: Socket;
  #text = "";
  #isOver = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#text += bytes.toString("latin1");
      this.#wake();
    });
    const over = (): void => {
      this.#isOver = true;
      this.#wake();
    };
    socket.on("end", over).on("close", over);
  }

  /** Takes as much as `length` says of what is there, once it says so; what there is when nothing more comes. */
  async take(length: (text: string) => number): Promise<string> {
    for (;;) {
      const count = length(this.#text);
      if (count >= 0 || this.#isOver) {
        const taken = count < 0 ? this.#text : this.#text.slice(0, count);
        this.#text = this.#text.slice(taken.length);
        return taken;
      }
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const behind = (end: string) => (text: string) => {
  const at = text.indexOf(end);
  return at < 0 ? -1 : at + end.length;
};

/** Where the body of a request ends in what follows its head. */
function bodyEnd(head: string): ((text: string) => number) | null {
  if (/^transfer-encoding:/im.test(head)) return behind("0\r\n\r\n");
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
  return length === 0 ? null : (text) => (text.length < length ? -1 : length);
}

/** A server that answers each request with the bytes that a test writes to its connection, right or wrong. */
export class RawTarget {
  /** Methods and paths of all that came, in the order of their coming. */
  readonly requests: string[] = [];
  /** All connections there ever were. */
  readonly connections: Socket[] = [];
  /** Answers. The next request of the connection is read when it is done. */
  answer: (request: RawRequest) => unknown = ({ socket }) => socket.write(answerOf("ok"));
  readonly #server: Server;
  readonly #open: Set<Socket> = new Set();

  /** `dress` makes of each connection the one that requests come over. */
  constructor(dress: (socket: Socket) => Socket = (socket) => socket) {
    this.#server = createServer({ noDelay: true }, (raw) => {
      this.#open.add(raw);
      raw.on("error", () => undefined).on("close", () => this.#open.delete(raw));
      const socket = dress(raw).on("error", () => undefined);
      this.connections.push(socket);
      void this.#serve(socket);
    });
  }

  async start(): Promise<this> {
    await once(this.#server.listen(0, "127.0.0.1"), "listening");
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many connections are open. */
  get open(): number {
    return this.#open.size;
  }

  /** The newest connection. */
  get newest(): Socket {
    const socket = this.connections.at(-1);
    if (!socket) throw new Error("nobody has connected");
    return socket;
  }

  /** Ends all connections, and resolves when the other side has ended them too. */
  async hangUp(): Promise<void> {
    const closed = [...this.#open].map((socket) => once(socket, "close"));
    for (const socket of this.#open) socket.end();
    await Promise.all(closed);
  }

  stop(): void {
    for (const socket of this.#open) socket.destroy();
    this.#server.close();
  }

  async #serve(socket: Socket): Promise<void> {
    const inbox = new Inbox(socket);
    for (;;) {
      const head = await inbox.take(behind("\r\n\r\n"));
      if (!head.endsWith("\r\n\r\n")) return;
      const [line = ""] = head.split(" HTTP/", 1);
      this.requests.push(line);
      const end = bodyEnd(head);
      if (end) socket.pause();
      let body: Promise<string> | null = null;
      const read = (): Promise<string> => (body ??= end ? inbox.take(end) : Promise.resolve(""));
      await this.answer({ line, head, socket, body: read });
      // What is left of it is no request.
      await read();
    }
  }
}

/** A whole answer of announced length. */
export function answerOf(body: string, headers = ""): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;
}

/** The head of an answer in chunks. */
export const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/** Text as a chunk. */
export function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** Resolves when a connection takes more, or is gone. */
export function room(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done).off("close", done);
      resolve();
    };
    socket.on("drain", done).on("close", done);
  });
}

/** Resets a connection at once. By itself Node ends it in good form first, which tells the other side that all has come. */
export function reset(socket: Socket): void {
  socket.destroySoon = () => socket.destroy();
  socket.resetAndDestroy();
}

/** A point that a target waits at until a test lets it on. */
export class Gate {
  open: () => void = () => undefined;
  readonly passed: Promise<void> = new Promise((resolve) => {
    this.open = resolve;
  });
}
