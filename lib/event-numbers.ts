import { StorageError, type Storage } from "./storage.ts";

/** How many numbers are reserved at a time. */
const block = 1_000_000;
/** How often it is tried while other servers reserve numbers on the same data directory. */
const mostTries = 50;

/**
 * Numbers events so that no number is given twice, also not by later lives of the server: a cursor that a
 * client kept over a restart is then recognised as one, instead of silently matching other events.
 */
export class EventNumbers {
  readonly #data: Storage;
  readonly #path: string;
  #reserved = Number.POSITIVE_INFINITY;

  /**
   * @param data the data directory's storage
   * @param workspaceId whose events are numbered
   * @param topic which of its feeds
   */
  constructor(data: Storage, workspaceId: string, topic: "file-events" | "workspace-events" = "file-events") {
    this.#data = data;
    this.#path = `${topic}/${workspaceId}.json`;
  }

  /** Reserves numbers for this life and answers the one before the first: 0 in the very first life. */
  async open(): Promise<number> {
    try {
      const base = await this.#raise((mark) => mark + block);
      this.#reserved = base + block;
      return base;
    } catch {
      // Without a place to remember, the clock makes sure that numbers of another life are lower.
      return Date.now();
    }
  }

  /** Says that a number was given, so that there are always more to come. */
  given(seq: number): void {
    if (seq <= this.#reserved - block / 2) return;
    const next = this.#reserved + block;
    this.#reserved = next;
    this.#raise((mark) => Math.max(mark, next)).catch(() => undefined);
  }

  /** Raises the mark up to which numbers are reserved and answers where it was, also while another server does the same. */
  async #raise(to: (mark: number) => number): Promise<number> {
    for (let tries = 1; ; tries += 1) {
      const { mark, revision } = await this.#read();
      const body = new TextEncoder().encode(`${JSON.stringify({ reserved: to(mark) })}\n`);
      try {
        await this.#data.commit([{ op: "write", path: this.#path, body, ifRevision: revision }]);
        return mark;
      } catch (error) {
        const isRace = error instanceof StorageError && error.code === "conflict";
        if (!isRace || tries >= mostTries) throw error;
      }
    }
  }

  async #read(): Promise<{ mark: number; revision: string | null }> {
    const file = await this.#data.readFile(this.#path, { maxBytes: 1024 });
    if (!file) return { mark: 0, revision: null };
    const value: unknown = JSON.parse(new TextDecoder().decode(file.bytes));
    const mark =
      value !== null && typeof value === "object" && "reserved" in value ? value.reserved : undefined;
    if (typeof mark !== "number" || !Number.isSafeInteger(mark) || mark < 0) throw new Error("no number");
    return { mark, revision: file.entry.revision };
  }
}
