/** The part of the built-in HTTP client's dispatcher that matters here: it can be made with other limits. */
interface DispatcherClass {
  new (options: { headersTimeout: number; bodyTimeout: number }): object;
}

const dispatcherKey = Symbol.for("undici.globalDispatcher.1");

/**
 * The built-in `fetch` with other idle limits, in milliseconds; 0 is none. By default the built-in client cuts
 * an answer or stream that is silent for five minutes, which an engine's event stream and a long turn may well
 * be (I65). Where the runtime does not offer its dispatcher this is the plain `fetch`.
 */
export function fetchWithIdleLimit(limitMs: number): typeof fetch {
  let dispatcher: object | null | undefined;
  function makeDispatcher(): object | null {
    const current: unknown = Reflect.get(globalThis, dispatcherKey);
    if (typeof current !== "object" || current === null) return null;
    const Dispatcher = current.constructor as DispatcherClass;
    return new Dispatcher({ headersTimeout: limitMs, bodyTimeout: limitMs });
  }
  return (input, init) => {
    // The client is loaded, and its dispatcher set, by the first use of one of its classes.
    if (dispatcher === undefined && typeof Headers === "function") dispatcher = makeDispatcher();
    return fetch(input, dispatcher ? ({ ...init, dispatcher } as RequestInit) : init);
  };
}
