import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clientToken } from "../support/server.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import { openSocket } from "../support/websocket.ts";
import { send, sendRaw } from "./client.ts";
import { address, bearer, connected, type Connect, type Opening } from "./connection.ts";
import type { Runtime, Subject } from "./subject.ts";

/** What is agreed on before the first message of a WebSocket. */
export function handshakes(connect: Connect, of: () => Subject): void {
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

  it("agrees on no compression that it could not read", async () => {
    const { socket, inbox } = await connect({ path: "/pty/deflate/connect" });
    socket.send("x".repeat(5000));
    await inbox.until(`heard ${"x".repeat(5000)}`);
    socket.terminate();
  });

  it("opens for pages of the allowed origins, default ports and letter case aside", async () => {
    for (const origin of ["HTTPS://APP.example:443", "http://localhost", of().url]) {
      const { socket } = await connect({ headers: { ...bearer, origin } });
      socket.terminate();
    }
  });
}

/** Who gets no WebSocket, and how it is told. */
export function refusals(runtime: Runtime, of: () => Subject): void {
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

/** In manual mode a terminal is opened by the host's leave alone. */
export function askedFor(runtime: Runtime): void {
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
