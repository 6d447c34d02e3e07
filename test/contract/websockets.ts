import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clientToken } from "../support/server.ts";
import { startTerminal, type Terminal, type TerminalEnd } from "../support/terminal.ts";
import { openSocket, type Inbox, type Socket } from "../support/websocket.ts";
import { send, sendRaw, wait } from "./client.ts";
import type { Runtime, Subject } from "./subject.ts";

const bearer = { authorization: `Bearer ${clientToken}` };
const mebibyte = 1024 * 1024;

/** WebSockets through the engine proxy. */
export function webSockets(runtime: Runtime): void {
  describe("WebSockets", () => {
    let terminal: Terminal;
    let subject: Subject;
    beforeAll(async () => {
      terminal = await startTerminal();
      subject = await runtime.start({
        env: {
          OPENWORK_OPENCODE_BASE_URL: terminal.url,
          OPENWORK_OPENCODE_USERNAME: "u",
          OPENWORK_OPENCODE_PASSWORD: "p",
          OPENWORK_CORS_ORIGINS: "https://app.example,http://localhost:80",
          OPENWORK_ENGINE_TIMEOUT_MS: "1500",
        },
      });
    }, 60_000);
    afterAll(async () => {
      await subject?.stop();
      terminal?.stop();
    });
    const connect: Connect = (options) => connected(subject, terminal, options);
    messages(connect);
    endings(connect, runtime);
    brokenFrames(connect, runtime);
    slowness(connect, runtime);
    handshakes(connect, () => subject);
    refusals(runtime, () => subject);
  });
  if (runtime.gaps.noProcess === undefined) serverStop(runtime);
  askedFor(runtime);
}

/** Both ends of one connection. */
interface Connection {
  socket: Socket;
  inbox: Inbox;
  engine: TerminalEnd;
}

interface Opening {
  path?: string;
  protocols?: readonly string[];
  headers?: Readonly<Record<string, string>>;
}

type Connect = (options?: Opening) => Promise<Connection>;

const address = (subject: Subject, path = "/pty/p1/connect"): string =>
  `${subject.url}/w/${subject.id}/opencode${path}`;

async function connected(
  subject: Subject,
  terminal: Terminal,
  { path, ...options }: Opening = {},
): Promise<Connection> {
  const opened = await openSocket(address(subject, path), { headers: bearer, ...options });
  if (!opened.socket) throw new Error(`answered ${opened.status} ${JSON.stringify(opened.json)}`);
  return { socket: opened.socket, inbox: opened.inbox, engine: terminal.last() };
}

function messages(connect: Connect): void {
  it("passes texts, bytes and fragments both ways", async () => {
    const { socket, inbox, engine } = await connect();
    socket.send("hällo");
    await inbox.until("heard hällo");
    socket.send(new Uint8Array([0, 255, 7]));
    socket.send(new Uint8Array(0));
    engine.socket.send("one ", { fin: false });
    engine.socket.send("text", { fin: true });
    await inbox.until("one text");
    const byKind = (binary: boolean): number[][] =>
      inbox.messages.filter((message) => message.binary === binary).map(({ data }) => [...data]);
    await expect.poll(() => byKind(true)).toEqual([[0, 255, 7], []]);
    expect(byKind(false)).toContainEqual([...new TextEncoder().encode("one text")]);
    socket.terminate();
  });

  it("passes large messages unchanged", async () => {
    const { socket, inbox } = await connect();
    const bytes = Uint8Array.from({ length: 3_000_001 }, (_, i) => (i * 7919) & 255);
    const text = "aß€😀".repeat(200_000);
    socket.send(bytes);
    socket.send(text);
    await expect.poll(() => inbox.messages.length, { timeout: 20_000 }).toBe(2);
    const [first, second] = inbox.messages;
    expect(Buffer.from(first?.data ?? []).equals(bytes)).toBe(true);
    expect(Buffer.from(second?.data ?? []).toString() === `heard ${text}`).toBe(true);
    socket.terminate();
  });

  it("keeps the order of many messages", async () => {
    const { socket, inbox, engine } = await connect();
    for (let i = 0; i < 2000; i += 1) engine.socket.send(`${i};`);
    await inbox.until("1999;");
    expect(inbox.text()).toBe(Array.from({ length: 2000 }, (_, i) => `${i};`).join(""));
    socket.terminate();
  });

  it("leaves nobody's pings unanswered", async () => {
    const { socket, inbox, engine } = await connect();
    socket.ping();
    engine.socket.ping("are you there");
    await expect.poll(() => inbox.pongs).toBe(1);
    await expect.poll(() => engine.pongs).toEqual(["are you there"]);
    socket.terminate();
  });
}

