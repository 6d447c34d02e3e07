import { whenReady, type Awaitable } from "./awaitable.ts";
import { fromBase64 } from "./base64.ts";
import { anonymous, type Access, type Caller } from "./caller.ts";
import { ApiError } from "./errors.ts";
import { equalInConstantTime, sha256Hex } from "./hash.ts";
import type { Scope } from "./scopes.ts";
import type { TokenStore } from "./tokens.ts";

const longestClientId = 200;

/** Tells who calls, from the two credentials of the contract: a bearer token and the host token's header. */
export class Authenticator {
  readonly #clientHash: string;
  readonly #hostHash: string;
  readonly #tokens: TokenStore;
  readonly #hashes = new Map<string, string>();

  constructor(clientToken: string, hostToken: string, tokens: TokenStore) {
    this.#clientHash = sha256Hex(clientToken);
    this.#hostHash = sha256Hex(hostToken);
    this.#tokens = tokens;
  }

  /**
   * The caller of a request to a route of this class; 401 when the class is not reached. `basic`: the token may
   * also be the password of Basic authentication, see {@link basicToken}.
   */
  authenticate(headers: Headers, access: Access, basic = false): Awaitable<Caller> {
    if (access === "public") return anonymous;
    const hostActor = this.#hostActor(headers.get("x-openwork-host-token"));
    if (access === "host" && hostActor) return hostActor;
    const token = bearerToken(headers.get("authorization")) ?? (basic ? basicToken(headers) : null);
    const isHost = hostActor !== null;
    const bearer = token === null ? null : this.#bearer(token, headers, isHost);
    return whenReady(bearer, (found) =>
      access === "client" ? insistOnBearer(found, isHost) : insistOnOwner(found),
    );
  }

  /** Whether a caller's credential still counts; tokens may be revoked while a request waits. */
  async stillValid(caller: Caller): Promise<boolean> {
    return this.#isFixed(caller) || (await this.#tokens.find(caller.actor.tokenHash)) !== undefined;
  }

  /**
   * How to be told that a caller's token is revoked; null for those that never are. What the function returns ends
   * that, and has to be called when nothing is held open for the caller any more.
   */
  revocationOf(caller: Caller): ((tell: () => void) => () => void) | null {
    const { tokenHash } = caller.actor;
    return this.#isFixed(caller) ? null : (tell) => this.#tokens.onGone(tokenHash, tell);
  }

  /** Throws 401 when a caller's token was revoked since its request began. */
  async insistStillValid(caller: Caller): Promise<void> {
    if (!(await this.stillValid(caller)))
      throw unauthorized("The token was revoked while the request waited.");
  }

  #isFixed({ actor: { tokenHash, type } }: Caller): boolean {
    return type === "host" || tokenHash === this.#clientHash || tokenHash === "";
  }

  #hostActor(header: string | null): Caller | null {
    const token = header?.trim();
    if (!token) return null;
    const tokenHash = this.#hash(token);
    if (!equalInConstantTime(tokenHash, this.#hostHash)) return null;
    return {
      actor: { type: "host", tokenHash, scope: "owner" },
      scope: "owner",
      host: true,
      label: undefined,
    };
  }

  #bearer(token: string, headers: Headers, hostHeader: boolean): Awaitable<Caller | null> {
    const tokenHash = this.#hash(token);
    const clientId = headers.get("x-openwork-client-id")?.trim().slice(0, longestClientId);
    const caller = (scope: Scope, label: string | undefined): Caller => ({
      actor: clientId ? { type: "remote", clientId, tokenHash, scope } : { type: "remote", tokenHash, scope },
      scope,
      host: scope === "owner" || hostHeader,
      label,
    });
    if (equalInConstantTime(tokenHash, this.#clientHash)) return caller("collaborator", undefined);
    return whenReady(this.#tokens.find(tokenHash), (issued) =>
      issued ? caller(issued.scope, issued.label) : null,
    );
  }

  /** Hashing costs more than the rest of a small request, and clients send the same token again and again. */
  #hash(token: string): string {
    const known = this.#hashes.get(token);
    if (known !== undefined) return known;
    const hash = sha256Hex(token);
    if (this.#hashes.size >= 256) this.#hashes.clear();
    if (token.length <= 512) this.#hashes.set(token, hash);
    return hash;
  }
}

function insistOnBearer(bearer: Caller | null, isHost: boolean): Caller {
  if (bearer) return bearer;
  throw unauthorized(
    isHost
      ? "This endpoint takes a client token: send Authorization: Bearer <token>; the host token alone does not open it."
      : "Send a known token as Authorization: Bearer <token>.",
  );
}

function insistOnOwner(bearer: Caller | null): Caller {
  if (bearer?.scope === "owner") return bearer;
  throw unauthorized(
    bearer
      ? `This endpoint is the host's: send X-OpenWork-Host-Token, or a bearer token of scope owner (this one is ${bearer.scope}).`
      : "This endpoint is the host's: send X-OpenWork-Host-Token, or a bearer token of scope owner.",
  );
}

function bearerToken(header: string | null): string | null {
  if (header === null || header.length < 8 || header.slice(0, 6).toLowerCase() !== "bearer") return null;
  const separator = header.charCodeAt(6);
  if (separator !== 0x20 && separator !== 0x09) return null;
  return header.slice(7).trim() || null;
}

/** What browsers put into their requests and the engine's own programs do not. */
const browserHeaders = ["origin", "referer", "sec-fetch-site"] as const;

/**
 * The password of Basic credentials, whatever the user name; null when there are none. Programs made for the
 * engine send no others. Browsers keep such credentials and send them along with what any page asks for, so
 * the requests of browsers are refused (CVE-2025-24010), same origin or not.
 */
function basicToken(headers: Headers): string | null {
  const encoded = /^basic[ \t]+([a-z0-9+/=]+)[ \t]*$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (encoded === undefined) return null;
  const isBrowser =
    browserHeaders.some((name) => headers.has(name)) || /^mozilla\//i.test(headers.get("user-agent") ?? "");
  if (isBrowser) {
    throw unauthorized("Basic credentials are for programs; a page sends Authorization: Bearer <token>.");
  }
  const credentials = new TextDecoder().decode(fromBase64(encoded) ?? new Uint8Array());
  const colon = credentials.indexOf(":");
  return colon < 0 ? null : credentials.slice(colon + 1).trim() || null;
}

function unauthorized(message: string): ApiError {
  return new ApiError("unauthorized", message, undefined, { headers: { "www-authenticate": "Bearer" } });
}
