import { execFileSync } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lookAtEngine } from "../../lib/engine/status.ts";
import { freshDirectory } from "../support/server.ts";

const servers: Server[] = [];

const healthy: RequestListener = (_req, res) => void res.end('{"healthy":true,"version":"1"}');

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return (server.address() as AddressInfo).port;
}

const engine = async (listener: RequestListener): Promise<string> =>
  `http://127.0.0.1:${await listen(createServer(listener))}`;

const look = (baseUrl: string): ReturnType<typeof lookAtEngine> =>
  lookAtEngine({ fetch }, { baseUrl }, new AbortController().signal, true);

describe("why does the engine not work? (I66)", () => {
  let dir: string;
  let plainPort: number;
  let tlsPort: number;

  beforeAll(async () => {
    dir = await freshDirectory("certificate");
    const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
    const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    execFileSync("openssl", [...request, "-keyout", key, "-out", cert], { stdio: "ignore" });
    plainPort = await listen(createServer(healthy));
    tlsPort = await listen(
      createTlsServer({ key: await readFile(key), cert: await readFile(cert) }, healthy),
    );
  });

  afterAll(async () => {
    for (const server of servers) server.close();
    await rm(dir, { recursive: true, force: true });
  });

  test("TLS where there is none, none where there is, and a certificate nobody knows", async () => {
    const wrong = await look(`https://127.0.0.1:${plainPort}`);
    expect(wrong.problem).toMatchObject({
      code: "tls",
      message: expect.stringContaining("http://") as string,
    });
    const none = await look(`http://127.0.0.1:${tlsPort}`);
    expect(none.problem?.code).toBe("unreachable");
    expect(none.problem?.message).toContain("https://");
    const unknown = await look(`https://127.0.0.1:${tlsPort}`);
    expect(unknown.problem?.code).toBe("tls");
    expect(unknown.problem?.message).toMatch(/SELF_SIGNED.*NODE_EXTRA_CA_CERTS/);
    for (const status of [wrong, none, unknown])
      expect(status).toMatchObject({ ok: false, reachable: false });
  });

  test("an engine too old to tell how it is, and a page that is none", async () => {
    const old = await engine((req, res) => {
      res.setHeader("content-type", "application/json");
      if (req.url === "/path") res.end('{"directory":"/ws","worktree":"/ws"}');
      else res.writeHead(404).end("{}");
    });
    expect(await look(old)).toMatchObject({ ok: false, reachable: true, problem: { code: "old_version" } });
    const page = await engine((_req, res) => void res.end("<!doctype html><title>Hello</title>"));
    expect((await look(page)).problem).toMatchObject({ code: "not_an_engine" });
  });

  test("one that hangs is waited for a while, one that breaks off is not", async () => {
    const hangs = await engine(() => undefined);
    const started = performance.now();
    expect((await look(hangs)).problem?.code).toBe("timeout");
    expect(performance.now() - started).toBeLessThan(10_000);
    const breaks = await engine((_req, res) => {
      res.writeHead(200, { "content-length": 100 });
      res.write("{", () => res.destroy());
    });
    expect((await look(breaks)).problem?.code).toBe("unreachable");
  }, 20_000);

  test("one that is well is", async () => {
    const status = await look(`http://127.0.0.1:${plainPort}`);
    expect(status).toMatchObject({ ok: true, reachable: true, version: "1", problem: null });
    expect(status.latencyMs).toBeGreaterThan(0);
  });
});
