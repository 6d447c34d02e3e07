import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A bad line to a server. */
export interface Flaky {
  url: string;
  /** How often each of the troubled endpoints was asked for. */
  counts: Map<string, number>;
  stop(): Promise<void>;
}

const cors = { "access-control-allow-origin": "*", "access-control-expose-headers": "Retry-After" };

function busy(res: ServerResponse): void {
  const body = '{"code":"shutting_down","message":"Not now, please."}';
  res.writeHead(503, { ...cors, "content-type": "application/json", "retry-after": "0" }).end(body);
}

/**
 * A proxy that passes everything on, but answers the first `GET /capabilities` and every `POST /tokens` with 503, breaks
 * the second `GET /capabilities` off, and breaks the first stream of events after its first event.
 */
export async function startFlaky(target: string): Promise<Flaky> {
  const counts = new Map<string, number>();
  const count = (key: string): number => {
    counts.set(key, (counts.get(key) ?? 0) + 1);
    return counts.get(key) ?? 0;
  };
  function pass(req: IncomingMessage, res: ServerResponse, breaking: boolean): void {
    const { method, headers } = req;
    const sent = request(target + (req.url ?? "/"), { method, headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on("data", (chunk: Buffer) => {
        res.write(chunk);
        if (breaking && chunk.includes("data:")) setTimeout(() => res.destroy(), 20);
      });
      answer.on("end", () => res.end());
    });
    sent.on("error", () => res.destroy());
    res.on("close", () => sent.destroy());
    req.pipe(sent);
  }
  const server = createServer((req, res) => {
    const key = `${req.method} ${req.url?.split("?")[0]?.replace(/^\/workspace\/\w+/, "~")}`;
    const isStream = key === "GET ~/files/events";
    const n = /^(?:GET \/capabilities|POST \/tokens)$/.test(key) || isStream ? count(key) : 0;
    if (key === "POST /tokens" || (key === "GET /capabilities" && n === 1)) busy(res);
    else if (key === "GET /capabilities" && n === 2) res.destroy();
    else pass(req, res, isStream && n === 1);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
