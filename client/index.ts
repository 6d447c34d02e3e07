import { responses, type Api } from "./api.ts";
import { OpenWorkError, errorFrom } from "./error.ts";
import { readEvents, type ServerEvent } from "./events.ts";

export type { Api, ErrorCode } from "./api.ts";
export { OpenWorkError } from "./error.ts";
export type { ServerEvent } from "./events.ts";

/** How a client reaches a server. */
export interface ClientOptions {
  /** Address of the server, with its base path or mount if it has one. */
  url: string;
  /** The client token or an issued one. */
  token?: string;
  hostToken?: string;
  /** Recorded with what this client does. */
  clientId?: string;
  /** How often a request that may be repeated is sent again when the server cannot be reached. Default: 3. */
  retries?: number;
  /** Milliseconds before the first repetition; each further one waits twice as long. Default: 250. */
  retryDelayMs?: number;
  /**
   * Milliseconds without a sign of life after which an event stream is taken for broken and made anew; the server gives
   * one every 15 s. A long poll may take as much longer than the server holds it. Default: 37 500.
   */
  silenceMs?: number;
  /** Default: the platform's. */
  fetch?: typeof fetch;
}

/** What a call carries beside its parameters. */
export interface CallOptions {
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Names an endpoint: `GET /workspaces` and the like. */
export type Endpoint = keyof Api;

type Given<T, Key extends string> = undefined extends T
  ? unknown
  : object extends T
    ? { [K in Key]?: T }
    : { [K in Key]: T };

/** What an endpoint takes: path parameters, query and body, the required ones required. */
export type Input<E extends Endpoint> = Given<Api[E]["params"], "params"> &
  Given<Api[E]["query"], "query"> &
  Given<Api[E]["body"], "body"> &
  CallOptions;

/** Leaves the input out where nothing is required. */
export type Arguments<E extends Endpoint> = object extends Input<E> ? [input?: Input<E>] : [input: Input<E>];

/** The JSON that an endpoint answers; a Response where it answers bytes. */
export type Answer<E extends Endpoint> = Api[E]["answer"];

/** A typed client. Every failure is an {@link OpenWorkError}; a call whose signal aborts throws the signal's reason. */
export interface Client {
  /** Calls an endpoint and returns its answer. Calls that may be repeated are, when the server cannot be reached. */
  request<E extends Endpoint>(endpoint: E, ...input: Arguments<E>): Promise<Answer<E>>;
  /** What waits for the host, again whenever that changes, until the signal aborts. */
  approvals(options?: CallOptions): AsyncGenerator<Answer<"GET /approvals">>;
  /** Changes of a workspace's configuration, skills and the like from a cursor on (default: from now). */
  events(
    id: string,
    options?: CallOptions & { since?: number },
  ): AsyncGenerator<Answer<"GET /workspace/:id/events">>;
  /** Changes of a workspace's files as server-sent events; resumes where it stopped when the connection breaks. */
  fileEvents(id: string, options?: CallOptions & { since?: string }): AsyncGenerator<ServerEvent>;
}

/** Seconds that a poll of a follower is held. */
const pollSeconds = 50;
/** Seconds that the server holds a poll at most, whatever it is asked for. */
const mostHeldSeconds = 55;
/** Milliseconds between attempts of a follower while the server is away. */
const awayMs = 3000;

interface Loose extends CallOptions {
  params?: Record<string, string>;
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
}

/** Makes a client. Runs in browsers, Node, Bun, Deno and Workers. */
export function createClient(options: ClientOptions): Client {
  const connection = new Connection(options);
  const request = (endpoint: string, input: Loose = {}): Promise<never> =>
    connection.send(endpoint, input, async (response) => {
      const isJson = /^application\/json\b/.test(response.headers.get("content-type") ?? "");
      if (!isJson || responses.includes(endpoint as Endpoint)) return response as never;
      return (await jsonOf(response)) as never;
    });
  async function* poll(endpoint: string, input: Loose, since: number | undefined): AsyncGenerator<never> {
    let cursor = since;
    while (!input.signal?.aborted) {
      const wait = cursor === undefined ? 0 : pollSeconds;
      const query = { wait, since: cursor };
      const page = await connection.unlessAway<{ cursor: number; reset?: true }>(
        () => request(endpoint, { ...input, query }),
        input.signal,
      );
      if (!page) continue;
      const isNews = cursor === undefined || page.cursor !== cursor || page.reset;
      ({ cursor } = page);
      if (isNews) yield page as never;
    }
  }
  return {
    request: request as Client["request"],
    approvals: (input = {}) => poll("GET /approvals", input, undefined),
    async *events(id, { since, ...input } = {}) {
      const params = { id };
      let from = since;
      while (from === undefined && !input.signal?.aborted) {
        // Not held, but limited as polls are.
        const query = { wait: 0 };
        const newest = (): Promise<{ cursor: number }> =>
          request("GET /workspace/:id/events", { ...input, params, query });
        from = (await connection.unlessAway(newest, input.signal))?.cursor;
      }
      yield* poll("GET /workspace/:id/events", { ...input, params }, from);
    },
    fileEvents: (id, input = {}) => connection.follow("GET /workspace/:id/files/events", { id }, input),
  };
}

class Connection {
  readonly #options: ClientOptions;
  readonly #base: string;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#base = options.url.replace(/\/+$/, "");
  }

