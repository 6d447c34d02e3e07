import type { Host } from "../lib/host.ts";
import type { HttpReply } from "../lib/reply.ts";

type Fields = Readonly<Record<string, string>>;

/** Builds every Response, with the class that the host supplies. */
export class Responder {
  readonly #Response: typeof Response;
  /** What most JSON answers are made with, by their common headers; null where answers cannot share it. */
  readonly #shared: WeakMap<Fields, ResponseInit> | null;

  constructor(host: Pick<Host, "Response" | "sharesHeaders">) {
    this.#Response = host.Response;
    this.#shared = host.sharesHeaders ? new WeakMap() : null;
  }

  /** The Response of a reply with the common headers; of the same `common` headers, what was made once is used again. */
  respond(reply: HttpReply, common: Fields, headOnly: boolean): Response {
    if (this.#shared && reply.headers === undefined && !headOnly) {
      const text = jsonOf(reply);
      if (text !== null) {
        const init = this.#jsonInit(this.#shared, common);
        const { status = 200 } = reply;
        return new this.#Response(text, status === 200 ? init : { ...init, status });
      }
    }
    return respond(this.#Response, reply, common, headOnly);
  }

  #jsonInit(shared: WeakMap<Fields, ResponseInit>, common: Fields): ResponseInit {
    const known = shared.get(common);
    if (known) return known;
    const init = { headers: new Headers({ "content-type": "application/json", ...common }) };
    shared.set(common, init);
    return init;
  }
}

function jsonOf(reply: HttpReply): string | null {
  return "json" in reply ? JSON.stringify(reply.json) : "jsonText" in reply ? reply.jsonText : null;
}

function respond(
  ResponseClass: typeof Response,
  reply: HttpReply,
  common: Fields,
  headOnly: boolean,
): Response {
  if ("response" in reply) return withHeaders(ResponseClass, reply.response, common, headOnly);
  const status = reply.status ?? 200;
  if ("stream" in reply || "bytes" in reply) {
    const headers: Record<string, string> = { ...common, ...reply.headers };
    if ("bytes" in reply) headers["content-length"] = String(reply.bytes.length);
    const body = "bytes" in reply ? reply.bytes : reply.stream;
    if (headOnly && "stream" in reply) void reply.stream?.cancel();
    // A checked boundary: every BodyInit takes bytes, whatever buffer is below them.
    return new ResponseClass(headOnly ? null : (body as BodyInit | null), { status, headers });
  }
  const json = jsonOf(reply);
  const text = json ?? ("text" in reply ? reply.text : "");
  const headers: Record<string, string> = {
    "content-type": json === null ? "text/plain; charset=utf-8" : "application/json",
    ...common,
    ...reply.headers,
  };
  // Of a body that is sent the host tells the length, and counts faster.
  if (headOnly && status !== 204) headers["content-length"] = String(new TextEncoder().encode(text).length);
  return new ResponseClass(headOnly || status === 204 ? null : text, { status, headers });
}

/** A proxied answer, made for this request and therefore changed in place, with the common headers; `Vary` is merged (I63). */
function withHeaders(
  ResponseClass: typeof Response,
  response: Response,
  common: Fields,
  headOnly: boolean,
): Response {
  const { headers } = response;
  for (const [name, value] of Object.entries(common)) {
    if (name !== "vary") headers.set(name, value);
    else if (!/(^|,)\s*(origin|\*)\s*(,|$)/i.test(headers.get("vary") ?? "")) headers.append("vary", value);
  }
  if (!headOnly || response.body === null) return response;
  return new ResponseClass(null, { status: response.status, headers });
}
