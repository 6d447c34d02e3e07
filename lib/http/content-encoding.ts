import { ApiError } from "../errors.ts";

/**
 * Refuses a body that is compressed: its bytes would be taken for those of the file or text. The answer names the one
 * coding that is taken (RFC 9110, sections 8.4 and 12.5.3). An upload is not decoded here, since a few bytes of it
 * may stand for a full disk.
 */
export function insistOnPlainBody({ headers }: Request): void {
  const given = headers.get("content-encoding");
  if (given === null) return;
  const coded = given.split(",").some((coding) => !/^\s*(?:identity)?\s*$/i.test(coding));
  if (!coded) return;
  throw new ApiError(
    "unsupported_media_type",
    `The body has the Content-Encoding ${JSON.stringify(given.slice(0, 40))}: send it decoded and without that header.`,
    undefined,
    { headers: { "accept-encoding": "identity" } },
  );
}