  /**
   * Sends a call, again after a pause when it may be repeated and nobody answered. `take` reads the answer. `limitMs`
   * is how long all of that may take each time; by default as long as it likes, but for polls.
   */
  async send<T>(
    endpoint: string,
    input: Loose,
    take: (response: Response) => Promise<T>,
    limitMs: number | undefined = this.#pollLimitMs(input),
  ): Promise<T> {
    const { retries = 3, retryDelayMs = 250 } = this.#options;
    const isRepeatable = !/^(?:POST|PATCH)/.test(endpoint) && !(input.body instanceof ReadableStream);
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await inTime(limitMs, input.signal, async (signal) => {
          const response = await this.#once(endpoint, input, signal);
          // With a condition of the caller, 304 is what it hopes for.
          if (response.ok || response.status === 304) return take(response);
          throw await errorFrom(response);
        });
      } catch (error) {
        input.signal?.throwIfAborted();
        const known = OpenWorkError.from(error);
        if (!isRepeatable || !known.isPassing || attempt >= retries) throw known;
        await pause(known.retryAfterMs ?? retryDelayMs * 2 ** attempt, input.signal);
        input.signal?.throwIfAborted();
      }
    }
  }

  get #silenceMs(): number {
    return this.#options.silenceMs ?? 37_500;
  }

  /** A poll that is not answered when it must be is lost: the network may have gone without a word. */
  #pollLimitMs({ query }: Loose): number | undefined {
    const wait = query?.["wait"];
    if (wait === undefined) return undefined;
    return Math.min(Number(wait) || 0, mostHeldSeconds) * 1000 + this.#silenceMs;
  }

  /** Follows an event stream over broken connections. */
  async *follow(
    endpoint: string,
    params: Record<string, string>,
    { since, ...input }: CallOptions & { since?: string },
  ): AsyncGenerator<ServerEvent> {
    let last = since;
    while (!input.signal?.aborted) {
      const headers = { ...input.headers, ...(last === undefined ? {} : { "last-event-id": last }) };
      const send = (): Promise<Response> =>
        this.send(endpoint, { ...input, params, headers }, async (response) => response, this.#silenceMs);
      const response = await this.unlessAway(send, input.signal);
      if (!response) continue;
      try {
        for await (const event of readEvents(response, this.#silenceMs)) {
          last = event.id ?? last;
          yield event;
        }
      } catch {
        // A connection that broke is made anew, from the last event on.
      }
      await pause(this.#options.retryDelayMs ?? 250, input.signal);
    }
  }

  /** The result of a call that is made again and again anyway; null, after a pause, while the server is away. */
  async unlessAway<T>(call: () => Promise<T>, signal: AbortSignal | undefined): Promise<T | null> {
    try {
      return await call();
    } catch (error) {
      if (!signal?.aborted && !OpenWorkError.from(error).isPassing) throw error;
      await pause(awayMs, signal);
      return null;
    }
  }

  async #once(
    endpoint: string,
    { params = {}, query = {}, body, headers }: Loose,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const { token, hostToken, clientId } = this.#options;
    const [method = "GET", path = "/"] = endpoint.split(" ");
    const filled = path.replaceAll(/:(\w+)/g, (_, name: string) => pathSegment(name, params[name]));
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) search.set(name, String(value));
    const isRaw = body === undefined || isBytes(body);
    const send = this.#options.fetch ?? fetch;
    return send(`${this.#base}${filled}${search.size > 0 ? `?${search.toString()}` : ""}`, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(hostToken === undefined ? {} : { "x-openwork-host-token": hostToken }),
        ...(clientId === undefined ? {} : { "x-openwork-client-id": clientId }),
        ...(isRaw ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: isRaw ? body : JSON.stringify(body) }),
      ...(body instanceof ReadableStream ? { duplex: "half" } : {}),
      ...(signal ? { signal } : {}),
    } as RequestInit);
  }
}

/** The JSON of an answer. What is no JSON is not asked for again. */
async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const { status } = response;
    throw new OpenWorkError("invalid_answer", `An answer that is no JSON: ${error.message}`, { status });
  }
}

/** What work comes to; its signal aborts with the caller's, and when it takes longer than `ms`. */
async function inTime<T>(
  ms: number | undefined,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (ms === undefined) return work(signal);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`nothing came for ${ms} ms`)), ms);
  try {
    return await work(signal ? AbortSignal.any([signal, late.signal]) : late.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** A path parameter, escaped. Refuses what an address cannot carry: with a dot segment it would mean another endpoint. */
function pathSegment(name: string, value: string | undefined): string {
  if (value !== undefined && !/^(?:\.{0,2})$/.test(value)) return encodeURIComponent(value);
  const message = `The parameter ${name} must not be ${JSON.stringify(value ?? "")}.`;
  throw new OpenWorkError("invalid_path", message, { status: 400 });
}

/** Whether a body is sent as it is; anything else is JSON. */
function isBytes(body: unknown): body is BodyInit {
  const kinds = [Blob, FormData, URLSearchParams, ReadableStream, ArrayBuffer];
  return typeof body === "string" || ArrayBuffer.isView(body) || kinds.some((kind) => body instanceof kind);
}

/** Resolves after a while, or at once when the signal aborts. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}
