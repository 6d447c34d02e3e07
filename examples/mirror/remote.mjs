// Requests to the server.
import { say } from "./local.mjs";

const [url, token, workspace] = process.argv.slice(2);
const files = `/workspace/${workspace}/files`;
let session;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
/** Where the bytes of a file are. */
export const raw = (path) => `${files}/raw?path=${encodeURIComponent(path)}`;

/** One request; waits when the server is busy or starting. Answers outside of `also` and 2xx throw. */
export async function call(method, path, { json, also = [], ...init } = {}) {
  const headers = { authorization: `Bearer ${token}`, ...init.headers };
  if (json) headers["content-type"] = "application/json";
  for (let attempt = 1; ; attempt += 1) {
    const body = json ? JSON.stringify(json) : init.body;
    const response = await fetch(url + path, { method, headers, body }).catch((error) => error);
    if (response.ok || also.includes(response.status)) return response;
    const busy = response instanceof Error || [429, 503].includes(response.status);
    const text = response instanceof Error ? String(response.cause ?? response) : await response.text();
    if (!busy || attempt === 10) throw new Error(`${method} ${path}: ${response.status ?? ""} ${text}`);
    await sleep(1000 * (Number(response.headers?.get("retry-after")) || attempt));
  }
}

/** A request of the file session; opens one when there is none, or it has ended. */
export async function ask(method, path, json) {
  for (;;) {
    session ??= (await (await call("POST", `${files}/sessions`, { json: {} })).json()).session.id;
    const response = await call(method, `/files/sessions/${session}${path}`, { json, also: [404] });
    if (response.ok) return response.json();
    session = undefined;
  }
}

/** Puts events into a queue as they come, `null` where some are gone; connects again where it was cut. */
export async function listen(cursor, queue) {
  for (;;) {
    const headers = { accept: "text/event-stream", "last-event-id": String(cursor) };
    const { body } = await call("GET", `${files}/events`, { headers });
    try {
      let text = "";
      for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
        const blocks = (text + chunk).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const field = (name) => new RegExp(`^${name}: ?(.*)$`, "m").exec(block)?.[1];
          if (field("data") === undefined) continue;
          cursor = field("id");
          if (field("event") === "reset") queue.push(null);
          else if (field("event") !== "ready") queue.push(JSON.parse(field("data")));
        }
      }
    } catch (error) {
      say("reconnecting", url, error.message);
    }
    await sleep(1000);
  }
}
