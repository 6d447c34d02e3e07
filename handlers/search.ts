import * as v from "valibot";
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
  answer,
  handle: (context) => search(context, context.query),
});

const searchByBody = route({
  method: "POST",
  path,
  access: "client",
  summary: "The same search, asked for in the body.",
  body,
  answer,
  handle: (context) => search(context, context.body),
});

async function search(context: Context, wanted: Search): Promise<Reply> {
  const caseSensitive = wanted.case === "sensitive" || (wanted.case === "smart" && /\p{Lu}/u.test(wanted.q));
  const most = wanted.limit ?? usualItems;
  const asLines = /application\/x-ndjson/i.test(context.request.headers.get("accept") ?? "");
  const over = new AbortController();
  const signal = AbortSignal.any([context.signal, over.signal, AbortSignal.timeout(deadlineMs)]);
  if (wanted.kind === "name") {
    const batches = catalogPages(context, wanted.ignore === "none");
    const found = await searchNames(batches, wanted.q.trim(), { limit: most, caseSensitive, signal });
    const { items, ...outcome } = { ...found, engine: "catalog" };
    return asLines ? streamed(items.values(), () => outcome, over) : { json: { items, ...outcome } };
  }
  const text: ContentQuery = { text: wanted.q, caseSensitive, ignored: wanted.ignore === "none" };
  const hits = new ContentSearch(context, text, most, signal);
  if (asLines) return streamed(hits.run(), () => hits.outcome(), over);
  const items: ContentHit[] = [];
  for await (const hit of hits.run()) items.push(hit);
  // Several files are found at a time, in no order: an answer as a whole is the same each time.
  const sorted = items.toSorted((a, b) => compareCodePoints(a.path, b.path) || a.line - b.line);
  return { json: { items: sorted, ...hits.outcome() } };
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
  hits: AsyncGenerator<unknown, void> | IterableIterator<unknown>,
  outcome: () => object,
  over: AbortController,
): Reply {
  const encoder = new TextEncoder();
  const line = (value: unknown): Uint8Array => encoder.encode(`${JSON.stringify(value)}\n`);
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await hits.next();
      if (!done) return controller.enqueue(line(value));
      controller.enqueue(line({ done: true, ...outcome() }));
      controller.close();
    },
    async cancel() {
      over.abort();
      await hits.return?.();
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
