import mime from "mime";

/** What is a source file here, whatever else its extension may stand for in the wide world. */
const sources: Readonly<Record<string, string>> = {
  ts: "text/x-typescript",
  mts: "text/x-typescript",
  cts: "text/x-typescript",
  tsx: "text/x-typescript",
  jsonc: "application/json",
};

const textual = /^text\/|^application\/(?:json|javascript|xml|toml|sql|graphql|x-sh)$|[+/](?:json|xml|yaml)$/;

/** The media type of a file by its name, text with its charset (I56); `application/octet-stream` when unknown. */
export function mediaTypeOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  // The library takes a name without a dot for an extension: a file called `f` would be Fortran.
  if (dot <= 0) return "application/octet-stream";
  const extension = name.slice(dot + 1).toLowerCase();
  const own = Object.hasOwn(sources, extension) ? sources[extension] : undefined;
  const type = own ?? mime.getType(name) ?? "application/octet-stream";
  return textual.test(type) ? `${type}; charset=utf-8` : type;
}