function endings(connect: Connect, runtime: Runtime): void {
  it("passes close codes and reasons both ways", async () => {
    const byEngine = await connect();
    byEngine.socket.send("bye");
    expect(await byEngine.inbox.closed).toEqual({ code: 4001, reason: "so long" });
    expect((await byEngine.engine.closed).code).toBe(4001);
    const byCaller = await connect();
    byCaller.socket.close(4002, "enough");
    expect(await byCaller.engine.closed).toEqual({ code: 4002, reason: "enough" });
    expect((await byCaller.inbox.closed).code).toBe(4002);
    const bare = await connect();
    bare.socket.close();
    expect((await bare.engine.closed).code).toBe(1005);
    const bareEngine = await connect();
    bareEngine.engine.socket.close();
    expect((await bareEngine.inbox.closed).code).toBe(1005);
  });

  it("lets go of either side when the other one vanishes", async () => {
    const gone = await connect();
    gone.socket.terminate();
    expect((await gone.engine.closed).code).toBe(1006);
    const left = await connect();
    left.engine.socket.terminate();
    // Where messages are passed on instead of bytes, a gateway's close code tells of it.
    expect((await left.inbox.closed).code).toBe(runtime.gaps.webSocketRelay === undefined ? 1006 : 1014);
  });
}

function flood(socket: Socket): void {
  for (let i = 0; i < 64; i += 1) socket.send(new Uint8Array(mebibyte));
}

function brokenFrames(connect: Connect, runtime: Runtime): void {
  it.skipIf(runtime.gaps.webSocketRelay === undefined)(
    "closes both sides when the engine breaks the protocol, as the caller would",
    async () => {
      for (const [code, bytes] of [
        [1002, [0xc1, 0]],
        [1007, [0x81, 1, 0xff]],
        [1009, [0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]],
      ] as const) {
        const { inbox, engine } = await connect();
        engine.wire.write(Uint8Array.from(bytes));
        expect((await inbox.closed).code).toBe(code);
        expect((await engine.closed).code).toBe(code);
      }
    },
  );
}

function slowness(connect: Connect, runtime: Runtime): void {
  const { noCallerPause } = runtime.gaps;
  it("slows the engine down for a caller that does not read", async () => {
    const { socket, inbox, engine } = await connect();
    socket.pause();
    flood(engine.socket);
    engine.socket.close(4003, "all said");
    await wait(1000);
    expect(engine.socket.bufferedAmount).toBeGreaterThan(32 * mebibyte);
    socket.resume();
    expect(await inbox.closed).toEqual({ code: 4003, reason: "all said" });
    expect(inbox.messages.length).toBe(64);
  });

  it.skipIf(noCallerPause !== undefined)("slows a caller down for an engine that does not read", async () => {
    const { socket, inbox, engine } = await connect();
    engine.socket.pause();
    flood(socket);
    await wait(1000);
    expect(socket.bufferedAmount).toBeGreaterThan(16 * mebibyte);
    engine.socket.resume();
    await expect.poll(() => inbox.messages.length, { timeout: 20_000 }).toBe(64);
    socket.terminate();
  });

  it.skipIf(noCallerPause === undefined)(
    "sends a caller away that is too fast for an engine that does not read",
    async () => {
      const { socket, inbox, engine } = await connect();
      engine.socket.pause();
      flood(socket);
      // With what it has not read yet the runtime may drop the connection before its close frame has arrived.
      expect([1006, 1013]).toContain((await inbox.closed).code);
      engine.socket.resume();
      expect((await engine.closed).code).toBe(1013);
    },
  );
}

