import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientToken, hostToken, startServer, type TestServer } from "../support/server.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import { openSocket } from "../support/websocket.ts";

/** What is Node's own; how WebSockets behave everywhere is in test/contract/websockets.ts. */
describe("upgrades on Node (I64)", () => {
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

  test("the engine is told the directory of the workspace", async () => {
    const opened = await openSocket(`${server.url}/w/${server.id}/opencode/pty/p1/connect`, {
      headers: { authorization: `Bearer ${clientToken}` },
    });
    expect(opened.status).toBe(101);
    expect(terminal.last().headers["x-opencode-directory"]).toBe(server.workspace);
    opened.socket?.terminate();
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
});
