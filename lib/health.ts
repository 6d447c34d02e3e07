/** That a server answers, and since when (wire contract, 10.1). */
export interface Health {
  ok: true;
  version: string;
  /** Whole milliseconds. */
  uptimeMs: number;
}

/** Tells the health of one server. */
export class HealthMonitor {
  readonly #version: string;
  /** By `performance.now()`. */
  readonly #startedAt: number;
  #toldAt = -1;
  #told: { jsonText: string } = { jsonText: "" };

  constructor(version: string, startedAt: number = performance.now()) {
    this.#version = version;
    this.#startedAt = startedAt;
  }

  /** As of a time by `performance.now()`. */
  at(now: number): Health {
    return { ok: true, version: this.#version, uptimeMs: Math.floor(now - this.#startedAt) };
  }

  /** The same as JSON text. A busy server is asked many times within a millisecond, and says the same each time. */
  jsonAt(now: number): { jsonText: string } {
    const uptimeMs = Math.floor(now - this.#startedAt);
    if (uptimeMs !== this.#toldAt) {
      this.#told = { jsonText: JSON.stringify(this.at(now)) };
      this.#toldAt = uptimeMs;
    }
    return this.#told;
  }
}
