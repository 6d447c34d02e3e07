import type { Scope } from "./scopes.ts";

/** Who may call: anybody, a bearer of a client or issued token, or a host. */
export type Access = "public" | "client" | "host";

/** Who did something, as whoami, approvals and audit show it (wire contract, section 3). */
export interface Actor {
  type: "host" | "remote";
  clientId?: string;
  /** Lowercase hex SHA-256 of the token as sent. */
  tokenHash: string;
  scope: Scope;
}

/** An authenticated caller. */
export interface Caller {
  readonly actor: Actor;
  readonly scope: Scope;
  /** Has host rights: the host header was right, or the bearer is an owner. */
  readonly host: boolean;
  /** Label of the issued token, if it has one. */
  readonly label: string | undefined;
}

/** The caller of a public route: nobody in particular. */
export const anonymous: Caller = {
  actor: { type: "remote", tokenHash: "", scope: "viewer" },
  scope: "viewer",
  host: false,
  label: undefined,
};
