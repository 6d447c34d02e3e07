import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Tunnel } from "../../lib/proxy.ts";

/** The target switched to the WebSocket protocol. */
export interface Upgraded {
  switched: true;
  /** Paused until somebody reads it. */
  socket: Socket;
  /** What the target sent along with its answer. */
  head: Buffer;
  /** Those of the answer that may pass. */
  headers: Headers;
}

/** The target answered with something else. */
export interface Declined {
  switched: false;
  status: number;
  /** Those that may pass. */
  headers: Headers;
  body: IncomingMessage;
}

/**
 * Asks the target of a tunnel for a WebSocket. Rejects with the ApiError that says why there is no answer; once
 * `gone` is aborted nothing is left open.
 */
export async function askForUpgrade(tunnel: Tunnel, gone: AbortSignal): Promise<Upgraded | Declined> {
  const { res, head } = await exchange(tunnel, gone);
  const headers = new Headers();
  for (let i = 0; i < res.rawHeaders.length; i += 2)
    headers.append(res.rawHeaders[i] ?? "", res.rawHeaders[i + 1] ?? "");
  tunnel.cleanAnswerHeaders(headers);
  if (head === null) return { switched: false, status: res.statusCode ?? 502, headers, body: res };
  const { socket } = res;
  socket.setTimeout(0);
  socket.setNoDelay(true);
  // Finds a target that vanished without a word.
  socket.setKeepAlive(true, 30_000);
  return { switched: true, socket, head, headers };
}

function exchange(tunnel: Tunnel, gone: AbortSignal): Promise<{ res: IncomingMessage; head: Buffer | null }> {
  return new Promise((resolve, reject) => {
    const send = tunnel.url.startsWith("https:") ? httpsRequest : httpRequest;
    const [, origin = "", path = "/"] = /^(https?:\/\/[^/?#]+)(.*)$/.exec(tunnel.url) ?? [];
    const { hostname, port } = new URL(origin);
    const { headers } = tunnel;
    const req = send({ hostname: hostname.replace(/^\[|\]$/g, ""), port, path, headers, agent: false });
    // Only until there is an answer: some runtimes abort a request's signal when it has been answered.
    const leave = (): void => void req.destroy(new Error("the caller went away"));
    const settled = (): void => {
      clearTimeout(timer);
      gone.removeEventListener("abort", leave);
    };
    const timer = setTimeout(() => {
      settled();
      reject(tunnel.timedOut());
      req.destroy();
    }, tunnel.timeoutMs);
    req.once("upgrade", (res: IncomingMessage, _socket, head: Buffer) => {
      settled();
      resolve({ res, head });
    });
    req.once("response", (res: IncomingMessage) => {
      settled();
      resolve({ res, head: null });
    });
    req.on("error", (error) => {
      settled();
      reject(tunnel.unreachable(error));
    });
    if (gone.aborted) leave();
    else gone.addEventListener("abort", leave);
    req.end();
  });
}
