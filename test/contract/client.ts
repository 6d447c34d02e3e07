import { connect } from "node:net";
import { clientToken, hostToken, type Json } from "../support/server.ts";
import type { Subject } from "./subject.ts";

/** A whole answer. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  json: Json;
}

/** What a request may carry. */
export interface Sending {
  /** Bearer token; the client token unless told otherwise, null for none. */
  token?: string | null;
  /** Sends the host token. */
  host?: boolean;
  json?: unknown;
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** The request, not yet read. `~` at the start of the path stands for `/workspace/<id>`. */
export function open(
  subject: Subject,
  method: string,
  path: string,
  sending: Sending = {},
): Promise<Response> {
  const token = sending.token === undefined ? clientToken : sending.token;
  const body = sending.json === undefined ? sending.body : JSON.stringify(sending.json);
  return fetch(subject.url + path.replace(/^~/, `/workspace/${subject.id}`), {
    method,
    redirect: "manual",
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(sending.host ? { "x-openwork-host-token": hostToken } : {}),
      ...subject.headers,
      ...sending.headers,
    },
    ...(body === undefined ? {} : { body, duplex: "half" }),
    ...(sending.signal ? { signal: sending.signal } : {}),
  } as RequestInit);
}

/** Sends and reads the whole answer. */
export async function send(
  subject: Subject,
  method: string,
  path: string,
  sending?: Sending,
): Promise<Answer> {
  const response = await open(subject, method, path, sending);
  const text = await response.text();
  let json: Json = {};
  try {
    json = JSON.parse(text) as Json;
  } catch {
    // Not every answer is JSON.
  }
  return { status: response.status, headers: response.headers, text, json };
}

/** Sends bytes over a plain connection and returns what came back until it closed or was silent for a while. */
export function sendRaw(subject: Subject, text: string, silenceMs = 1000): Promise<string> {
  const { hostname, port } = new URL(subject.url);
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(Number(port), hostname);
    const done = (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(silenceMs, done);
    socket.on("data", (chunk) => (answer += chunk.toString("latin1")));
    socket.on("error", done).on("close", done);
    socket.write(text);
  });
}

export const wait = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
