import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { Relay } from "../../adapters/local/relay.ts";

afterEach(() => vi.useRealTimers());

/** Both ends of a connection with an engine. */
async function connection(): Promise<{ near: ReturnType<typeof connect>; far: ReturnType<typeof connect> }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [far] = (await once(server, "connection")) as [ReturnType<typeof connect>];
  server.close();
  return { near, far };
}

it("lets go of the engine when the host never opens the WebSocket that it was given", async () => {
  const { near, far } = await connection();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const onEnd = vi.fn<() => void>();
  const relay = new Relay(near, new Uint8Array(0), onEnd);
  vi.advanceTimersByTime(29_000);
  expect(near.destroyed).toBe(false);
  vi.advanceTimersByTime(2000);
  await once(far.resume(), "close");
  expect(onEnd).toHaveBeenCalledOnce();
  const closed: number[] = [];
  relay.open({ send: () => true, buffered: () => 0, close: (code) => closed.push(code) });
  expect(closed).toEqual([1014]);
});

it("keeps the engine once the WebSocket is open", async () => {
  const { near, far } = await connection();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const relay = new Relay(near, new Uint8Array(0), () => {});
  relay.open({ send: () => true, buffered: () => 0, close: () => {} });
  vi.advanceTimersByTime(3_600_000);
  expect(near.destroyed).toBe(false);
  near.destroy();
  far.destroy();
});
