import { createHandler, type Handler } from "../handlers/index.ts";
import { toApiError } from "../lib/errors.ts";
import type { Host } from "../lib/host.ts";
import { logFormatter } from "../lib/log.ts";
import { version } from "../lib/version.ts";
import { connectWebSocket } from "./cloudflare/websocket.ts";
import { answerEmbedded, type EmbeddedHandler } from "./embedded.ts";
import { createPortableHost, portableConfig } from "./portable-host.ts";
import { durableObjectStorages, type DurableObjectStorage } from "./storage/durable-object.ts";
import { createMemoryStorage } from "./storage/memory.ts";

export type { EmbeddedHandler } from "./embedded.ts";
export { durableObjectStorages, type DurableObjectStorage } from "./storage/durable-object.ts";

/** The part of a Durable Object's `ctx` that is used. */
export interface ObjectContext {
  storage: DurableObjectStorage;
}

/**
 * The bindings: settings as variables and secrets, by the names of the environment variables of the command. Others are
 * ignored, so that the interface of all that a Worker is bound to will do.
 */
export type CloudflareEnv = (object | Readonly<Record<string, unknown>>) & {
  /** The namespace of {@link OpenWorkServer}. */
  readonly OPENWORK_SERVER?: ObjectNamespace;
  /** `durable` (default) or `memory`, which forgets everything when the object is evicted. */
  readonly OPENWORK_STORAGE?: string;
};

/** The part of a Durable Object namespace that is used. */
export interface ObjectNamespace {
  idFromName(name: string): unknown;
  get(id: never): { fetch(request: Request): Promise<Response> };
}

/**
 * The host of a Durable Object. Refuses to make up tokens: nobody could read them, and they would change whenever
 * the object moves.
 */
export function createCloudflareHost(storage: DurableObjectStorage, env: CloudflareEnv): Host {
  const { config, warnings } = portableConfig({ env: { ...env } });
  const missing = [
    ...(config.tokenSource.client === "generated" ? ["OPENWORK_TOKEN"] : []),
    ...(config.tokenSource.host === "generated" ? ["OPENWORK_HOST_TOKEN"] : []),
  ];
  if (missing.length > 0) throw new Error(`Set ${missing.join(" and ")} (wrangler secret put NAME).`);
  const isDurable = env.OPENWORK_STORAGE !== "memory";
  const format = logFormatter(config.log.format, {
    runId: config.log.runId,
    version,
    hostName: "cloudflare",
  });
  const host = createPortableHost(
    config,
    isDurable ? durableObjectStorages(storage) : (name) => createMemoryStorage({ name }),
    (level, body, attributes) =>
      // The platform ends the line itself.
      console.log(format({ level, body, time: Date.now(), ...(attributes && { attributes }) }).trimEnd()),
  );
  for (const warning of warnings) host.log("WARN", warning);
  return host;
}

/**
 * A handler whose WebSockets, such as the engine's terminals, work in a Worker or Durable Object of yours. Its answers must
 * be returned as they are.
 */
export function withWebSockets<Answer extends Response | null>(
  handler: EmbeddedHandler<Answer>,
): (request: Request, env?: unknown) => Promise<Response | Answer> {
  return (request) => answerEmbedded(handler, request, { connect: connectWebSocket });
}

/** A server in a Durable Object: one place for what waits, so that a host's answer finds the request it is for. */
export class OpenWorkServer {
  readonly #context: ObjectContext;
  readonly #env: CloudflareEnv;
  #handler: Promise<Handler> | undefined;

  constructor(context: ObjectContext, env: CloudflareEnv) {
    this.#context = context;
    this.#env = env;
  }

  async fetch(request: Request): Promise<Response> {
    let handler: Handler;
    try {
      handler = await (this.#handler ??= this.#start());
    } catch (error) {
      // The next request tries again: what kept it from starting may have passed.
      this.#handler = undefined;
      console.error(error instanceof Error ? error.stack : error);
      return failed();
    }
    return answerEmbedded(handler, request, { connect: connectWebSocket });
  }

  async #start(): Promise<Handler> {
    return createHandler(createCloudflareHost(this.#context.storage, this.#env));
  }
}

/** What a stranger is told when nothing can be served; the log has the reason. */
function failed(): Response {
  return Response.json(toApiError(null).body(), { status: 500 });
}

/** The Worker: passes every request to the one object. */
export default {
  async fetch(request: Request, env: CloudflareEnv): Promise<Response> {
    const namespace = env.OPENWORK_SERVER;
    if (!namespace) {
      console.error("The binding OPENWORK_SERVER is missing; wrangler.toml of this package has it.");
      return failed();
    }
    return namespace.get(namespace.idFromName("server") as never).fetch(request);
  },
};
