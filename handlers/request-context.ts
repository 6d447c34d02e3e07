import type { Caller } from "../lib/caller.ts";
import { publicAddressOf, type Mounting, type PublicAddress } from "../lib/public-address.ts";
import type { Target } from "../lib/paths.ts";
import type { Context, LogNote } from "../lib/route.ts";
import type { Services } from "../lib/services.ts";
import type { Workspace } from "../lib/workspaces.ts";

/** What the dispatcher found out about a request. */
export interface Known {
  request: Request;
  target: Target;
  services: Services;
  params: Readonly<Record<string, string>>;
  query: unknown;
  body: unknown;
  caller: Caller;
  mount: Workspace | null;
  upgrade: boolean;
  note: LogNote;
}

/** A request's context. What only few handlers ask for is made when they do; contexts may be derived from one. */
export class RequestContext implements Context {
  readonly request: Request;
  readonly target: Target;
  readonly services: Services;
  readonly params: Readonly<Record<string, string>>;
  readonly query: unknown;
  readonly body: unknown;
  readonly caller: Caller;
  readonly mount: Workspace | null;
  readonly onApprovalAsked = null;
  readonly upgrade: boolean;
  readonly note: LogNote;
  private readonly located: Workspace | null;
  private readonly mounting: Mounting;

  constructor(known: Known, located: Workspace | null, mounting: Mounting) {
    this.request = known.request;
    this.target = known.target;
    this.services = known.services;
    this.params = known.params;
    this.query = known.query;
    this.body = known.body;
    this.caller = known.caller;
    this.mount = known.mount;
    this.upgrade = known.upgrade;
    this.note = known.note;
    this.located = located;
    this.mounting = mounting;
  }

  get workspace(): Workspace {
    if (!this.located) throw new Error(`the route of ${this.target.path} has no workspace`);
    return this.located;
  }

  get publicAddress(): PublicAddress {
    return publicAddressOf(this.request, this.mounting);
  }

  /** Some runtimes make a signal only when it is asked for. */
  get signal(): AbortSignal {
    return this.request.signal;
  }
}
