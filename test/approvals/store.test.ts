import { setMaxListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApprovalStore, type ApprovalQuestion } from "../../lib/approvals.ts";
import type { Actor } from "../../lib/caller.ts";

const caller: Actor = { type: "remote", tokenHash: "aa", scope: "collaborator" };
const host: Actor = { type: "host", tokenHash: "hh", scope: "owner" };
const other: Actor = { type: "remote", tokenHash: "oo", scope: "owner" };
const limits = { timeoutMs: 30_000, perToken: 3, total: 5 };
const never = new AbortController().signal;
setMaxListeners(0, never);

function question(extra: Partial<ApprovalQuestion> = {}): ApprovalQuestion {
  return {
    workspaceId: "ws_1",
    action: "plugins.add",
    summary: "Add x",
    paths: ["/ws/a"],
    actor: caller,
    diff: "+x",
    ...extra,
  };
}

describe("the approval store", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("lists what waits with diff and deadline, and the reply decides", async () => {
    const store = new ApprovalStore(limits);
    const verdict = store.ask(question(), never);
    const [request] = store.list().items;
    expect(request).toMatchObject({ action: "plugins.add", diff: "+x" });
    expect((request?.expiresAt ?? 0) - (request?.createdAt ?? 0)).toBe(30_000);
    expect(store.answer(request?.id ?? "", true, host)).toBe(true);
    expect(await verdict).toMatchObject({ decision: "allowed", by: host });
    expect(store.list().items).toEqual([]);
  });

  it("the first reply wins: another word or another host gets 409, the same host repeating itself 404", async () => {
    const store = new ApprovalStore(limits);
    const verdict = store.ask(question(), never);
    const id = store.list().items[0]?.id ?? "";
    store.answer(id, true, host);
    await verdict;
    expect(() => store.answer(id, false, host)).toThrow(
      expect.objectContaining({ code: "approval_answered", status: 409 }),
    );
    expect(() => store.answer(id, true, other)).toThrow(
      expect.objectContaining({ code: "approval_answered" }),
    );
    expect(() => store.answer(id, true, host)).toThrow(
      expect.objectContaining({ code: "approval_not_found" }),
    );
  });

  it("times out, and a late reply finds nothing", async () => {
    const store = new ApprovalStore(limits);
    const verdict = store.ask(question(), never);
    const id = store.list().items[0]?.id ?? "";
    await vi.advanceTimersByTimeAsync(30_001);
    expect((await verdict).decision).toBe("timeout");
    expect(() => store.answer(id, true, host)).toThrow(
      expect.objectContaining({ code: "approval_not_found" }),
    );
  });

  it("I31: a caller that goes away withdraws, and a revoked token ends its requests alone", async () => {
    const store = new ApprovalStore(limits);
    const gone = new AbortController();
    const left = store.ask(question(), gone.signal);
    const revoked = store.ask(question({ actor: { ...caller, tokenHash: "bb" } }), never);
    const stays = store.ask(question(), never);
    gone.abort();
    expect((await left).decision).toBe("withdrawn");
    store.withdrawToken("bb");
    expect((await revoked).decision).toBe("revoked");
    expect(store.list().items).toHaveLength(1);
    store.close();
    expect((await stays).decision).toBe("withdrawn");
  });

  it("I33: pending requests are capped per token and in all, with 429 and Retry-After", () => {
    const store = new ApprovalStore(limits);
    for (let i = 0; i < 3; i += 1) void store.ask(question(), never);
    const tooMany = expect.objectContaining({
      code: "too_many_requests",
      status: 429,
      headers: { "retry-after": "30" },
    });
    expect(() => store.ask(question(), never)).toThrow(tooMany);
    for (let i = 0; i < 2; i += 1) void store.ask(question({ actor: { ...caller, tokenHash: "cc" } }), never);
    expect(() => store.ask(question({ actor: { ...caller, tokenHash: "dd" } }), never)).toThrow(tooMany);
    store.close();
  });

  it("a long poll never misses what came between two calls", async () => {
    const store = new ApprovalStore({ ...limits, perToken: 100, total: 100 });
    let { cursor } = store.list();
    for (let i = 0; i < 20; i += 1) {
      void store.ask(question({ summary: `n${i}` }), never);
      const page = await store.wait(cursor, 50_000, never);
      expect(page.items.at(-1)?.summary).toBe(`n${i}`);
      ({ cursor } = page);
    }
    store.close();
  });

  it("a long poll holds until there is news, and ends in time without any", async () => {
    const store = new ApprovalStore(limits);
    const first = store.wait(null, 5_000, never);
    await vi.advanceTimersByTimeAsync(1_000);
    void store.ask(question(), never);
    expect((await first).items).toHaveLength(1);
    const { cursor } = store.list();
    const quiet = store.wait(cursor, 5_000, never);
    await vi.advanceTimersByTimeAsync(5_001);
    expect((await quiet).items).toHaveLength(1);
    store.close();
  });

  it("leaves no listener on a caller's signal behind", async () => {
    const store = new ApprovalStore(limits);
    const controller = new AbortController();
    const removed = vi.spyOn(controller.signal, "removeEventListener");
    const added = vi.spyOn(controller.signal, "addEventListener");
    const verdict = store.ask(question(), controller.signal);
    store.answer(store.list().items[0]?.id ?? "", false, host);
    await verdict;
    expect(removed.mock.calls.length).toBe(added.mock.calls.length);
  });
});
