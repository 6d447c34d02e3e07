import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApprovalStore, type ApprovalQuestion } from "../../lib/approvals.ts";
import {
  type Client,
  clientToken,
  configOf,
  type Exchange,
  hostToken,
  put,
  startMemoryServer,
  textOf,
  workspaceAt,
} from "../support/memory-host.ts";

const asHost = { host: true, token: null } as const;
const manual = configOf({ approval: { mode: "manual", timeoutMs: 20_000 } });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

async function issue(client: Client, scope: string): Promise<{ id: string; token: string }> {
  return (await client.post("/tokens", { scope }, asHost)).json;
}

/** A signal that reports how many listeners came and went. */
function counted(signal: AbortSignal, change: (by: number) => void): AbortSignal {
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    change(1);
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    change(-1);
    remove(...args);
  };
  return signal;
}

async function pending(client: Client, base = ""): Promise<Exchange["json"]> {
  return (await client.get(`${base}/approvals?wait=5`, asHost)).json.items[0];
}

describe("missing auth (revoked): a token that is revoked while its request is held", () => {
  it("learns nothing more from the event feed", async () => {
    const { client, workspace, handler } = await startMemoryServer();
    const viewer = await issue(client, "viewer");
    const path = `/workspace/${workspace}/events`;
    const { cursor } = (await client.get(path)).json;
    const poll = client.get(`${path}?wait=5&since=${cursor}`, { token: viewer.token });
    await sleep(150);
    await client.delete(`/tokens/${viewer.id}`, asHost);
    await client.post(`/workspace/${workspace}/commands`, { name: "secret-name", template: "x" });
    const answer = await poll;
    expect(answer).toMatchObject({ status: 401, json: { code: "unauthorized" } });
    expect(answer.text).not.toContain("secret-name");
    await handler.close();
  });

  it("sees no more approvals, which carry diffs", async () => {
    const { client, workspace, handler } = await startMemoryServer(manual);
    const owner = await issue(client, "owner");
    const poll = client.get("/approvals?wait=5", { token: owner.token });
    await sleep(150);
    await client.delete(`/tokens/${owner.id}`, asHost);
    const write = client.post(`/workspace/${workspace}/plugins`, { spec: "hidden" });
    const answer = await poll;
    expect(answer.status).toBe(401);
    expect(answer.text).not.toContain("hidden");
    await handler.close();
    await write;
  });

  describe.each(["revoked token", "deleted workspace"])("a body that arrives slowly (%s)", (gone) => {
    it.each([
      ["PUT", "/files/raw?path=late", {}, "bytes"],
      [
        "POST",
        "/inbox",
        { "content-type": "multipart/form-data; boundary=B" },
        '--B\r\nContent-Disposition: form-data; name="file"; filename="late"\r\n\r\nx\r\n--B--\r\n',
      ],
      ["POST", "/files/content", {}, '{"path": "late.md", "content": "x"}'],
    ])("changes nothing: %s %s", async (method, path, headers, text) => {
      const { client, workspace, storage, handler } = await startMemoryServer();
      const writer = await issue(client, "collaborator");
      const bytes = new TextEncoder().encode(text);
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
      const sending = writable.getWriter();
      void sending.write(bytes.subarray(0, 5));
      const authorization = `Bearer ${writer.token}`;
      const init = { method, headers: { ...headers, authorization }, body: readable, duplex: "half" };
      const answer = handler(new Request(`http://server.test/workspace/${workspace}${path}`, init));
      await sleep(150);
      const isToken = gone === "revoked token";
      await client.delete(isToken ? `/tokens/${writer.id}` : `/workspaces/${workspace}`, asHost);
      void sending.write(bytes.subarray(5)).then(() => sending.close());
      const { status } = await answer;
      expect(status).toBe(isToken ? 401 : 404);
      const left: string[] = [];
      for await (const batch of storage.walk("")) for (const entry of batch) left.push(entry.path);
      expect(left.filter((name) => name.includes("late"))).toEqual([]);
      await handler.close();
    });
  });

  it("a token that stays valid is answered after the same wait", async () => {
    const { client, workspace, handler } = await startMemoryServer();
    const viewer = await issue(client, "viewer");
    const poll = client.get(`/workspace/${workspace}/events?wait=5`, { token: viewer.token });
    await sleep(150);
    await client.post(`/workspace/${workspace}/commands`, { name: "seen", template: "x" });
    expect((await poll).json.items).toHaveLength(1);
    await handler.close();
  });
});

