import { createServer, request, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

/** A proxy in a process's stead: what stands between the world and the server. */
export interface SubPathProxy {
  /** Its address, with the prefix. */
  url: string;
  close(): Promise<void>;
}

/**
 * A plain reverse proxy below `prefix`, as nginx and Caddy are one: it strips the prefix, keeps everything else, and tells
 * by `X-Forwarded-*` what the caller saw. `stripTo` is what the prefix becomes.
 */
export async function startSubPathProxy(
  target: string,
  { prefix, stripTo = "", host }: { prefix: string; stripTo?: string; host?: string },
): Promise<SubPathProxy> {
  const forward = (req: IncomingMessage): Record<string, string | string[] | undefined> => ({
    ...req.headers,
    host: new URL(target).host,
    "x-forwarded-proto": "https",
    "x-forwarded-host": host ?? req.headers.host,
    "x-forwarded-prefix": prefix.slice(0, prefix.length - stripTo.length),
  });
  const server = createServer((req, res) => {
    const path = req.url ?? "/";
    if (!path.startsWith(`${prefix}/`)) {
      res.writeHead(421).end("not below the prefix");
      return;
    }
    const url = target + stripTo + path.slice(prefix.length);
    const sent = request(url, { method: req.method, headers: forward(req) }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(res);
    });
    sent.on("error", () => res.destroy());
    req.pipe(sent);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${prefix}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
