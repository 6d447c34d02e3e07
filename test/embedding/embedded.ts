import { expect } from "vitest";
import { openSocket } from "../support/websocket.ts";

/** What sends a request to an embedded server; `url` is that of the whole program. */
export type Ask = (path: string, init?: RequestInit) => Promise<Response>;

const client = { authorization: "Bearer a-client-token" };
const host = { "x-openwork-host-token": "a-host-token" };

/** What holds for every way to embed: the program's own pages stay, and all links lead below the base path. */
export async function expectEmbedded(ask: Ask, options: { ownPage: boolean }): Promise<void> {
  if (options.ownPage) expect(await (await ask("/")).text()).toBe("your own page");
  expect(await (await ask("/agent/health")).json()).toMatchObject({ ok: true });
  expect((await ask("/agent/whoami")).status).toBe(401);
  const status = (await (await ask("/agent/status", { headers: client })).json()) as {
    activeWorkspaceId: string;
  };
  const id = status.activeWorkspaceId;

  for (const at of ["/agent/ui", `/agent/w/${id}/ui`]) {
    const page = await (await ask(at)).text();
    const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = ""]) => link);
    expect(links.length).toBeGreaterThan(2);
    for (const link of new Set(links)) {
      const { pathname } = new URL(link, `http://x${at}`);
      expect(pathname).toMatch(/^\/agent\/ui\/assets\//);
      const asset = await ask(pathname);
      expect(asset.status, link).toBe(200);
      await asset.text();
    }
  }

  const asked = await ask(`/agent/workspace/${id}/plugins`, {
    method: "POST",
    headers: { ...client, prefer: "respond-async" },
    body: JSON.stringify({ spec: "embedded" }),
  });
  expect(asked.status, await asked.clone().text()).toBe(202);
  const location = asked.headers.get("location") ?? "";
  expect(location).toMatch(/^\/agent\/requests\//);
  const { items } = (await (await ask("/agent/approvals", { headers: host })).json()) as {
    items: { id: string }[];
  };
  const allowed = await ask(`/agent/approvals/${items[0]?.id ?? ""}`, {
    method: "POST",
    headers: host,
    body: '{"reply":"allow"}',
  });
  expect(await allowed.json()).toEqual({ ok: true, allowed: true });
  const answer = await ask(`${location}?wait=10`, { headers: client });
  expect(await answer.json()).toMatchObject({ items: [{ spec: "embedded" }] });
}

/** How a browser sends a token. */
const protocols = (token: string): string[] => ["openwork", `openwork.bearer.${token}`];

/** A terminal through a program with an engine, as a browser opens one: by the host's leave, and not without a token. */
export async function expectTerminal(url: string): Promise<void> {
  const address = `${url}/agent/opencode/pty/p1/connect`;
  expect(await openSocket(address, { protocols: protocols("nonsense") })).toMatchObject({
    status: 401,
    json: { code: "unauthorized" },
  });
  const opening = openSocket(address, { protocols: protocols("a-client-token") });
  const pending = async (): Promise<{ id: string }[]> => {
    const answer = await fetch(`${url}/agent/approvals`, { headers: host });
    return ((await answer.json()) as { items: { id: string }[] }).items;
  };
  await expect.poll(pending).toHaveLength(1);
  const [asked] = await pending();
  await fetch(`${url}/agent/approvals/${asked?.id ?? ""}`, {
    method: "POST",
    headers: host,
    body: '{"reply":"allow"}',
  });
  const opened = await opening;
  if (!opened.socket) throw new Error(`answered ${opened.status} ${JSON.stringify(opened.json)}`);
  expect(opened.socket.protocol).toBe("openwork");
  opened.socket.send("hello");
  await opened.inbox.until("heard hello");
  opened.socket.send("bye");
  expect(await opened.inbox.closed).toEqual({ code: 4001, reason: "so long" });
}
