import { createHash } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { freshDirectory, startServer, type TestServer } from "../support/server.ts";

interface Created {
  id: string;
  token: string;
  scope: string;
}

const clients = 50;
const scopes = ["viewer", "collaborator", "owner"] as const;
const numbers: readonly number[] = Array.from({ length: clients }, (_, index) => index);

let home: string;
let server: TestServer;

beforeEach(async () => {
  home = await freshDirectory("home");
  server = await startServer({ home });
});

afterEach(async () => {
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

async function create(n: number): Promise<Created> {
  const { status, json } = await server.request<Created>("POST", "/tokens", {
    host: true,
    json: { scope: scopes[n % scopes.length], label: `token ${n}` },
  });
  expect(status).toBe(201);
  return json;
}

async function revoke({ id }: Created): Promise<void> {
  expect((await server.request("DELETE", `/tokens/${id}`, { host: true })).status).toBe(200);
}

const hashOf = ({ token }: Created): string => createHash("sha256").update(token).digest("hex");
const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);

async function statusOf({ token }: Created): Promise<number> {
  return (await server.request("GET", "/whoami", { token })).status;
}

/** What the store on disk and the running server say about tokens that should work and tokens that should not. */
async function expectTokens(valid: readonly Created[], revoked: readonly Created[]): Promise<void> {
  const text = await readFile(join(home, ".config/openwork/tokens.json"), "utf8");
  const store = JSON.parse(text) as { tokens: { id: string; hash: string; scope: string }[] };
  expect(store.tokens.map(({ id, hash, scope }) => ({ id, hash, scope })).toSorted(byId)).toEqual(
    valid.map((created) => ({ id: created.id, hash: hashOf(created), scope: created.scope })).toSorted(byId),
  );
  const listed = await server.request<{ items: { id: string }[] }>("GET", "/tokens", { host: true });
  expect(listed.json.items.map(({ id }) => id)).toEqual(store.tokens.map(({ id }) => id));
  expect(new Set(await Promise.all(valid.map(statusOf)))).toEqual(new Set(valid.length > 0 ? [200] : []));
  expect(new Set(await Promise.all(revoked.map(statusOf)))).toEqual(new Set(revoked.length > 0 ? [401] : []));
}

async function restart(): Promise<void> {
  const { workspace } = server;
  await server.stop();
  server = await startServer({ home, workspace });
}

describe("many token writes at once (I21)", () => {
  test("all are stored, work, and go on working after a restart", async () => {
    const created = await Promise.all(numbers.map(create));
    await expectTokens(created, []);
    await restart();
    await expectTokens(created, []);
  });

  test("creations and revocations in a storm: memory, disk and a restarted server agree", async () => {
    const first = await Promise.all(numbers.map(create));
    const doomed = first.filter((_, index) => index % 2 === 0);
    const kept = first.filter((_, index) => index % 2 === 1);
    const [second] = await Promise.all([
      Promise.all(numbers.map((n) => create(n + clients))),
      Promise.all(doomed.map(revoke)),
      Promise.all(
        numbers.map(async (n) => {
          const brief = await create(n + 2 * clients);
          await revoke(brief);
          expect(await statusOf(brief)).toBe(401);
        }),
      ),
    ]);
    await expectTokens([...kept, ...second], doomed);
    await restart();
    await expectTokens([...kept, ...second], doomed);
  });

  test("two revocations of one token: one does it, the other is told that there is none", async () => {
    const { id } = await create(0);
    const answers = await Promise.all(
      [1, 2, 3].map(() => server.request("DELETE", `/tokens/${id}`, { host: true })),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 404, 404]);
  });
});
