/**
 * A value, or the promise of one that is not there yet. A promise costs a short answer as much as all else that is done
 * for it, so that what is known already is handed on as it is.
 */
export type Awaitable<T> = T | Promise<T>;

/** What `next` makes of a value: at once when the value is there, else when it comes. */
export function whenReady<T, U>(value: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
