import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, it } from "vitest";
import { buildOnce } from "../support/build.ts";
import { startServer, type TestServer } from "../support/server.ts";
import { eventually, find, shape, type Item } from "./support.ts";

const most = 120;

async function startWithFewDescriptors(): Promise<TestServer> {
  const cli = join(await buildOnce(), "adapters/cli.js");
  const limited = `ulimit -n ${most}; exec "$0" "$@"`;
  return startServer({ command: ["sh", "-c", limited, process.execPath, cli] });
}

/** Connections that ask for nothing, until the server can take no more. */
async function takeAllDescriptors(server: TestServer): Promise<Socket[]> {
  const sockets = Array.from({ length: most }, () => {
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    return socket.on("error", () => undefined);
  });
  await eventually(() =>
    expect(readdirSync(`/proc/${server.pid}/fd`).length).toBeGreaterThanOrEqual(most - 2),
  );
  return sockets;
}

it.runIf(process.platform === "linux")(
  "what changes while the server has no descriptor left is in the catalog afterwards, and so is what comes later",
  async () => {
    const server = await startWithFewDescriptors();
    try {
      const at = (path: string): string => join(server.workspace, path);
      mkdirSync(at("old"));
      const opened = await server.request<{ session: { id: string } }>("POST", "~/files/sessions", {
        json: {},
      });
      const path = `/files/sessions/${opened.json.session.id}/catalog/snapshot`;
      const expectTrue = async (): Promise<void> => {
        const { json } = await server.request<{ items: Item[] }>("GET", path);
        expect([...shape(json.items)]).toEqual([...find(server.workspace)]);
      };
      await expectTrue();
      const sockets = await takeAllDescriptors(server);
      mkdirSync(at("new/below"), { recursive: true });
      writeFileSync(at("new/below/one"), "1");
      writeFileSync(at("old/two"), "2");
      // Long enough for the server to be told, and to fail at looking.
      await new Promise((resolve) => setTimeout(resolve, 1000));
      for (const socket of sockets) socket.destroy();
      await eventually(expectTrue);
      writeFileSync(at("new/below/late"), "3");
      await eventually(expectTrue);
    } finally {
      await server.stop();
    }
  },
);
