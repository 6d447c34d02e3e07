import { createClient, OpenWorkError, type Client } from "../../client/index.ts";

/** Where the scenario finds its server, and what its runtime cannot do. */
export interface Stage {
  /** Address of the {@link startFlaky} proxy. */
  url: string;
  token: string;
  hostToken: string;
  /** Browsers upload a stream over HTTP/2 only. */
  noStreamUpload?: boolean;
}

/** What was seen; every runtime must see the same. */
export type Report = Record<string, unknown>;

/** Uses the client against a real server, and tells what came of it. Runs as one script, wherever `fetch` is. */
export async function scenario(stage: Stage): Promise<Report> {
  const client = createClient({ ...stage, clientId: "scenario", retryDelayMs: 20 });
  const id = (await client.request("GET /workspaces")).activeId ?? "";
  const leaving = new AbortController();
  const allowed = allowAll(client, leaving.signal);
  const report = {
    retried: await retried(client),
    errors: await errors(stage, client, id),
    uploads: await uploads(client, id, stage.noStreamUpload ?? false),
    poll: await longPoll(client, id),
    events: await events(client, id),
  };
  const aborted = performance.now();
  leaving.abort();
  const asked = await allowed;
  return { ...report, asked: asked > 3, leftAtOnce: performance.now() - aborted < 2000 };
}

/** The host: follows what waits, and allows it. Ends when the signal aborts, in the middle of a long poll. */
async function allowAll(client: Client, signal: AbortSignal): Promise<number> {
  let count = 0;
  for await (const { items } of client.approvals({ signal })) {
    for (const { id } of items) {
      const params = { approvalId: id };
      await client.request("POST /approvals/:approvalId", { params, body: { reply: "allow" } });
      count += 1;
    }
  }
  return count;
}

const failure = async (call: Promise<unknown>): Promise<unknown> => {
  const error: unknown = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof OpenWorkError)) return `not an OpenWorkError: ${String(error)}`;
  return [error.name, error.code, error.status, error.message.length > 10, error.isPassing];
};

/** The first answers to these two are a 503 and a broken connection. */
async function retried(client: Client): Promise<unknown> {
  const { schemaVersion } = await client.request("GET /capabilities");
  return [schemaVersion, await failure(client.request("POST /tokens", { body: { scope: "viewer" } }))];
}

async function errors(stage: Stage, client: Client, id: string): Promise<unknown> {
  const stranger = createClient({ url: stage.url, token: "wrong", retries: 0 });
  const nobody = createClient({ url: "http://127.0.0.1:1", retries: 0 });
  return [
    await failure(stranger.request("GET /status")),
    await failure(nobody.request("GET /health")),
    await failure(client.request("GET /workspace/:id/skills/:name", { params: { id, name: "none" } })),
    await failure(client.request("POST /workspace/:id/plugins", { params: { id }, body: { spec: "" } })),
  ];
}

async function uploads(client: Client, id: string, noStream: boolean): Promise<unknown> {
  const put = async (path: string, body: BodyInit): Promise<number> => {
    const query = { path };
    return (await client.request("PUT /workspace/:id/files/raw", { params: { id }, query, body })).bytes;
  };
  const read = async (path: string): Promise<string> =>
    (await client.request("GET /workspace/:id/files/raw", { params: { id }, query: { path } })).text();
  const text = new Blob(["a stream of two"]).stream();
  const sizes = [
    await put("bytes.bin", new Uint8Array([1, 2, 255])),
    await put("data.json", new Blob(['{"a":1}'])),
    noStream ? 15 : await put("stream.txt", text),
  ];
  const form = new FormData();
  form.append("file", new Blob(["in the box"]), "größe.txt");
  const { path, bytes } = await client.request("POST /workspace/:id/inbox", { params: { id }, body: form });
  const binary = await client.request("GET /workspace/:id/files/raw", {
    params: { id },
    query: { path: "bytes.bin" },
  });
  return [sizes, path, bytes, await read("data.json"), [...new Uint8Array(await binary.arrayBuffer())]];
}

/** Workspace events arrive while they are waited for. */
async function longPoll(client: Client, id: string): Promise<unknown> {
  const signal = AbortSignal.timeout(20_000);
  const following = client.events(id, { signal });
  const next = following.next();
  // The poll is under way by then, or begins at a cursor from before the change.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const body = { opencode: { theme: "dark" } };
  await client.request("PATCH /workspace/:id/config", { params: { id }, body });
  const page = await next;
  await following.return(undefined);
  return page.done ? [] : page.value.items.map(({ reason }) => reason);
}

/** File events, over a connection that breaks after the first one: none is lost, none comes twice. */
async function events(client: Client, id: string): Promise<unknown> {
  const leaving = new AbortController();
  const seen: unknown[] = [];
  const write = (path: string): Promise<unknown> =>
    client.request("PUT /workspace/:id/files/raw", { params: { id }, query: { path }, body: path });
  const writing = (async () => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (const path of ["one.txt", "two.txt", "three.txt"]) await write(path);
  })();
  const ids = new Set<string | undefined>();
  for await (const event of client.fileEvents(id, { signal: leaving.signal })) {
    const { path } = event.data as { path?: string };
    if (path === undefined || !/^(one|two|three)\.txt$/.test(path)) continue;
    if (ids.has(event.id)) seen.push("twice");
    ids.add(event.id);
    if (seen.at(-1) !== path) seen.push(path);
    if (path === "three.txt") leaving.abort();
  }
  await writing;
  return seen;
}
