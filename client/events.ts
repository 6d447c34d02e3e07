/** A server-sent event; `data` is parsed JSON. */
export interface ServerEvent {
  id?: string;
  /** `message` where the server names none. */
  event: string;
  data: unknown;
}

/** The events of an answer, as they come. Throws when nothing at all comes for a while, not even a sign of life. */
export async function* readEvents(response: Response, silenceMs: number): AsyncGenerator<ServerEvent> {
  const reader = response.body?.pipeThrough(new TextDecoderStream() as never).getReader() as
    | ReadableStreamDefaultReader<string>
    | undefined;
  if (!reader) return;
  let text = "";
  try {
    for (;;) {
      const { done, value } = await within(silenceMs, reader.read());
      if (done) return;
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    // It is not waited for: a connection that does not answer may not end either.
    reader.cancel().catch(() => undefined);
  }
}

/** What a promise comes to, if it does in time. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("silent")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function parse(block: string): ServerEvent | null {
  const fields = new Map<string, string>();
  for (const line of block.split(/\r?\n/)) {
    const [, name = "", value = ""] = /^([^:]+):? ?(.*)$/.exec(line) ?? [];
    if (name) fields.set(name, fields.has(name) ? `${fields.get(name) ?? ""}\n${value}` : value);
  }
  const data = fields.get("data");
  if (data === undefined) return null;
  const id = fields.get("id");
  return {
    ...(id === undefined ? {} : { id }),
    event: fields.get("event") ?? "message",
    data: JSON.parse(data),
  };
}
