import { ApiError, toApiError } from "../lib/errors.ts";
import { checkQueryEscapes, decodeSegment, targetOf, type Target } from "../lib/paths.ts";
import { belowBase } from "../lib/public-address.ts";
import type { Route, Schema } from "../lib/route.ts";
import { validate } from "./body.ts";
import { RouteTable, type Match } from "./router.ts";

type Fields = Readonly<Record<string, string>>;

const nothing: Fields = Object.freeze({});

/** Most addresses, and characters of each, for which is remembered where they lead. */
const mostRemembered = 256;
const longestRemembered = 512;

/** Where an address leads. Requests for one address share it, and what was read from its text. */
export class Destination {
  /** Below the base path, and with a mount still in front. */
  readonly target: Target;
  /** The id of the mounted workspace that it leads through. */
  readonly mountId: string | null;
  /** Not below the base path; the target is the whole one then. */
  readonly isElsewhere: boolean;
  readonly #found: Match | ApiError;
  #params: Fields | null = null;
  #query: Fields | null = null;
  #checked: { schema: Schema; query: unknown } | null = null;

  /** @param found what is there, or why there is nothing */
  constructor(target: Target, found: Match | ApiError, mountId: string | null, isElsewhere = false) {
    this.target = target;
    this.isElsewhere = isElsewhere;
    this.#found = found;
    this.mountId = mountId;
  }

  get #match(): Match {
    if (this.#found instanceof ApiError) throw this.#found;
    return this.#found;
  }

  /** The routes here, by method. Throws what says why there is none. */
  get methods(): ReadonlyMap<string, Route> {
    return this.#match.methods;
  }

  /** The path parameters, decoded. Throws `invalid_path` for a malformed escape. */
  get params(): Fields {
    return (this.#params ??= decodeParams(this.#match.params));
  }

  /** The query as an object; the first value of a name counts. Throws `invalid_path` for a malformed escape. */
  get query(): Fields {
    return (this.#query ??= queryOf(this.target));
  }

  /** What the schema of a route makes of the query. Throws `invalid_query`. */
  checkedQuery(schema: Schema): unknown {
    if (this.#checked?.schema !== schema) {
      this.#checked = { schema, query: validate(schema, this.query, "query", "invalid_query") };
    }
    return this.#checked.query;
  }
}

/** Finds out where addresses lead, from a table of routes. */
export class Locator {
  readonly #basePath: string;
  readonly #table: RouteTable;
  readonly #mounted: RouteTable;
  /** Clients ask for the same addresses again and again, and to take one apart costs more than a short answer. */
  readonly #known = new Map<string, Destination>();

  constructor(routes: readonly Route[], basePath: string) {
    this.#basePath = basePath;
    this.#table = new RouteTable(routes);
    this.#mounted = new RouteTable(
      routes.filter((route) => route.mounted || route.path.startsWith("/workspace/:id/")),
    );
  }

  /** Where the URL of a request leads. */
  find(url: string): Destination {
    const known = this.#known.get(url);
    if (known) return known;
    const found = this.#locate(targetOf(url));
    if (url.length <= longestRemembered) {
      if (this.#known.size >= mostRemembered) this.#known.clear();
      this.#known.set(url, found);
    }
    return found;
  }

  #locate(whole: Target): Destination {
    const target = belowBase(whole, this.#basePath);
    if (!target) return new Destination(whole, notBelow(this.#basePath), null, true);
    try {
      if (target.path.startsWith("/w/")) return this.#locateMounted(target);
      return new Destination(target, this.#table.find(target) ?? noEndpoint(), null);
    } catch (error) {
      return new Destination(target, toApiError(error), null);
    }
  }

  #locateMounted(target: Target): Destination {
    const { segments } = target;
    const mountId = decodeSegment(segments[1] ?? "");
    const inner = segments.slice(2);
    const match =
      mountId === "" ? null : this.#mounted.find({ path: `/${inner.join("/")}`, segments: inner });
    // Both ids must name the mounted workspace, whoever asks (contract, section 4).
    const agrees = match && (inner[0] !== "workspace" || decodeSegment(inner[1] ?? "") === mountId);
    return new Destination(target, agrees ? match : noEndpoint(), mountId);
  }
}

/** There is nothing at a path, or nothing for this mount. */
export function noEndpoint(): ApiError {
  return new ApiError(
    "not_found",
    "There is no such endpoint; GET /capabilities tells what this server offers.",
  );
}

function notBelow(basePath: string): ApiError {
  return new ApiError("not_found", `There is nothing at this path; this server answers below ${basePath}.`);
}

function decodeParams(raw: Fields): Fields {
  const params: Record<string, string> = {};
  for (const name in raw) params[name] = decodeSegment(raw[name] ?? "");
  return params;
}

function queryOf(target: Target): Fields {
  if (target.search.length < 2) return nothing;
  checkQueryEscapes(target.search);
  const query: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of new URLSearchParams(target.search)) query[name] ??= value;
  return { ...query };
}
