import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

/** What reached the upstream. */
export interface Arrived {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** A plain server in the place of an engine. */
export interface Upstream {
  url: string;
  port: number;
  arrived: Arrived[];
  /** The newest request. */
  last(): Arrived;
  /** Connections that are open. */
  connections(): Promise<number>;
  stop(): Promise<void>;
}

/** Starts it; `listener` answers what it wants to, the rest is a JSON echo. */
export async function startUpstream(
  listener?: (req: IncomingMessage, res: Parameters<RequestListener>[1]) => boolean,
): Promise<Upstream> {
  const arrived: Arrived[] = [];
  const server = createServer((req, res) => {
    if (listener?.(req, res)) return;
    const chunks: Buffer[] = [];
    req.on("error", () => undefined);
    req.on("data", (chunk: Buffer) => chunks.push(chunk));
    req.on("end", () => {
      const body = Buffer.concat(chunks).toString("utf8");
      const entry = {
        method: req.method ?? "",
        url: req.url ?? "",
        headers: req.headers as Record<string, string>,
        body,
      };
      arrived.push(entry);
      res.writeHead(200, { "content-type": "application/json" });
      res.end(JSON.stringify({ method: entry.method, url: entry.url, body }));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    arrived,
    last() {
      const entry = arrived.at(-1);
      if (!entry) throw new Error("nothing arrived");
      return entry;
    },
    connections: () =>
      new Promise((resolve) => {
        server.getConnections((_error, count) => resolve(count));
      }),
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
