import { expect, it } from "vitest";
import { open, send, wait } from "./client.ts";
import type { Runtime } from "./subject.ts";

/** What only a process of its own can show. */
export function lifecycle(runtime: Runtime): void {
  it("stops in order: waiting polls and streams end at once, and the process with status 0", async () => {
    const subject = await runtime.start({ approval: "manual" });
    const poll = send(subject, "GET", "/approvals?wait=50", { host: true });
    const stream = await open(subject, "GET", "~/files/events");
    const body = stream.text().catch(() => "");
    const write = send(subject, "POST", "~/plugins", { json: { spec: "stopped" } }).catch(() => null);
    await wait(300);
    const started = Date.now();
    expect(await subject.stop()).toEqual({ code: 0 });
    expect(Date.now() - started).toBeLessThan(5000);
    expect((await poll).status).toBe(200);
    const { status = 0, json } = (await write) ?? {};
    expect({ status, code: json?.["code"] }).toEqual({ status: 409, code: "request_withdrawn" });
    await body;
    expect(subject.log()).toContain("GET /approvals 200");
  });

  it("will not share its port", async () => {
    const first = await runtime.start();
    try {
      const port = Number(new URL(first.url).port);
      await expect(runtime.start({ port })).rejects.toThrow(
        `Port ${port} on 127.0.0.1 is in use; choose another with --port, or 0 for a free one.`,
      );
    } finally {
      await first.stop();
    }
  });
}
