import otherTypes from "mime/types/other.js";
import standardTypes from "mime/types/standard.js";

/** What is a source file here, whatever else its extension may stand for in the wide world. */
const sources: Readonly<Record<string, string>> = {
  ts: "text/x-typescript",
  mts: "text/x-typescript",
  cts: "text/x-typescript",
  tsx: "text/x-typescript",
  jsonc: "application/json",
};

const textual = /^text\/|^application\/(?:json|javascript|xml|toml|sql|graphql|x-sh)$|[+/](?:json|xml|yaml)$/;

let known: Map<string, string> | null = null;

/**
 * Media types by extension. Made when first asked for: the package's own table is made when it is loaded, by calls so
 * many that V8 optimises them, and the optimiser alone takes up eight megabytes of a server that serves no file.
 */
function knownTypes(): Map<string, string> {
  if (known) return known;
  known = new Map();
  for (const [type, extensions] of [...Object.entries(standardTypes), ...Object.entries(otherTypes)]) {
    // A star marks an extension that is more usual for another type.
    for (const extension of extensions) if (!extension.startsWith("*")) known.set(extension, type);
  }
  return known;
}

/** The media type of a file by its name, text with its charset (I56); `application/octet-stream` when unknown. */
export function mediaTypeOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  // The library takes a name without a dot for an extension: a file called `f` would be Fortran.
  if (dot <= 0) return "application/octet-stream";
  const extension = name.slice(dot + 1).toLowerCase();
  const own = Object.hasOwn(sources, extension) ? sources[extension] : undefined;
  const type = own ?? knownTypes().get(extension) ?? "application/octet-stream";
  return textual.test(type) ? `${type}; charset=utf-8` : type;
}