function handshakes(connect: Connect, of: () => Subject): void {
  it("tells the engine what is for it, with its own credentials and none of ours", async () => {
    const { socket, engine } = await connect({ path: "/pty/p1/connect?cursor=0&a=%20b" });
    expect(engine.url).toBe("/pty/p1/connect?cursor=0&a=%20b");
    expect(engine.headers["authorization"]).toBe(`Basic ${btoa("u:p")}`);
    expect(engine.headers["x-opencode-directory"]).toMatch(/workspace/);
    expect(engine.headers["origin"]).toBeUndefined();
    expect(JSON.stringify(engine.headers)).not.toContain(clientToken);
    socket.terminate();
    const audit = await send(of(), "GET", "~/audit?limit=1");
    expect(audit.json["items"]).toMatchObject([{ action: "opencode.proxy", target: "GET /pty/p1/connect" }]);
  });

  it("takes a browser's token in a subprotocol that never reaches the engine", async () => {
    const protocols = ["openwork", `openwork.bearer.${clientToken}`];
    const own = await connect({ protocols, headers: { origin: "https://app.example" } });
    expect(own.socket.protocol).toBe("openwork");
    expect(own.engine.headers["sec-websocket-protocol"]).toBeUndefined();
    expect(JSON.stringify(own.engine.headers)).not.toContain(clientToken);
    own.socket.terminate();
    const engines = await connect({ protocols: ["pty.v2", ...protocols], headers: {} });
    expect(engines.socket.protocol).toBe("pty.v2");
    expect(engines.engine.headers["sec-websocket-protocol"]).toBe("pty.v2");
    engines.socket.terminate();
    const unknown = await connect({ protocols: ["pty.v9", ...protocols], headers: {} });
    expect(unknown.socket.protocol).toBe("openwork");
    expect(unknown.engine.headers["sec-websocket-protocol"]).toBe("pty.v9");
    unknown.socket.terminate();
  });

  it("opens for pages of the allowed origins, default ports and letter case aside", async () => {
    for (const origin of ["HTTPS://APP.example:443", "http://localhost", of().url]) {
      const { socket } = await connect({ headers: { ...bearer, origin } });
      socket.terminate();
    }
  });
}

function refusals(runtime: Runtime, of: () => Subject): void {
  const refused = (options: Opening): ReturnType<typeof openSocket> =>
    openSocket(address(of(), options.path), options);

  it("says in JSON before the upgrade who may not connect", async () => {
    expect(await refused({})).toMatchObject({ status: 401, json: { code: "unauthorized" } });
    const wrong = ["openwork", "openwork.bearer.nonsense"];
    expect(await refused({ protocols: wrong })).toMatchObject({
      status: 401,
      json: { code: "unauthorized" },
    });
    expect(await refused({ path: `/pty/p1/connect?token=${clientToken}` })).toMatchObject({ status: 401 });
    for (const origin of ["https://evil.example", "http://app.example", "null"]) {
      const answer = await refused({ headers: { ...bearer, origin } });
      expect(answer).toMatchObject({ status: 403, json: { code: "forbidden" } });
    }
    const made = await send(of(), "POST", "/tokens", { host: true, json: { scope: "viewer" } });
    const viewer = { authorization: `Bearer ${String(made.json["token"])}` };
    expect(await refused({ headers: viewer })).toMatchObject({ status: 403, json: { code: "forbidden" } });
    const elsewhere = { path: "/pty/p1/connect?directory=/etc", headers: bearer };
    expect(await refused(elsewhere)).toMatchObject({ status: 403 });
    const unknown = address(of()).replace(of().id, "ws_000000000000");
    expect(await openSocket(unknown, { headers: bearer })).toMatchObject({
      status: 404,
      json: { code: "workspace_not_found" },
    });
  });

  it("passes the engine's own refusal on, without its challenge", async () => {
    const answer = await refused({ path: "/pty/refused/connect", headers: bearer });
    expect(answer).toMatchObject({ status: 410, json: { name: "GoneError" } });
    expect(answer.socket ?? answer.headers).not.toHaveProperty("www-authenticate");
  });

  it("opens nothing for an engine that did not read the handshake", async () => {
    const answer = refused({ path: "/pty/bogus/connect", headers: bearer });
    // Where bytes are joined the caller itself finds out.
    if (runtime.gaps.webSocketRelay === undefined) {
      const { status } = await answer.catch(() => ({ status: 0 }));
      expect([0, 502]).toContain(status);
    } else expect(await answer).toMatchObject({ status: 502, json: { code: "opencode_unreachable" } });
  });

  it("tells of an engine that is silent or away", async () => {
    expect(await refused({ path: "/pty/silent/connect", headers: bearer })).toMatchObject({
      status: 504,
      json: { code: "opencode_timeout" },
    });
    const away = await runtime.start({ env: { OPENWORK_OPENCODE_BASE_URL: "http://127.0.0.1:9" } });
    try {
      const answer = await openSocket(address(away), { headers: bearer });
      expect(answer).toMatchObject({ status: 502, json: { code: "opencode_unreachable" } });
    } finally {
      await away.stop();
    }
  });

  it("answers an upgrade of what is no WebSocket, and one that is incomplete", async () => {
    expect(await openSocket(`${of().url}/health`)).toMatchObject({ status: 200, json: { ok: true } });
    expect(await openSocket(`${of().url}/nothing`)).toMatchObject({
      status: 404,
      json: { code: "not_found" },
    });
    const head = `GET ${new URL(address(of())).pathname} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${clientToken}`;
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    expect(await sendRaw(of(), `${head}\r\n${upgrade}\r\n\r\n`)).toMatch(/^HTTP\/1.1 400 /);
  });
}

