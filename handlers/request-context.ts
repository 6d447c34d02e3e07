import { anonymous, type Caller } from "../lib/caller.ts";
import { publicAddressOf, type Mounting, type PublicAddress } from "../lib/public-address.ts";
import type { Target } from "../lib/paths.ts";
import type { Context, LogNote } from "../lib/route.ts";
import type { Services } from "../lib/services.ts";
import type { Workspace } from "../lib/workspaces.ts";
import type { Destination } from "./locator.ts";

/**
 * What one request is known to be, for its handler, its answer and its log line. The dispatcher fills it in as it finds
 * out; one object for all of it, always of the same shape, as short answers cost little more than the objects that are
 * made for them. What only few ask for is made when they do. Contexts may be derived from one, so no field is `#private`.
 */
export class RequestContext implements Context {
  readonly services: Services;
  readonly request: Request;
  readonly method: string;
  readonly destination: Destination;
  /** The request asks for a WebSocket, and the host can give one. */
  readonly upgrade: boolean;
  /** By `performance.now()`. */
  readonly started: number;
  /** The class of the endpoint. */
  auth: "none" | "client" | "host" = "none";
  /** What the caller was told went wrong. */
  error: string | undefined = undefined;
  caller: Caller = anonymous;
  query: unknown = undefined;
  body: unknown = undefined;
  mount: Workspace | null = null;
  /** That of the path or the mount, if they name one. */
  located: Workspace | null = null;
  private noted: LogNote | null = null;
  private readonly mounting: Mounting;

  constructor(
    services: Services,
    mounting: Mounting,
    request: Request,
    destination: Destination,
    upgrade: boolean,
  ) {
    this.services = services;
    this.mounting = mounting;
    this.request = request;
    // Each look at a part of a request is a call into the runtime.
    this.method = request.method;
    this.destination = destination;
    this.upgrade = upgrade;
    this.started = performance.now();
  }

  get target(): Target {
    return this.destination.target;
  }

  get params(): Readonly<Record<string, string>> {
    return this.destination.params;
  }

  get workspace(): Workspace {
    if (!this.located) throw new Error(`the route of ${this.target.path} has no workspace`);
    return this.located;
  }

  get publicAddress(): PublicAddress {
    return publicAddressOf(this.request, this.mounting);
  }

  get note(): LogNote {
    return (this.noted ??= {});
  }

  get onApprovalAsked(): null {
    return null;
  }

  /** Some runtimes make a signal only when it is asked for. */
  get signal(): AbortSignal {
    return this.request.signal;
  }
}
