import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { programs } from "../contract/subject.ts";
import { buildOnce } from "../support/build.ts";
import { hostToken, startServer, type TestServer } from "../support/server.ts";

let server: TestServer | undefined;

afterEach(async () => {
  await server?.stop("SIGKILL");
});

/** A request whose body stays away until `finish`: as slow as a test wants. `begun`: the server waits for its body. */
function slowRequest(url: string): { begun: Promise<void>; finish: () => void; answer: Promise<string> } {
  const { hostname, port } = new URL(url);
  const body = '{"scope":"viewer"}';
  const socket = connect(Number(port), hostname);
  const head =
    `POST /tokens HTTP/1.1\r\nHost: ${hostname}:${port}\r\nX-OpenWork-Host-Token: ${hostToken}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`;
  socket.once("connect", () => socket.write(head));
  const begun = new Promise<void>((resolve) => {
    socket.once("data", () => socket.write(body.slice(0, 5), () => resolve()));
  });
  const answer = new Promise<string>((resolve) => {
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => void (text += chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
  return { begun, finish: () => void socket.write(body.slice(5)), answer };
}

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

describe("I99: a stop", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s lets a running request finish, then exits 0",
    async (signal) => {
      server = await startServer();
      const slow = slowRequest(server.url);
      await slow.begun;
      process.kill(server.pid, signal);
      await sleep(300);
      await expect(fetch(`${server.url}/health`)).rejects.toThrow();
      slow.finish();
      const answer = await slow.answer;
      expect(answer).toMatch(/^HTTP\/1\.1 201 /m);
      expect(answer.toLowerCase()).toContain("connection: close");
      expect(await server.exited).toEqual({ code: 0, signal: null });
      expect(server.log()).toMatch(/POST \/tokens 201/);
    },
  );
  test("idle connections, long polls and unused connections do not hold it up", async () => {
    server = await startServer();
    await server.request("GET", "/health");
    const { hostname, port } = new URL(server.url);
    const unused = connect(Number(port), hostname).on("error", () => {});
    const poll = server.request("GET", "/approvals?wait=50", { token: null, host: true }).catch(() => null);
    await sleep(200);
    const started = performance.now();
    process.kill(server.pid, "SIGTERM");
    expect(await server.exited).toEqual({ code: 0, signal: null });
    // Less than the ten seconds that running requests are given.
    expect(performance.now() - started).toBeLessThan(9000);
    await poll;
    unused.destroy();
  });
  // Node forgets what it was started with.
  test.skipIf(process.platform !== "linux").each([
    ["Bun", [programs.bun]],
    ["Deno", [programs.deno, "run", "-A"]],
  ])("nohup keeps it up on %s when its terminal closes", async (_, program) => {
    const built = join(await buildOnce(), "bin/openwork-server.js");
    server = await startServer({ command: ["nohup", ...program, built] });
    process.kill(server.pid, "SIGHUP");
    await sleep(300);
    expect((await server.request("GET", "/status")).status).toBe(200);
    expect(await server.stop()).toEqual({ code: 0, signal: null });
  });
  test("a second signal does not wait", async () => {
    server = await startServer();
    const slow = slowRequest(server.url);
    await slow.begun;
    process.kill(server.pid, "SIGTERM");
    await sleep(200);
    process.kill(server.pid, "SIGTERM");
    expect(await server.exited).toEqual({ code: 130, signal: null });
    await slow.answer;
  });
});
