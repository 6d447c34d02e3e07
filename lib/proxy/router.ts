import { causeOf } from "../engine.ts";
import { ApiError } from "../errors.ts";
import type { ProxyTarget } from "../proxy.ts";

/** Where requests for the OpenCode Router go: a port of this machine; 404 when none is configured. */
export function routerTarget(
  port: number | null,
  below: { mountPath(): string; path: string; search: string },
): ProxyTarget {
  if (port === null) {
    throw new ApiError(
      "opencodeRouter_unconfigured",
      "No OpenCode Router is configured; set OPENCODE_ROUTER_HEALTH_PORT.",
    );
  }
  const base = new URL(`http://127.0.0.1:${port}`);
  const unreachable = (cause: unknown): ApiError => {
    const error = causeOf(cause);
    return new ApiError(
      "opencodeRouter_unreachable",
      `The OpenCode Router on port ${port} cannot be reached (${error}).`,
      {
        baseUrl: base.origin,
        port,
        targetUrl: base.origin + (below.path || "/"),
        error,
      },
    );
  };
  return {
    service: "opencode-router",
    base,
    mountPath: () => below.mountPath(),
    headers: {},
    unreachable,
    timedOut: () => unreachable(new Error("no answer in time")),
  };
}
