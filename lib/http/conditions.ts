import type { Entry } from "../storage.ts";

/** The strong entity tag of a file's present content. */
export function etagOf(entry: Pick<Entry, "revision">): string {
  return `"${entry.revision}"`;
}

/** `Last-Modified` in whole seconds; never in the future, as RFC 9110 (section 8.8.2.1) wants it. */
export function lastModifiedOf(entry: Pick<Entry, "mtimeMs">, now: number = Date.now()): string {
  return new Date(Math.min(Math.max(entry.mtimeMs, 0), now)).toUTCString();
}

/** What the conditions of a request come to. */
export type Condition = "go" | "not_modified" | "failed";

/** Evaluates the conditions of a GET or HEAD in the order of RFC 9110, section 13.2.2. */
export function checkConditions(headers: Headers, entry: Entry): Condition {
  if (!writeAllowed(headers, entry)) return "failed";
  const ifNoneMatch = headers.get("if-none-match");
  if (ifNoneMatch !== null) return listsTag(ifNoneMatch, etagOf(entry), true) ? "not_modified" : "go";
  const since = dateOf(headers.get("if-modified-since"));
  return since !== null && seconds(entry.mtimeMs) <= since ? "not_modified" : "go";
}

/**
 * Whether `If-Match`, `If-Unmodified-Since` and `If-None-Match` let a file be written over `entry` (null: it
 * does not exist yet).
 */
export function checkWriteConditions(headers: Headers, entry: Entry | null): boolean {
  if (!writeAllowed(headers, entry)) return false;
  const ifNoneMatch = headers.get("if-none-match");
  return ifNoneMatch === null || entry === null || !listsTag(ifNoneMatch, etagOf(entry), true);
}

/** Whether a `Range` may be honoured: `If-Range` is absent or names, strongly, the very content that is there. */
export function rangeStillApplies(headers: Headers, entry: Entry, now: number = Date.now()): boolean {
  const ifRange = headers.get("if-range")?.trim();
  if (ifRange === undefined) return true;
  if (ifRange.includes('"')) return ifRange === etagOf(entry);
  const date = dateOf(ifRange);
  // A date is a strong validator only when nothing else can have been written in its second.
  return date !== null && date === seconds(entry.mtimeMs) && now - entry.mtimeMs >= 1000;
}

function writeAllowed(headers: Headers, entry: Entry | null): boolean {
  const ifMatch = headers.get("if-match");
  if (ifMatch !== null) return entry !== null && listsTag(ifMatch, etagOf(entry), false);
  const unmodified = dateOf(headers.get("if-unmodified-since"));
  return unmodified === null || (entry !== null && seconds(entry.mtimeMs) <= unmodified);
}

/** Whether a header lists the tag; `weakly` also as a weak one (RFC 9110, section 8.8.3.2). */
function listsTag(header: string, tag: string, weakly: boolean): boolean {
  if (header.trim() === "*") return true;
  // Our tags hold no comma, so that splitting at commas can only break tags that are not ours.
  return header.split(",").some((part) => {
    const sent = part.trim();
    return sent === tag || (weakly && sent === `W/${tag}`);
  });
}

const days = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
const month = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)";
const time = String.raw`\d\d:\d\d:\d\d`;
/** The three forms of RFC 9110, section 5.6.7: today's, and those of RFC 850 and of asctime. */
const dateForms: readonly RegExp[] = [
  new RegExp(String.raw`^${days}, \d\d ${month} \d{4} ${time} GMT$`),
  new RegExp(String.raw`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, \d\d-${month}-\d\d ${time} GMT$`),
  new RegExp(String.raw`^${days} ${month} [ \d]\d ${time} \d{4}$`),
];

/** The seconds of an HTTP date; null for anything else, which has to be ignored and which `Date.parse` may take for a date. */
function dateOf(header: string | null): number | null {
  const text = header?.trim() ?? "";
  const form = dateForms.findIndex((one) => one.test(text));
  if (form < 0) return null;
  // Only the last form does not say that its time is that of Greenwich.
  const date = Date.parse(form === 2 ? `${text} GMT` : text);
  return Number.isNaN(date) ? null : seconds(date);
}

function seconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
