/** A piece of JSON. */
type Json = { [key: string]: unknown };

const text: Json = { type: "string" };

/** The name of a header of requests that does something at the routes that name it. */
export type RequestHeader =
  | "If-Match"
  | "If-None-Match"
  | "If-Modified-Since"
  | "If-Unmodified-Since"
  | "If-Range"
  | "Range"
  | "Last-Event-ID"
  | "Prefer"
  | "X-OpenWork-Client-Id";

/** The name of a header of answers that callers go by. */
export type AnswerHeader =
  | "ETag"
  | "Last-Modified"
  | "Content-Disposition"
  | "Content-Range"
  | "Accept-Ranges"
  | "Location"
  | "Preference-Applied"
  | "Retry-After"
  | "WWW-Authenticate";

const requestHeaders: Readonly<Record<RequestHeader, string>> = {
  "If-Match": "Entity tags: only when the file is still one of these; * when there is one.",
  "If-None-Match": "Entity tags: only when the file is none of these; * when there must be none.",
  "If-Modified-Since": "A date: 304 when the file has not changed since.",
  "If-Unmodified-Since": "A date: 412 when the file has changed since.",
  "If-Range": "An entity tag or a date: the range is honoured only when the file is still that one.",
  Range: "One range of bytes, such as bytes=0-99.",
  "Last-Event-ID": "The id of the last event that arrived: the stream goes on after it.",
  Prefer: "respond-async: do not wait for the host.",
  "X-OpenWork-Client-Id": "Any text; recorded with what the caller does.",
};

/** What the headers of answers tell. */
export const answerHeaders: Readonly<Record<AnswerHeader, string>> = {
  ETag: "Names the content of the file; for If-Match, If-None-Match and If-Range.",
  "Last-Modified": "When the file was changed last.",
  "Content-Disposition": "attachment, with the name of the file.",
  "Content-Range": "Which bytes these are, and of how many.",
  "Accept-Ranges": "bytes",
  Location: "Where to go on.",
  "Preference-Applied": "respond-async",
  "Retry-After": "Seconds to wait before asking again.",
  "WWW-Authenticate": "Bearer",
};

/** The headers of requests as parameters, to be referred to by their names. */
export function headerParameters(): Json {
  const entries = Object.entries(requestHeaders);
  return Object.fromEntries(
    entries.map(([name, description]) => [name, { name, in: "header", schema: text, description }]),
  );
}

/** The headers of answers, to be referred to by their names. */
export function headerComponents(): Json {
  const entries = Object.entries(answerHeaders);
  return Object.fromEntries(entries.map(([name, description]) => [name, { schema: text, description }]));
}

/** Parameters that refer to headers of requests. */
export function sentHeaders(names: readonly RequestHeader[]): Json[] {
  return names.map((name) => ({ $ref: `#/components/parameters/${name}` }));
}

/** The headers of an answer; nothing where there are none. */
export function withHeaders(names: readonly AnswerHeader[]): Json {
  if (names.length === 0) return {};
  const headers = names.map((name) => [name, { $ref: `#/components/headers/${name}` }] as const);
  return { headers: Object.fromEntries(headers) };
}
