import type { HttpReply } from "../lib/route.ts";

/**
 * Builds the Response of a reply with the common headers, using the class that the host supplies. Headers
 * stay one plain object: that is the fast path of the Node adapter.
 */
export function respond(
  ResponseClass: typeof Response,
  reply: HttpReply,
  common: Readonly<Record<string, string>>,
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
  const json = "json" in reply ? JSON.stringify(reply.json) : "jsonText" in reply ? reply.jsonText : null;
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
  common: Readonly<Record<string, string>>,
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
