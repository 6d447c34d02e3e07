import * as v from "valibot";
import { longestWaitSeconds } from "../lib/feed.ts";
import type { Context } from "../lib/route.ts";

const number = (message: string): v.GenericSchema<string, number> =>
  v.pipe(
    v.string(),
    v.transform((text) => (text.trim() === "" ? Number.NaN : Number(text))),
    v.check((value) => Number.isFinite(value) && value >= 0, message),
  );

/** Query fields of a long poll: `wait` in seconds (at most 55 are held) and `since`, the cursor of the last answer. */
export const waitQuery: {
  wait: v.OptionalSchema<v.GenericSchema<string, number>, undefined>;
} = {
  wait: v.optional(number("wait must be a number of seconds, 0 or more")),
};

/** `since` of an approvals poll. */
export const sinceQuery: { since: v.OptionalSchema<v.GenericSchema<string, number>, undefined> } = {
  since: v.optional(number("since must be a cursor from an earlier answer")),
};

/** How long to hold, milliseconds. */
export function waitMsOf(query: { wait?: number | undefined }): number {
  return Math.min(query.wait ?? 0, longestWaitSeconds) * 1000;
}

/** Does work that may hold its request for `waitMs`; those that are held are counted, and refused with 429 over a cap. */
export async function holding<T>(
  { services, caller }: Pick<Context, "services" | "caller">,
  waitMs: number,
  work: () => Promise<T>,
): Promise<T> {
  if (waitMs <= 0) return work();
  const share = services.polls.take(caller.actor.tokenHash);
  try {
    return await work();
  } finally {
    share.release();
  }
}
