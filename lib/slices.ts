/** The event loop is given back after this many milliseconds of work. */
const sliceMs = 8;

/** Cuts long work into slices, so that requests are answered in between. */
export class Slices {
  #since: number = performance.now();

  /** Gives others a turn once a slice of time is used up. */
  async breathe(): Promise<void> {
    if (performance.now() - this.#since < sliceMs) return;
    await new Promise<void>((resolve) => {
      setTimeout(resolve, 0);
    });
    this.#since = performance.now();
  }
}
