import { expect, it } from "vitest";
import { send, wait } from "./client.ts";
import type { Runtime, Subject } from "./subject.ts";

/** A host that is asked before anything is written. */
export function approvals(of: () => Subject, runtime: Runtime): void {
  const pending = async (): Promise<Record<string, unknown>[]> =>
    (await send(of(), "GET", "/approvals", { host: true })).json["items"] as Record<string, unknown>[];
  const nothingWaits = async (): Promise<void> => {
    for (let left = 100; (await pending()).length > 0 && left > 0; left -= 1) await wait(50);
    expect(await pending()).toEqual([]);
  };

  it("holds a write until the host, who sees its diff, allows it", async () => {
    const first = await send(of(), "GET", "/approvals?wait=0", { host: true });
    const poll = send(of(), "GET", `/approvals?wait=10&since=${Number(first.json["cursor"])}`, {
      host: true,
    });
    const write = send(of(), "POST", "~/plugins", { json: { spec: "asked" } });
    const [request] = (await poll).json["items"] as { id: string; diff: string }[];
    expect(request?.diff).toMatch(/^\+.*"asked"$/m);
    const answer = await send(of(), "POST", `/approvals/${request?.id ?? ""}`, {
      host: true,
      json: { reply: "allow" },
    });
    expect(answer.json).toEqual({ ok: true, allowed: true });
    expect(await write).toMatchObject({ status: 200, json: { items: [{ spec: "asked" }] } });
  });

  it("changes nothing when the host says no", async () => {
    const write = send(of(), "POST", "~/plugins", { json: { spec: "refused" } });
    let request: Record<string, unknown> | undefined;
    while (!request) [request] = await pending();
    await send(of(), "POST", `/approvals/${String(request["id"])}`, { host: true, json: { reply: "deny" } });
    expect(await write).toMatchObject({ status: 403, json: { code: "write_denied" } });
    expect((await send(of(), "GET", "~/config")).text).not.toContain("refused");
  });

  it("lets a caller poll for the answer instead of holding the connection", async () => {
    const asked = await send(of(), "POST", "~/plugins", {
      json: { spec: "later" },
      headers: { prefer: "respond-async" },
    });
    expect(asked.status, asked.text).toBe(202);
    const location = asked.headers.get("location") ?? "";
    expect(await send(of(), "GET", location)).toMatchObject({ status: 202 });
    const [request] = await pending();
    await send(of(), "POST", `/approvals/${String(request?.["id"])}`, {
      host: true,
      json: { reply: "allow" },
    });
    expect(await send(of(), "GET", `${location}?wait=10`)).toMatchObject({ status: 200 });
  });

  it.skipIf(runtime.gaps.noDisconnect !== undefined)(
    "withdraws the write of a client that leaves",
    async () => {
      const leaving = new AbortController();
      const write = send(of(), "POST", "~/plugins", { json: { spec: "gone" }, signal: leaving.signal });
      while ((await pending()).length === 0) await wait(20);
      leaving.abort();
      await expect(write).rejects.toThrow();
      await nothingWaits();
      expect((await send(of(), "GET", "~/config")).text).not.toContain("gone");
    },
  );
}
