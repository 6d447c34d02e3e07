import * as v from "valibot";
import { byteStream } from "../lib/byte-stream.ts";
import { isClosedTo } from "../lib/protected-paths.ts";
import type { Reply } from "../lib/reply.ts";
import { route, type Context, type Route } from "../lib/route.ts";
import { searchContent, type ContentHit, type ContentQuery } from "../lib/search/content.ts";
import { searchNames } from "../lib/search/names.ts";
import { compareCodePoints, type Entry } from "../lib/storage.ts";

const path = "/workspace/:id/files/search";

/** How long a search may take, milliseconds; what was found until then is answered as truncated. */
const deadlineMs = 10_000;
const mostItems = 1000;
const usualItems = 100;
/** Entries of the catalog looked at in one go. */
const pageSize = 10_000;

const words = {
  q: v.pipe(
    v.string(),
    v.minLength(1, "q must say what to look for"),
    v.maxLength(1000, "q is longer than 1000 characters"),
    v.regex(/^[^\0\r\n]*$/, "q must be within one line"),
  ),
  kind: v.optional(v.picklist(["name", "content"]), "name"),
  case: v.optional(v.picklist(["smart", "sensitive", "ignore"]), "smart"),
  ignore: v.optional(v.picklist(["default", "none"]), "default"),
};
const limit = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(mostItems));
const query = v.object({
  ...words,
  limit: v.optional(
    v.pipe(v.string(), v.regex(/^\d{1,6}$/, "limit must be a whole number"), v.transform(Number), limit),
  ),
});
const body = v.object({ ...words, limit: v.optional(limit) });

/** What is looked for, wherever it came from. */
type Search = v.InferOutput<typeof body>;

const answer = v.object({
  items: v.array(
    v.union([
      v.object({ path: v.string(), kind: v.picklist(["file", "dir"]) }),
      v.object({ path: v.string(), line: v.number(), column: v.number(), text: v.string() }),
    ]),
  ),
  truncated: v.boolean(),
  engine: v.picklist(["catalog", "ripgrep", "scan"]),
});

const searchByQuery = route({
  method: "GET",
  path,
  access: "client",
  summary:
    "Finds files by name (letters in order) or by a text they hold; as lines with Accept: application/x-ndjson.",
  query,
  produces: ["application/json", "application/x-ndjson"],
  answer,
  errors: ["too_many_requests"],
  handle: (context) => search(context, context.query),
});

const searchByBody = route({
  method: "POST",
  path,
  access: "client",
  summary: "The same search, asked for in the body.",
  body,
  produces: ["application/json", "application/x-ndjson"],
  answer,
  errors: ["too_many_requests"],
  handle: (context) => search(context, context.body),
});

/** One of the caller's searches: it counts until it is answered, or until its last hit was taken. */
async function search(context: Context, wanted: Search): Promise<Reply> {
  const share = context.services.searches.take(context.caller.actor.tokenHash);
  const over = new AbortController();
  const end = (): void => {
    over.abort();
    share.release();
  };
  const signal = AbortSignal.any([context.signal, over.signal, AbortSignal.timeout(deadlineMs)]);
  try {
    const reply = await found(context, wanted, signal, end);
    if (!("stream" in reply)) end();
    return reply;
  } catch (error) {
    end();
    throw error;
  }
}

/** What is found: at once, or as a stream that calls `end`. */
async function found(context: Context, wanted: Search, signal: AbortSignal, end: () => void): Promise<Reply> {
  const caseSensitive = wanted.case === "sensitive" || (wanted.case === "smart" && /\p{Lu}/u.test(wanted.q));
  const limit = wanted.limit ?? usualItems;
  const ignored = wanted.ignore === "none";
  const asLines = /application\/x-ndjson/i.test(context.request.headers.get("accept") ?? "");
  if (wanted.kind === "name") {
    const pages = catalogPages(context, ignored);
    const names = await searchNames(pages, wanted.q.trim(), { limit, caseSensitive, signal });
    const { items, ...outcome } = { ...names, engine: "catalog" };
    return asLines ? streamed(context, items.values(), () => outcome, end) : { json: { items, ...outcome } };
  }
  const contents = new ContentSearch(context, { text: wanted.q, caseSensitive, ignored }, limit, signal);
  if (asLines) return streamed(context, contents.run(), () => contents.outcome(), end);
  const items: ContentHit[] = [];
  for await (const hit of contents.run()) items.push(hit);
  // Several files are found at a time, in no order: an answer as a whole is the same each time.
  const sorted = items.toSorted((a, b) => compareCodePoints(a.path, b.path) || a.line - b.line);
  return { json: { items: sorted, ...contents.outcome() } };
}

