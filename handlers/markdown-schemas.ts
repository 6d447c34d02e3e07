import * as v from "valibot";

/** A text that may be left out; every falsy value leaves it out, any other type is refused (I53). */
export const maybeText: v.GenericSchema<string | false | 0 | null | undefined> = v.nullish(
  v.union([v.string(), v.literal(false), v.literal(0)], "Expected a text"),
);

/** The list of files that a listing had to leave out (I50); absent when there are none. */
export const problemsSchema: v.GenericSchema = v.optional(
  v.array(v.object({ path: v.string(), code: v.string(), message: v.string() })),
);
