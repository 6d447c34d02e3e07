import { ApprovalStore } from "./approvals.ts";
import { AuditLog } from "./audit.ts";
import { Authenticator } from "./auth.ts";
import { Changes } from "./changes.ts";
import { AsyncRequests } from "./async-requests.ts";
import { FileSessions } from "./files/sessions.ts";
import { HealthMonitor } from "./health.ts";
import type { Host } from "./host.ts";
import { Quota } from "./quota.ts";
import { StorageError } from "./storage.ts";
import { TokenStore } from "./tokens.ts";
import { WorkspaceRegistry } from "./workspaces.ts";

/** Most approvals that may wait, per token and in all (I33). */
const approvalCaps = { perToken: 64, total: 256 };

/** Most open file sessions, per token and in all (I11). */
const sessionCaps = { perToken: 32, total: 256 };
/** Most open event streams, per token and in all. */
const streamCaps = { perToken: 32, total: 256 };
/** Most requests that are held until there is news, per token and in all. */
const pollCaps = { perToken: 64, total: 512 };
/**
 * Most bytes of JSON bodies in memory, per token and in all: one token may send the largest batch that there is,
 * and leaves room for the others.
 */
const bodyCaps = { perToken: 448 * 1024 * 1024, total: 512 * 1024 * 1024 };

/** Most searches that run or have hits that are not yet taken, per token and in all. */
const searchCaps = { perToken: 16, total: 64 };

/** Most batches of files that are being read or wait for their reader, per token and in all. */
const batchCaps = { perToken: 32, total: 64 };

/** Everything one `createHandler` call owns. */
export interface Services {
  readonly host: Host;
  readonly tokens: TokenStore;
  readonly authenticator: Authenticator;
  readonly approvals: ApprovalStore;
  readonly audit: AuditLog;
  readonly workspaces: WorkspaceRegistry;
  readonly changes: Changes;
  readonly asyncRequests: AsyncRequests;
  readonly fileSessions: FileSessions;
  /** Open event streams. */
  readonly streams: Quota;
  /** Requests that are held. */
  readonly polls: Quota;
  /** Bytes of JSON bodies from their arrival until their request is answered. */
  readonly bodies: Quota;
  /** Searches. */
  readonly searches: Quota;
  /** Batches of files on their way to their reader. */
  readonly batches: Quota;
  readonly health: HealthMonitor;
}

/** Throws what a store cannot be opened for, with what the store is to the server and how to choose another. */
function unusable({ what, instead }: { what: string; instead: string }): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof StorageError)) throw error;
    const { code, message, details } = error;
    throw new StorageError(code, `${what} cannot be used: ${message} ${instead}`, { ...details }, error);
  };
}

/** Opens the stores of a host; a damaged token store refuses with an `ApiError` that names file and position. */
export async function openServices(host: Host): Promise<Services> {
  const { data, tokenStore } = host;
  const noData = unusable({
    what: `The data directory ${data.location}`,
    instead: "Put that right, or name another directory with OPENWORK_DATA_DIR.",
  });
  const noTokens = unusable({
    what: `The token store ${tokenStore.storage.location}/${tokenStore.path}`,
    instead: "Put that right, or name another file with OPENWORK_TOKEN_STORE.",
  });
  await Promise.all([data.recover().catch(noData), tokenStore.storage.recover().catch(noTokens)]);
  const tokens = new TokenStore(tokenStore);
  await tokens.load().catch(noTokens);
  const workspaces = await WorkspaceRegistry.open(host).catch(noData);
  const authenticator = new Authenticator(host.config.clientToken, host.config.hostToken, tokens);
  const approvals = new ApprovalStore({ timeoutMs: host.config.approval.timeoutMs, ...approvalCaps });
  const audit = new AuditLog(host.data);
  const changes = new Changes({
    mode: host.config.approval.mode,
    approvals,
    audit,
    authenticator,
    log: host.log,
    stillServed: (workspace) => workspaces.has(workspace),
  });
  return {
    host,
    tokens,
    authenticator,
    approvals,
    audit,
    workspaces,
    changes,
    asyncRequests: new AsyncRequests(),
    fileSessions: new FileSessions(sessionCaps),
    streams: new Quota(streamCaps, {
      message: "Too many event streams are open; close some, or poll with ?wait= instead.",
      retryAfter: 15,
    }),
    polls: new Quota(pollCaps, {
      message: "Too many requests are being held; let some end, or ask without ?wait=.",
      retryAfter: 15,
    }),
    bodies: new Quota(bodyCaps, {
      message: "Too many bytes of request bodies are being taken in; send this again when others are done.",
      retryAfter: 5,
    }),
    searches: new Quota(searchCaps, {
      message: "Too many searches are running; let some end, or stop reading those that are not needed.",
      retryAfter: 5,
    }),
    batches: new Quota(batchCaps, {
      message: "Too many batches of files are being read; take in the answers to those, then ask again.",
      retryAfter: 5,
    }),
    health: new HealthMonitor(host.version),
  };
}

/** Lets everything go that waits, then stops the watches. */
export async function closeServices(services: Services): Promise<void> {
  services.approvals.close();
  await services.workspaces.close();
}
