import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { open, send, wait } from "./client.ts";
import type { Runtime } from "./subject.ts";

/** On a busy machine a log line comes when it comes. */
const patient = { timeout: 10_000 };

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

  it("stops in order when its terminal closes", async () => {
    const subject = await runtime.start();
    expect((await send(subject, "GET", "/status")).status).toBe(200);
    expect(await subject.stop("SIGHUP")).toEqual({ code: 0 });
  });

  it.skipIf(runtime.gaps.noLateBody !== undefined)(
    "takes in what is on its way when its terminal closes, which tells it more than once",
    async () => {
      const subject = await runtime.start();
      const { readable: body, writable } = new TransformStream<Uint8Array>();
      const writer = writable.getWriter();
      const upload = send(subject, "PUT", "~/files/raw?path=late.txt", { body });
      await writer.write(Buffer.from("first "));
      await wait(300);
      for (let time = 0; time < 2; time += 1) {
        subject.kill("SIGHUP");
        await wait(300);
      }
      await expect(send(subject, "GET", "/health")).rejects.toThrow();
      await writer.write(Buffer.from("and last"));
      await writer.close();
      expect((await upload).status).toBe(201);
      expect(await readFile(join(subject.workspace, "late.txt"), "utf8")).toBe("first and last");
      // Once more: it is none too many.
      expect(await subject.stop("SIGHUP")).toEqual({ code: 0 });
    },
  );

  it("is told by a watch what other programs write", async () => {
    const subject = await runtime.start();
    try {
      const { json } = await send(subject, "POST", "~/files/sessions", { json: {} });
      const { id } = json["session"] as { id: string };
      const page = await send(subject, "GET", `/files/sessions/${id}/catalog/snapshot`);
      await mkdir(join(subject.workspace, "made"));
      await writeFile(join(subject.workspace, "made/elsewhere.txt"), "by another program");
      let since = Number(page.json["cursor"]);
      const told: string[] = [];
      while (!told.includes("made/elsewhere.txt")) {
        const events = await send(
          subject,
          "GET",
          `/files/sessions/${id}/catalog/events?since=${since}&wait=20`,
        );
        const items = events.json["items"] as { path: string }[];
        // A wait that ends without a word has seen nothing in twenty seconds.
        expect(items).not.toEqual([]);
        told.push(...items.map(({ path }) => path));
        since = Number(events.json["cursor"]);
      }
      // Looking for itself at each request is what it does where there is no watch.
      expect(subject.log()).not.toContain("Cannot watch");
    } finally {
      await subject.stop();
    }
  });

  it("logs what a client did not wait for as such, not as the answer that nobody got", async () => {
    const subject = await runtime.start({ approval: "manual", env: { OPENWORK_LOG_FORMAT: "json" } });
    const logged = (): unknown[] =>
      subject
        .log()
        .split("\n")
        .filter((line) => line.includes('"aborted":true'))
        .map((line) => {
          const { body, attributes } = JSON.parse(line) as Record<string, Record<string, unknown>>;
          return [String(body).replace(/ \d+ms$/, ""), attributes?.["status"]];
        });
    try {
      const [write, poll] = [new AbortController(), new AbortController()];
      const writing = send(subject, "POST", "~/plugins", { json: { spec: "left" }, signal: write.signal });
      let cursor: unknown;
      const waiting = async (): Promise<unknown> => {
        const { json } = await send(subject, "GET", "/approvals?wait=0", { host: true });
        ({ cursor } = json);
        return json["items"];
      };
      await expect.poll(waiting, patient).toHaveLength(1);
      const path = `/approvals?wait=50&since=${String(cursor)}`;
      const polling = send(subject, "GET", path, { host: true, signal: poll.signal });
      await wait(300);
      // The poll first: that the write was withdrawn would be news to it.
      poll.abort();
      await expect(polling).rejects.toThrow();
      await expect.poll(logged, patient).toEqual([["GET /approvals 499", 499]]);
      write.abort();
      await expect(writing).rejects.toThrow();
      const left = `POST /workspace/${subject.id}/plugins 499`;
      await expect.poll(() => logged().at(-1), patient).toEqual([left, 499]);
      expect(subject.log()).not.toMatch(/plugins 409/);
    } finally {
      await subject.stop();
    }
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
