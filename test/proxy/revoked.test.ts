import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientToken, hostToken, startServer, type TestServer } from "../support/server.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import { startUpstream, type Upstream } from "../support/upstream.ts";
import { openSocket } from "../support/websocket.ts";

interface Issued {
  id: string;
  token: string;
}

async function issue(server: TestServer, scope: string): Promise<Issued> {
  const response = await fetch(`${server.url}/tokens`, {
    method: "POST",
    headers: { "x-openwork-host-token": hostToken },
    body: JSON.stringify({ scope }),
  });
  expect(response.status).toBe(201);
  return (await response.json()) as Issued;
}

async function revoke(server: TestServer, { id }: Issued): Promise<void> {
  const headers = { "x-openwork-host-token": hostToken };
  const response = await fetch(`${server.url}/tokens/${id}`, { method: "DELETE", headers });
  expect(response.status).toBe(200);
}

describe("a revoked token ends what it holds open at the engine", () => {
  let upstream: Upstream;
  let server: TestServer;

  beforeAll(async () => {
    upstream = await startUpstream((_req, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write("data: connected\n\n");
      return true;
    });
    server = await startServer({ flags: ["--opencode-base-url", upstream.url] });
  });

  afterAll(async () => {
    await server?.stop();
    await upstream?.stop();
  });

  async function listen({ token }: Issued): Promise<ReadableStreamDefaultReader<Uint8Array>> {
    const headers = { authorization: `Bearer ${token}` };
    const { status, body } = await fetch(`${server.url}/opencode/event`, { headers });
    expect(status).toBe(200);
    const reader = (body as ReadableStream<Uint8Array>).getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain("connected");
    return reader;
  }

  test("event streams, and no other token's", async () => {
    const before = await upstream.connections();
    const [gone, stays] = [await issue(server, "viewer"), await issue(server, "viewer")];
    const [ending, going] = [await listen(gone), await listen(stays)];
    await revoke(server, gone);
    expect((await ending.read()).done).toBe(true);
    await expect.poll(() => upstream.connections()).toBe(before + 1);
    await going.cancel();
    await expect.poll(() => upstream.connections()).toBe(before);
  }, 15_000);

  test("also when another process took the token out of the store", async () => {
    const issued = await issue(server, "viewer");
    const reader = await listen(issued);
    const path = `${server.home}/.config/openwork/tokens.json`;
    const store = JSON.parse(await readFile(path, "utf8")) as { tokens: { id: string }[] };
    const tokens = store.tokens.filter((token) => token.id !== issued.id);
    await writeFile(path, JSON.stringify({ ...store, tokens }));
    expect((await reader.read()).done).toBe(true);
  }, 15_000);
});

describe("a deleted workspace ends what is held open of it at the engine", () => {
  let upstream: Upstream;
  let server: TestServer;

  beforeAll(async () => {
    upstream = await startUpstream((_req, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write("data: connected\n\n");
      return true;
    });
    server = await startServer({ flags: ["--opencode-base-url", upstream.url] });
  });

  afterAll(async () => {
    await server?.stop();
    await upstream?.stop();
  });

  test("event streams, whoever listens and by whatever path", async () => {
    const issued = await issue(server, "viewer");
    const readers = [];
    for (const token of [issued.token, clientToken]) {
      for (const path of ["/opencode/event", `/w/${server.id}/opencode/event`]) {
        const headers = { authorization: `Bearer ${token}` };
        const { body } = await fetch(server.url + path, { headers });
        const reader = (body as ReadableStream<Uint8Array>).getReader();
        expect(new TextDecoder().decode((await reader.read()).value)).toContain("connected");
        readers.push(reader);
      }
    }
    const headers = { "x-openwork-host-token": hostToken };
    const deleted = await fetch(`${server.url}/workspaces/${server.id}`, { method: "DELETE", headers });
    expect(deleted.status).toBe(200);
    for (const reader of readers) expect((await reader.read()).done).toBe(true);
    await expect.poll(() => upstream.connections()).toBe(0);
  }, 15_000);
});

describe("a revoked token ends its terminals", () => {
  let terminal: Terminal;
  let server: TestServer;

  beforeAll(async () => {
    terminal = await startTerminal();
    server = await startServer({ flags: ["--opencode-base-url", terminal.url] });
  });

  afterAll(async () => {
    await server?.stop();
    terminal?.stop();
  });

  test("on both sides", async () => {
    const issued = await issue(server, "collaborator");
    const headers = { authorization: `Bearer ${issued.token}` };
    const opened = await openSocket(`${server.url}/opencode/pty/p1/connect`, { headers });
    if (!opened.socket) throw new Error(`the upgrade was answered ${opened.status}`);
    await revoke(server, issued);
    await opened.inbox.closed;
    await terminal.last().closed;
  }, 15_000);
});