describe("exhaustion: what waits", () => {
  const question: ApprovalQuestion = {
    workspaceId: "ws_1",
    action: "a",
    summary: "s",
    paths: [],
    actor: { type: "remote", tokenHash: "aa", scope: "collaborator" },
    diff: "",
  };
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("a deadline longer than timers count does not ring at once", async () => {
    const store = new ApprovalStore({ timeoutMs: 3_000_000_000, perToken: 3, total: 3 });
    let decision = "";
    void store.ask(question, new AbortController().signal).then((verdict) => (decision = verdict.decision));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(decision).toBe("");
    store.close();
  });

  it("a cursor from an earlier life of the server never hides a request", async () => {
    const before = new ApprovalStore({ timeoutMs: 1000, perToken: 3, total: 3 });
    void before.ask(question, new AbortController().signal);
    const { cursor } = before.list();
    before.close();
    await vi.advanceTimersByTimeAsync(10);
    const after = new ApprovalStore({ timeoutMs: 60_000, perToken: 3, total: 3 });
    void after.ask(question, new AbortController().signal);
    const page = after.wait(cursor, 50_000, new AbortController().signal);
    await vi.advanceTimersByTimeAsync(1);
    expect((await page).items).toHaveLength(1);
    after.close();
  });

  it("a stopping server takes no more requests that would hold it up", () => {
    const store = new ApprovalStore({ timeoutMs: 1000, perToken: 3, total: 3 });
    store.close();
    expect(() => store.ask(question, new AbortController().signal)).toThrow(
      expect.objectContaining({ code: "shutting_down", status: 503 }),
    );
  });
});

describe("exhaustion: thousands of polls and large writes", () => {
  it("opencode#17628: a thousand polls that were given up leave no listener behind", async () => {
    const { client, workspace, handler } = await startMemoryServer();
    await client.get(`/workspace/${workspace}/events`);
    let listeners = 0;
    let heard = 0;
    for (let i = 0; i < 1000; i += 1) {
      const gone = new AbortController();
      const path = i % 2 ? "/approvals?wait=50" : `/workspace/${workspace}/events?wait=50`;
      const headers = { authorization: `Bearer ${clientToken}`, "x-openwork-host-token": hostToken };
      const request = new Request(`http://server.test${path}`, { headers });
      // The very signal that the handler waits on, so that its listeners can be counted.
      Object.defineProperty(request, "signal", {
        value: counted(gone.signal, (change) => (listeners += change)),
      });
      const poll = handler(request);
      await vi.waitUntil(() => listeners > 0, { interval: 1 });
      heard += listeners;
      gone.abort();
      await poll;
      expect(listeners).toBe(0);
    }
    expect(heard).toBe(1000);
    await handler.close();
  });

  it("I33: new contents that wait for the host are limited in bytes, not only in number", async () => {
    const { client, workspace, handler } = await startMemoryServer(manual);
    const content = "x".repeat(900_000);
    const skills = Array.from({ length: 14 }, (_, i) => ({ name: `s${i}`, description: "d", content }));
    const large = { json: { skills } };
    const answers = Array.from({ length: 8 }, () =>
      client.send("POST", `/workspace/${workspace}/import`, large),
    );
    const first = await Promise.race(answers);
    expect(first).toMatchObject({ status: 429, json: { code: "too_many_requests" } });
    expect(Number(first.headers.get("retry-after"))).toBeGreaterThan(0);
    await expect
      .poll(async () => (await client.get("/approvals", asHost)).json.items.length)
      .toBeLessThanOrEqual(5);
    const small = client.post(`/workspace/${workspace}/plugins`, { spec: "small" });
    await expect.poll(async () => (await client.get("/approvals", asHost)).text).toContain("plugins.add");
    await handler.close();
    await Promise.all([...answers, small]);
  });

  it("I33: a flood of one token is 429 with Retry-After, and another token is still heard", async () => {
    const { client, workspace, handler } = await startMemoryServer(manual);
    const path = `/workspace/${workspace}/plugins`;
    const other = await issue(client, "collaborator");
    const flood = Array.from({ length: 70 }, (_, i) => client.post(path, { spec: `p${i}` }));
    const refused = await Promise.race(flood);
    expect(refused).toMatchObject({ status: 429, json: { code: "too_many_requests" } });
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    const heard = client.post(path, { spec: "heard" }, { token: other.token });
    await expect.poll(async () => (await client.get("/approvals", asHost)).text).toContain('\\"heard\\"');
    await handler.close();
    const done = await Promise.all(flood);
    expect(done.filter((answer) => answer.status === 429)).toHaveLength(6);
    await heard;
  });
});