function serverStop(runtime: Runtime): void {
  it("ends its WebSockets when it stops", async () => {
    const terminal = await startTerminal();
    const subject = await runtime.start({ env: { OPENWORK_OPENCODE_BASE_URL: terminal.url } });
    const { inbox, engine } = await connected(subject, terminal);
    const started = Date.now();
    expect(await subject.stop()).toEqual({ code: 0 });
    expect(Date.now() - started).toBeLessThan(5000);
    const code = runtime.gaps.webSocketRelay === undefined ? 1006 : 1001;
    expect((await inbox.closed).code).toBe(code);
    expect((await engine.closed).code).toBe(code);
    terminal.stop();
  });
}

/** In manual mode a terminal is opened by the host's leave alone. */
function askedFor(runtime: Runtime): void {
  describe("WebSockets in manual mode", () => {
    let terminal: Terminal;
    let subject: Subject;
    beforeAll(async () => {
      terminal = await startTerminal();
      const env = { OPENWORK_OPENCODE_BASE_URL: terminal.url };
      subject = await runtime.start({ approval: "manual", env });
    }, 60_000);
    afterAll(async () => {
      await subject?.stop();
      terminal?.stop();
    });
    const pending = async (): Promise<Record<string, unknown>[]> =>
      (await send(subject, "GET", "/approvals", { host: true })).json["items"] as Record<string, unknown>[];
    const reply = async (word: "allow" | "deny"): Promise<void> => {
      await expect.poll(pending).toHaveLength(1);
      const [question] = await pending();
      expect(question).toMatchObject({ action: "opencode.proxy" });
      const path = `/approvals/${String(question?.["id"])}`;
      await send(subject, "POST", path, { host: true, json: { reply: word } });
    };

    it("asks the host before it asks the engine", async () => {
      const opening = connected(subject, terminal);
      await expect.poll(pending).toHaveLength(1);
      expect(terminal.ends).toHaveLength(0);
      await reply("allow");
      const { socket, inbox } = await opening;
      socket.send("hello");
      await inbox.until("heard hello");
      socket.terminate();
      const denied = openSocket(address(subject), { headers: bearer });
      await reply("deny");
      expect(await denied).toMatchObject({ status: 403, json: { code: "write_denied" } });
      expect(terminal.ends).toHaveLength(1);
    });

    it.skipIf(runtime.gaps.noDisconnect !== undefined)(
      "takes the question back when the caller leaves",
      async () => {
        const leave = new AbortController();
        const leaving = openSocket(address(subject), { headers: bearer, signal: leave.signal });
        await expect.poll(pending).toHaveLength(1);
        leave.abort();
        await expect(leaving).rejects.toThrow();
        await expect.poll(pending).toHaveLength(0);
        const audit = await send(subject, "GET", "~/audit?limit=1");
        expect(audit.json["items"]).toMatchObject([{ outcome: "withdrawn" }]);
      },
    );
  });
}
