import type { Api } from "../../client/api.ts";
import { tokenHeaders, type Tokens } from "./tokens.ts";

/** What the server tells about itself. */
export type Status = Api["GET /status"]["answer"];
/** Writes that wait, and where a poll goes on. */
export type ApprovalPage = Api["GET /approvals"]["answer"];
/** A write that waits. */
export type Approval = ApprovalPage["items"][number];

/** An answer that is no success. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Whether a call failed because the server does not know the token, or not for this. */
export function isForbidden(error: unknown): boolean {
  return error instanceof Refusal && (error.status === 401 || error.status === 403);
}

/** What a caught error says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The root of the server, wherever it is mounted: this script lies two below it. */
export const root: string = new URL("../../", import.meta.url).pathname;

/** The endpoints that the page uses. */
type Endpoint = "GET /approvals" | "GET /status" | "GET /health" | "POST /approvals/:approvalId";

/** What goes with a call: `search` follows the path, `id` is its parameter. */
interface Sending {
  id?: string;
  search?: string;
  body?: unknown;
  signal?: AbortSignal;
}

/** One request; what the browser says when it fails differs from one to the next, and helps nobody. */
function reach(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, init).catch((error: unknown) => {
    throw new Error("not reachable", { cause: error });
  });
}

/** The server as these tokens open it. */
export class Server {
  readonly #headers: Record<string, string>;
  /** By how much the clock of this device is ahead of the server's, milliseconds. */
  #aheadMs = 0;

  constructor(tokens: Tokens) {
    this.#headers = tokenHeaders(tokens);
  }

  /** The parsed answer of an endpoint; throws a Refusal when it is none of success. */
  async call<E extends Endpoint>(endpoint: E, sending: Sending = {}): Promise<Api[E]["answer"]> {
    const { id = "", search = "", body, signal } = sending;
    const [method = "", path = ""] = endpoint.split(" /");
    const hasBody = body !== undefined;
    const response = await reach(root + path.replace(/:\w+/, encodeURIComponent(id)) + search, {
      method,
      headers: { ...this.#headers, ...(hasBody ? { "content-type": "application/json" } : {}) },
      ...(hasBody ? { body: JSON.stringify(body) } : {}),
      ...(signal ? { signal } : {}),
    });
    this.#compareClocks(response.headers.get("date") ?? "");
    const answer: unknown = await response.json().catch(() => ({}));
    // The server's own types say what a success holds: its table of routes made both.
    if (response.ok) return answer as Api[E]["answer"];
    const message = typeof answer === "object" && answer && "message" in answer ? answer.message : undefined;
    throw new Refusal(
      response.status,
      typeof message === "string" ? message : `the server answered ${response.status}`,
    );
  }

  /** A time that the server told, by the clock of this device, which may be set to anything. */
  localTime(time: number): number {
    return time + this.#aheadMs;
  }

  #compareClocks(date: string): void {
    const told = Date.parse(date);
    // Whole seconds are told: on average half of one more has passed.
    if (!Number.isNaN(told)) this.#aheadMs = Date.now() - (told + 500);
  }

  /** What the tokens may do: answer approvals (host), look (client), both or nothing. */
  async rights(signal: AbortSignal): Promise<{ approvals: ApprovalPage | null; status: Status | null }> {
    const [approvals, status] = await Promise.all([
      orNull(this.call("GET /approvals", { search: "?wait=0", signal })),
      orNull(this.call("GET /status", { signal })),
    ]);
    return { approvals, status };
  }
}

function orNull<T>(answer: Promise<T>): Promise<T | null> {
  return answer.catch((error: unknown) => {
    if (isForbidden(error)) return null;
    throw error;
  });
}
