import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientToken, hostToken, startServer, type TestServer } from "../support/server.ts";
import { openSocket, type Socket, WebSocketServer } from "../support/websocket.ts";

const bearer = { authorization: `Bearer ${clientToken}` };

/** An engine's terminal that says back what it hears, and what it was asked with. */
interface Terminal {
  url: string;
  /** Headers of the connections so far. */
  asked: { headers: Record<string, string>; url: string }[];
  /** The engine's ends of the connections so far. */
  sockets: Socket[];
  stop(): void;
}

async function startTerminal(): Promise<Terminal> {
  const server: Server = createServer((_req, res) => res.writeHead(404).end('{"name":"NotFoundError"}'));
  const asked: Terminal["asked"] = [];
  const sockets: Socket[] = [];
  const wss = new WebSocketServer({ server });
  wss.on("connection", (socket, req) => {
    asked.push(req);
    sockets.push(socket);
    socket.on("message", ((data: Buffer, binary: boolean) => {
      const text = data.toString();
      if (text === "bye") socket.close(4001, "so long");
      else socket.send(binary ? data : `heard ${text}`);
    }) as never);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    sockets,
    stop() {
      wss.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

describe("WebSockets through the engine proxy (I64)", () => {
  let terminal: Terminal;
  let server: TestServer;
  let path: string;

  beforeAll(async () => {
    terminal = await startTerminal();
    server = await startServer({
      flags: [
        "--opencode-base-url",
        terminal.url,
        "--opencode-username=u",
        "--opencode-password=p",
        "--cors=https://app.example,http://localhost:80",
      ],
    });
    path = `${server.url}/w/${server.id}/opencode/pty/p1/connect`;
  });

  afterAll(async () => {
    await server?.stop();
    terminal?.stop();
  });

  test("text, binary and close codes pass both ways; the engine sees its own credentials only", async () => {
    const opened = await openSocket(`${path}?cursor=0`, { headers: bearer });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    opened.socket.send("hello");
    await opened.inbox.until("heard hello");
    opened.socket.send(new Uint8Array([0, 255, 7]));
    await expect.poll(() => opened.inbox.messages.length).toBe(2);
    expect([...(opened.inbox.messages[1]?.data ?? [])]).toEqual([0, 255, 7]);
    expect(opened.inbox.messages[1]?.binary).toBe(true);
    opened.socket.ping();
    await expect.poll(() => opened.inbox.pongs).toBe(1);
    opened.socket.send("bye");
    expect(await opened.inbox.closed).toEqual({ code: 4001, reason: "so long" });
    const [asked] = terminal.asked.slice(-1);
    expect(asked?.url).toBe("/pty/p1/connect?cursor=0");
    expect(asked?.headers["authorization"]).toBe(`Basic ${btoa("u:p")}`);
    expect(asked?.headers["x-opencode-directory"]).toBe(server.workspace);
    expect(JSON.stringify(asked?.headers)).not.toContain(clientToken);
  });

  test("a browser brings its token in a subprotocol that never reaches the engine", async () => {
    const protocols = ["openwork", `openwork.bearer.${clientToken}`];
    const opened = await openSocket(path, { protocols, headers: { origin: "https://app.example" } });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    expect(opened.socket.protocol).toBe("openwork");
    expect(terminal.asked.at(-1)?.headers["sec-websocket-protocol"]).toBeUndefined();
    expect(JSON.stringify(terminal.asked.at(-1)?.headers)).not.toContain(clientToken);
    opened.socket.close(1000);
    expect((await opened.inbox.closed).code).toBe(1000);
  });

  test("a subprotocol of the engine's is passed on and answered with", async () => {
    const protocols = ["pty.v2", `openwork.bearer.${clientToken}`];
    const opened = await openSocket(path, { protocols });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    expect(opened.socket.protocol).toBe("pty.v2");
    expect(terminal.asked.at(-1)?.headers["sec-websocket-protocol"]).toBe("pty.v2");
    opened.socket.terminate();
  });

  test("pages of other origins are refused, default ports and letter case aside (CVE-2025-24010)", async () => {
    for (const origin of ["https://evil.example", "http://app.example", "null"]) {
      expect(await openSocket(path, { headers: { ...bearer, origin } })).toMatchObject({
        status: 403,
        json: { code: "forbidden" },
      });
    }
    for (const origin of ["HTTPS://APP.example:443", "http://localhost", server.url]) {
      const opened = await openSocket(path, { headers: { ...bearer, origin } });
      expect(opened.status).toBe(101);
      opened.socket?.terminate();
    }
  });

  test("who may not connect is told so in JSON before the upgrade", async () => {
    expect(await openSocket(path)).toMatchObject({ status: 401, json: { code: "unauthorized" } });
    const wrong = { protocols: ["openwork", "openwork.bearer.nonsense"] };
    expect(await openSocket(path, wrong)).toMatchObject({ status: 401, json: { code: "unauthorized" } });
    expect(await openSocket(`${path}?token=${clientToken}`)).toMatchObject({ status: 401 });
    const { json } = await server.request<{ token: string }>("POST", "/tokens", {
      host: true,
      json: { scope: "viewer" },
    });
    const viewer = { headers: { authorization: `Bearer ${json.token}` } };
    expect(await openSocket(path, viewer)).toMatchObject({ status: 403, json: { code: "forbidden" } });
    expect(await openSocket(`${path}?directory=/etc`, { headers: bearer })).toMatchObject({ status: 403 });
    const elsewhere = path.replace(server.id, "ws_000000000000");
    expect(await openSocket(elsewhere, { headers: bearer })).toMatchObject({
      json: { code: "workspace_not_found" },
    });
  });

  test("a terminal is opened on the record (I07)", async () => {
    const opened = await openSocket(path, { headers: bearer });
    opened.socket?.terminate();
    const audit = await server.request<{ items: { action: string; target: string }[] }>(
      "GET",
      "~/audit?limit=1",
    );
    expect(audit.json.items[0]).toMatchObject({ action: "opencode.proxy", target: "GET /pty/p1/connect" });
  });

  test("a slow reader slows the engine down instead of filling the server's memory", async () => {
    const opened = await openSocket(path, { headers: bearer });
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    opened.socket.pause();
    const engineSide = terminal.sockets.at(-1);
    const chunk = new Uint8Array(1024 * 1024);
    for (let i = 0; i < 64; i += 1) engineSide?.send(chunk);
    await new Promise((resolve) => {
      setTimeout(resolve, 500);
    });
    expect(Reflect.get(engineSide ?? {}, "bufferedAmount")).toBeGreaterThan(32 * 1024 * 1024);
    opened.socket.resume();
    await expect.poll(() => opened.inbox.messages.length, { timeout: 20_000 }).toBe(64);
    opened.socket.terminate();
  });

  test("whichever side vanishes, the other one is let go", async () => {
    const gone = await openSocket(path, { headers: bearer });
    gone.socket?.terminate();
    await expect.poll(() => terminal.sockets.at(-1)?.readyState).toBe(3);
    const left = await openSocket(path, { headers: bearer });
    if (!left.socket) throw new Error(`answered ${left.status}`);
    terminal.sockets.at(-1)?.terminate();
    expect((await left.inbox.closed).code).toBe(1006);
  });

  test("a request that offers HTTP/2 along the way is answered in HTTP/1.1, body and all", async () => {
    const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const headers = {
        "x-openwork-host-token": hostToken,
        connection: "Upgrade, HTTP2-Settings",
        upgrade: "h2c",
        "http2-settings": "AAMAAABkAAQCAAAAAAIAAAAA",
        "content-type": "application/json",
      };
      const req = request(`${server.url}/tokens`, { method: "POST", headers }, (res) => {
        let text = "";
        res
          .on("data", (data) => (text += String(data)))
          .on("end", () => resolve({ status: res.statusCode ?? 0, text }));
      });
      req.on("error", reject).end('{"scope":"viewer"}');
    });
    expect(answer.status).toBe(201);
    expect(answer.text).toContain("owt_");
  });

  test("an upgrade of what is no WebSocket gets an ordinary answer", async () => {
    expect(await openSocket(`${server.url}/health`)).toMatchObject({ status: 200, json: { ok: true } });
    expect(await openSocket(`${server.url}/nothing`)).toMatchObject({
      status: 404,
      json: { code: "not_found" },
    });
  });
});

describe("WebSockets in manual mode (I07)", () => {
  let terminal: Terminal;
  let server: TestServer;

  beforeAll(async () => {
    terminal = await startTerminal();
    server = await startServer({ flags: ["--approval", "manual", "--opencode-base-url", terminal.url] });
  });

  afterAll(async () => {
    await server?.stop();
    terminal?.stop();
  });

  const pending = async (): Promise<{ id: string; action: string; diff: string }[]> => {
    const { json } = await server.request<{ items: { id: string; action: string; diff: string }[] }>(
      "GET",
      "/approvals",
      {
        host: true,
      },
    );
    return json.items;
  };

  test("the host is asked before the upgrade is answered", async () => {
    const opening = openSocket(`${server.url}/opencode/pty/p1/connect`, { headers: bearer });
    await expect.poll(pending).toHaveLength(1);
    const [question] = await pending();
    expect(question).toMatchObject({ action: "opencode.proxy" });
    expect(terminal.asked).toHaveLength(0);
    await server.request("POST", `/approvals/${question?.id}`, { host: true, json: { reply: "allow" } });
    const opened = await opening;
    if (!opened.socket) throw new Error(`answered ${opened.status}`);
    opened.socket.send("hello");
    await opened.inbox.until("heard hello");
    opened.socket.terminate();
  });

  test("a denial is a 403, and a caller that leaves takes its question along (I31)", async () => {
    const denied = openSocket(`${server.url}/opencode/pty/p2/connect`, { headers: bearer });
    await expect.poll(pending).toHaveLength(1);
    const [question] = await pending();
    await server.request("POST", `/approvals/${question?.id}`, { host: true, json: { reply: "deny" } });
    expect(await denied).toMatchObject({ status: 403, json: { code: "write_denied" } });

    const { port } = new URL(server.url);
    const socket = connect(Number(port), "127.0.0.1");
    socket.write(
      `GET /opencode/pty/p3/connect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${clientToken}\r\n` +
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    await expect.poll(pending).toHaveLength(1);
    socket.destroy();
    await expect.poll(pending).toHaveLength(0);
    await expect
      .poll(async () => {
        const { json } = await server.request<{ items: { target: string; outcome?: string }[] }>(
          "GET",
          "~/audit",
        );
        return json.items.map(({ target, outcome }) => `${target} ${outcome ?? "done"}`);
      })
      .toEqual(["GET /pty/p3/connect withdrawn", "GET /pty/p2/connect denied", "GET /pty/p1/connect done"]);
  });
});