describe("I70: mounts and what waits", () => {
  const config = configOf({
    workspaces: [workspaceAt("/a"), workspaceAt("/b")],
    approval: { mode: "manual", timeoutMs: 20_000 },
  });

  it("a mount neither shows nor answers another workspace's approvals, nor its deferred answers", async () => {
    const { client, host, handler } = await startMemoryServer(config);
    const [a = "", b = ""] = config.workspaces.map((workspace) => workspace.id);
    const accepted = await client.send("POST", `/w/${a}/workspace/${a}/plugins`, {
      json: { spec: "one" },
      headers: { prefer: "respond-async" },
    });
    const location = accepted.headers.get("location") ?? "";
    expect(accepted.status).toBe(202);
    expect(location).toBe(`/w/${a}/requests/${accepted.json.requestId}`);
    const request = await pending(client);
    expect((await client.get(`/w/${b}/approvals?wait=0`, asHost)).json.items).toEqual([]);
    const wrong = await client.post(`/w/${b}/approvals/${request.id}`, { reply: "allow" }, asHost);
    expect(wrong).toMatchObject({ status: 404, json: { code: "approval_not_found" } });
    expect((await client.get(location.replace(a, b))).status).toBe(404);
    expect((await client.get(location)).status).toBe(202);
    await client.post(`/w/${a}/approvals/${request.id}`, { reply: "allow" }, asHost);
    expect((await client.get(`${location}?wait=5`)).json.items).toMatchObject([{ spec: "one" }]);
    const storage = host.storages.get(a);
    expect(storage && (await textOf(storage, "opencode.jsonc"))).toContain("one");
    await handler.close();
  });

  it("I31: a deferred write of a revoked token is never applied, and its answer is for nobody", async () => {
    const { client, workspace, storage, handler } = await startMemoryServer(manual);
    const token = await issue(client, "collaborator");
    const accepted = await client.post(
      `/workspace/${workspace}/plugins`,
      { spec: "one" },
      { token: token.token, headers: { prefer: "wait=1, Respond-Async; x=y" } },
    );
    const location = accepted.headers.get("location") ?? "";
    const request = await pending(client);
    expect((await client.get(location)).status).toBe(404);
    await client.delete(`/tokens/${token.id}`, asHost);
    expect((await client.post(`/approvals/${request.id}`, { reply: "allow" }, asHost)).status).toBe(404);
    expect((await client.get(location, { token: token.token })).status).toBe(401);
    expect(await storage.stat("opencode.jsonc")).toBeNull();
    await handler.close();
  });

  it("a refusal before the host is asked is answered at once, also when asynchrony is preferred", async () => {
    const { client, workspace, handler } = await startMemoryServer(manual);
    const headers = { prefer: "respond-async" };
    const bad = await client.post(`/workspace/${workspace}/plugins`, { spec: " " }, { headers });
    expect(bad).toMatchObject({ status: 400, json: { code: "invalid_plugin_spec" } });
    const read = await client.send("HEAD", `/workspace/${workspace}/plugins`, { headers });
    expect(read.status).toBe(200);
    await handler.close();
  });
});

describe("approvals and their audit", () => {
  it("CVE-2025-52901: the host token stands in no answer of approvals, audit or tokens", async () => {
    const { client, workspace, storage, host } = await startMemoryServer();
    await put(storage, "opencode.jsonc", "{}\n");
    await client.post(`/workspace/${workspace}/plugins`, { spec: "one" });
    const token = await issue(client, "owner");
    const texts = await Promise.all(
      ["/approvals", "/audit", "/tokens", "/status", `/workspace/${workspace}/audit`].map(
        async (path) => (await client.get(path, { host: true })).text,
      ),
    );
    const all = texts.join() + JSON.stringify(host.logged) + (await textOf(host.data, "audit/server.jsonl"));
    for (const secret of [hostToken, "client-token", token.token]) expect(all).not.toContain(secret);
  });
});