/** One search of contents: by a program of the machine where there is one, else by reading every file. */
class ContentSearch {
  readonly #context: Context;
  readonly #query: ContentQuery;
  readonly #limit: number;
  readonly #signal: AbortSignal;
  #engine: "ripgrep" | "scan" = "scan";
  #truncated = false;
  #count = 0;

  constructor(context: Context, query: ContentQuery, limit: number, signal: AbortSignal) {
    this.#context = context;
    this.#query = query;
    this.#limit = limit;
    this.#signal = signal;
  }

  /** What the hits came to; known when they have all been taken. */
  outcome(): { truncated: boolean; engine: "ripgrep" | "scan" } {
    return { truncated: this.#truncated || this.#signal.aborted, engine: this.#engine };
  }

  async *run(): AsyncGenerator<ContentHit, void, undefined> {
    const { workspace, services } = this.#context;
    const candidates = services.host.grep?.(workspace.config, this.#query, this.#signal);
    if (candidates) {
      this.#engine = "ripgrep";
      try {
        return yield* this.#look(candidates);
      } catch (error) {
        if (this.#count > 0 || this.#signal.aborted) throw error;
        services.host.log("WARN", `Searching without ripgrep: ${String(error)}`);
      }
    }
    this.#engine = "scan";
    yield* this.#look(filesOf(catalogPages(this.#context, this.#query.ignored)));
  }

  async *#look(paths: AsyncIterable<string>): AsyncGenerator<ContentHit, void, undefined> {
    const { storage } = this.#context.workspace;
    for await (const hit of searchContent(storage, this.#open(paths), this.#query, this.#signal)) {
      if (this.#count >= this.#limit) {
        this.#truncated = true;
        return;
      }
      this.#count += 1;
      yield hit;
    }
  }

  /** Without the paths that are closed to the caller. */
  async *#open(paths: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
    const { caller, services } = this.#context;
    const { protectedPaths } = services.host.config;
    for await (const file of paths) if (!isClosedTo(caller.scope, protectedPaths, file)) yield file;
  }
}

/** The catalog in pieces, so that other requests are answered in between. */
async function* catalogPages(
  { workspace }: Context,
  ignored: boolean,
): AsyncGenerator<readonly Entry[], void, undefined> {
  let after: string | undefined;
  do {
    const page = await workspace.catalog.page({
      dirs: true,
      ignored,
      limit: pageSize,
      ...(after === undefined ? {} : { after }),
    });
    yield page.items;
    after = page.truncated ? page.items.at(-1)?.path : undefined;
  } while (after !== undefined);
}

async function* filesOf(batches: AsyncIterable<readonly Entry[]>): AsyncGenerator<string, void, undefined> {
  for await (const batch of batches) for (const { kind, path } of batch) if (kind === "file") yield path;
}

/** One hit a line as it is found, and a last line that says what it came to. Ends with its reader. */
function streamed(
  { signal }: Context,
  hits: AsyncGenerator<unknown, void> | IterableIterator<unknown>,
  outcome: () => object,
  end: () => void,
): Reply {
  const encoder = new TextEncoder();
  const line = (value: unknown): Uint8Array => encoder.encode(`${JSON.stringify(value)}\n`);
  let isOver = false;
  const stream = byteStream({
    signal,
    async next() {
      if (isOver) return null;
      const { done, value } = await hits.next();
      if (!done) return line(value);
      isOver = true;
      return line({ done: true, ...outcome() });
    },
    onEnd() {
      end();
      // What it is waiting for ends with the signal; whether it failed then is nobody's business.
      Promise.resolve(hits.return?.()).catch(() => undefined);
    },
  });
  return {
    headers: {
      "content-type": "application/x-ndjson; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      "x-content-type-options": "nosniff",
    },
    stream,
  };
}

/** Search by name and by content. */
export const routes: readonly Route[] = [searchByQuery, searchByBody];
