import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connected } from "../contract/connection.ts";
import { processRuntime, programs, workerRuntime, type Runtime, type Subject } from "../contract/subject.ts";
import { webSockets } from "../contract/websockets.ts";
import { startTerminal, type Terminal } from "../support/terminal.ts";
import { openSocket } from "../support/websocket.ts";

const program = (name: string): string => join(import.meta.dirname, "programs", name);
const deno = [programs.deno, "run", "-A", "--unstable-no-legacy-abort"];

/** Servers of somebody else, each of which has WebSockets of its own. */
const bun = processRuntime("Bun.serve", { webSocketRelay: "It does not lend the connection." }, (dist) => [
  programs.bun,
  program("bun.mjs"),
  dist,
]);
const hosts: Runtime[] = [
  bun,
  processRuntime("node:http", {}, (dist) => [programs.node20, program("node.mjs"), dist]),
  processRuntime(
    "Deno.serve",
    { webSocketRelay: "It does not lend the connection.", noCallerPause: "It reads on whatever happens." },
    (dist) => [...deno, program("deno.mjs"), dist],
  ),
  workerRuntime("a Worker", {
    entry: "test/embedding/programs/worker.ts",
    className: "Agent",
    bindingName: "AGENT",
    path: "/agent",
  }),
];

describe.each(hosts)("terminals within $name", (runtime) => {
  webSockets(runtime);

  describe("beside the host's own WebSockets", () => {
    let terminal: Terminal;
    let subject: Subject;
    beforeAll(async () => {
      terminal = await startTerminal();
      subject = await runtime.start({ env: { OPENWORK_OPENCODE_BASE_URL: terminal.url } });
    }, 60_000);
    afterAll(async () => {
      await subject?.stop();
      terminal?.stop();
    });
    const origin = (): string => new URL(subject.url).origin;

    it("are kept apart from them", async () => {
      const first = await connected(subject, terminal);
      first.socket.close();
      await first.engine.closed;
      const one = await connected(subject, terminal);
      one.socket.send("hello");
      await one.inbox.until("heard hello");
      const live = await openSocket(`${origin()}/live`);
      if (!live.socket) throw new Error(`answered ${live.status}`);
      // The first one that the host has heard of.
      await live.inbox.until("live 1");
      live.socket.send("hi");
      await live.inbox.until("own hi to true, 0 closed");
      one.socket.send("again");
      await one.inbox.until("heard again");
      expect(terminal.ends).toHaveLength(2);
      live.socket.terminate();
      one.socket.terminate();
    });

    it("leave handshakes to the host that are not theirs, however odd", async () => {
      const headers = { authorization: "Bearer nonsense", origin: "https://evil.example" };
      const live = await openSocket(`${origin()}/live`, { headers });
      expect(live.status).toBe(101);
      live.socket?.terminate();
      expect(await (await fetch(`${origin()}/live`)).text()).toBe("your own page");
    });
  });
});

describe("a host of Bun.serve that lets little wait for a caller", () => {
  it("has a terminal end whose messages do not all arrive", async () => {
    const terminal = await startTerminal();
    const env = { OPENWORK_OPENCODE_BASE_URL: terminal.url, BACKPRESSURE_LIMIT: "65536" };
    const subject = await bun.start({ env });
    try {
      const { socket, inbox, engine } = await connected(subject, terminal);
      socket.pause();
      for (let i = 0; i < 1000; i += 1) engine.socket.send(new Uint8Array(60_000));
      expect((await engine.closed).code).toBe(1013);
      socket.resume();
      expect((await inbox.closed).code).toBe(1013);
    } finally {
      await subject.stop();
      terminal.stop();
    }
  });
});
