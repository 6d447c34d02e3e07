import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostToken } from "../support/server.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import type { Socket } from "../support/websocket.ts";
import { wait } from "./client.ts";
import { connected, type Connect } from "./connection.ts";
import { askedFor, handshakes, refusals } from "./handshakes.ts";
import type { Runtime, Subject } from "./subject.ts";

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
    dismissals(connect, () => subject, runtime);
    brokenFrames(connect, runtime);
    slowness(connect, runtime);
    handshakes(connect, () => subject);
    refusals(runtime, () => subject);
    deletion(connect, () => subject, runtime);
  });
  if (runtime.gaps.noProcess === undefined) serverStop(runtime);
  askedFor(runtime);
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

function dismissals(connect: Connect, subject: () => Subject, runtime: Runtime): void {
  // There the platform passes the messages on: it can be broken off, but nothing said.
  const code = runtime.gaps.noProcess === undefined ? 1008 : 1006;
  const asHost = (): Record<string, string> => ({ ...subject().headers, "x-openwork-host-token": hostToken });

  it("ends both sides when the caller's token is revoked", async () => {
    const headers = asHost();
    const body = JSON.stringify({ scope: "collaborator" });
    const issued = await fetch(`${subject().url}/tokens`, { method: "POST", headers, body });
    const { id, token } = (await issued.json()) as { id: string; token: string };
    const { inbox, engine } = await connect({ headers: { authorization: `Bearer ${token}` } });
    const other = await connect();
    await fetch(`${subject().url}/tokens/${id}`, { method: "DELETE", headers });
    expect((await inbox.closed).code).toBe(code);
    expect((await engine.closed).code).toBe(code);
    other.socket.send("still here");
    await other.inbox.until("heard still here");
    other.socket.terminate();
  });
}

/** Ends the only workspace: nothing can follow. */
function deletion(connect: Connect, subject: () => Subject, runtime: Runtime): void {
  it("ends both sides when the workspace is deleted", async () => {
    const code = runtime.gaps.noProcess === undefined ? 1008 : 1006;
    const { inbox, engine } = await connect();
    const headers = { ...subject().headers, "x-openwork-host-token": hostToken };
    const deleted = await fetch(`${subject().url}/workspaces/${subject().id}`, { method: "DELETE", headers });
    expect(deleted.status).toBe(200);
    expect((await inbox.closed).code).toBe(code);
    expect((await engine.closed).code).toBe(code);
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
    // A gateway's close code tells of it; a platform that passes the messages on itself has none.
    expect((await left.inbox.closed).code).toBe(runtime.gaps.noProcess === undefined ? 1014 : 1006);
  });
}

function flood(socket: Socket): void {
  for (let i = 0; i < 64; i += 1) socket.send(new Uint8Array(mebibyte));
}

function brokenFrames(connect: Connect, runtime: Runtime): void {
  it("ends both sides when the engine breaks the protocol", async () => {
    for (const [code, bytes] of [
      [1002, [0xc1, 0]],
      [1007, [0x81, 1, 0xff]],
      [1009, [0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]],
    ] as const) {
      const { inbox, engine } = await connect();
      engine.wire.write(Uint8Array.from(bytes));
      // Where its bytes are passed on the caller finds out by itself, and tells the engine; else the server tells both.
      const relayed = runtime.gaps.webSocketRelay !== undefined;
      expect((await inbox.closed).code).toBe(relayed ? code : 1006);
      expect((await engine.closed).code).toBe(code);
    }
  });
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

  const pausing = async (): Promise<void> => {
    const { socket, inbox, engine } = await connect();
    engine.socket.pause();
    flood(socket);
    await wait(1000);
    expect(socket.bufferedAmount).toBeGreaterThan(16 * mebibyte);
    engine.socket.resume();
    await expect.poll(() => inbox.messages.length, { timeout: 20_000 }).toBe(64);
    socket.terminate();
  };
  const sendingAway = async (): Promise<void> => {
    const { socket, inbox, engine } = await connect();
    engine.socket.pause();
    flood(socket);
    // With what it has not read yet the runtime may drop the connection before its close frame has arrived.
    expect([1006, 1013]).toContain((await inbox.closed).code);
    engine.socket.resume();
    expect((await engine.closed).code).toBe(1013);
  };
  if (noCallerPause === undefined) it("slows a caller down for an engine that does not read", pausing);
  else it("sends a caller away that is too fast for an engine that does not read", sendingAway);
}

function serverStop(runtime: Runtime): void {
  it("ends its WebSockets when it stops", async () => {
    const terminal = await startTerminal();
    const subject = await runtime.start({ env: { OPENWORK_OPENCODE_BASE_URL: terminal.url } });
    const { inbox, engine } = await connected(subject, terminal);
    const started = Date.now();
    expect(await subject.stop()).toEqual({ code: 0 });
    expect(Date.now() - started).toBeLessThan(5000);
    expect((await inbox.closed).code).toBe(1001);
    expect((await engine.closed).code).toBe(1001);
    terminal.stop();
  });
}
