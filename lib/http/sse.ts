import type { Reply } from "../reply.ts";

/** How often a silent stream says that it lives, milliseconds: proxies in between cut what is silent for a minute. */
const heartbeatMs = 15_000;
/** How long a client should wait before it connects again, milliseconds. */
const retryMs = 2000;

/** One server-sent event. `data` is sent as JSON. */
export interface ServerSentEvent {
  id: number;
  /** Absent: `message`. */
  event?: string;
  data: unknown;
}

/** What a stream of events is made from. */
export interface EventSourceOptions {
  /** Aborted when the client goes away. */
  signal: AbortSignal;
  /** The events to send next; waits at most `waitMs` for them, then none. Null ends the stream. */
  next(waitMs: number, signal: AbortSignal): Promise<readonly ServerSentEvent[] | null>;
  /** Called once when the stream has ended, whoever ended it. */
  onEnd(): void;
}

/** Whether a request asks for server-sent events. */
export function wantsEventStream(request: Request): boolean {
  return /(^|,)\s*text\/event-stream\s*(;|,|$)/i.test(request.headers.get("accept") ?? "");
}

/** The number in `Last-Event-ID`, which a browser sends when it connects again; null when there is none. */
export function lastEventId(request: Request): number | null {
  const header = request.headers.get("last-event-id")?.trim() ?? "";
  return /^\d{1,16}$/.test(header) ? Number(header) : null;
}

/** A stream of server-sent events. Events are fetched when the client has room for them: a slow one holds nothing up. */
export function eventStream(options: EventSourceOptions): Reply {
  const encoder = new TextEncoder();
  const ended = new AbortController();
  const end = (): void => {
    if (ended.signal.aborted) return;
    ended.abort();
    options.signal.removeEventListener("abort", end);
    options.onEnd();
  };
  options.signal.addEventListener("abort", end);
  if (options.signal.aborted) end();
  const stream = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        controller.enqueue(encoder.encode(`retry: ${retryMs}\n\n`));
      },
      async pull(controller) {
        const events = ended.signal.aborted
          ? null
          : await options.next(heartbeatMs, ended.signal).catch(() => null);
        if (events === null || ended.signal.aborted) {
          end();
          controller.close();
          return;
        }
        controller.enqueue(
          encoder.encode(events.length === 0 ? ": still here\n\n" : events.map(frame).join("")),
        );
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
  return {
    stream,
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    },
  };
}

function frame({ id, event, data }: ServerSentEvent): string {
  const name = event === undefined ? "" : `event: ${event}\n`;
  return `id: ${id}\n${name}data: ${JSON.stringify(data)}\n\n`;
}
