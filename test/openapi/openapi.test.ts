import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createMemoryHost } from "../../adapters/memory-host.ts";
import { createHandler, routes, type Handler } from "../../handlers/index.ts";
import { helpText, settingsMarkdown } from "../../lib/config.ts";
import type { Route } from "../../lib/route.ts";
import { errorStatus } from "../../lib/errors.ts";
import { answerHeaders } from "../../lib/openapi/headers.ts";
import { page } from "../../ui/page.ts";

interface Operation {
  operationId: string;
  responses: Record<string, { headers?: object; content?: Record<string, { schema?: object }> }>;
  requestBody?: { content: Record<string, unknown> };
  parameters?: { $ref?: string }[];
  security: unknown[];
}
interface Description {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: object };
}

let handler: Handler;
let api: Description;
let id: string;
let ajv: Ajv2020;

beforeAll(async () => {
  const host = createMemoryHost({
    settings: { token: "c", hostToken: "h", approval: { mode: "auto" } },
    files: {
      "opencode.jsonc": "{}",
      "notes.md": "# Notes",
      ".opencode/skills/s/SKILL.md": "---\nname: s\ndescription: d\n---\n",
      ".opencode/commands/c.md": "go",
    },
  });
  id = host.config.workspaces[0]?.id ?? "";
  handler = await createHandler(host);
  const response = await handler(new Request("http://server.test/openapi.json"));
  expect(response.status).toBe(200);
  api = (await response.json()) as Description;
  ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: "http://api/", components: api.components });
});
afterAll(() => handler?.close());

const template = (route: Route): string => route.path.replaceAll(/:(\w+)/g, "{$1}").replace(/\*$/, "{rest}");
const own = (): Route[] => routes.filter((route) => route.method !== "ALL");

function operation(route: Route): Operation {
  const found = api.paths[template(route)]?.[route.method.toLowerCase()];
  if (!found) throw new Error(`${route.method} ${route.path} is not described`);
  return found;
}

/** Whether an answer is one that the description allows; null when it is, else what is wrong. */
async function problemOf(route: Route, response: Response): Promise<string | null> {
  const described = operation(route).responses[response.status];
  const text = await response.text();
  if (!described) return `status ${response.status} is not described: ${text.slice(0, 300)}`;
  const type = response.headers.get("content-type")?.split(";")[0];
  const types = Object.keys(described.content ?? {});
  if (type !== undefined && text !== "" && !types.includes(type) && !types.includes("*/*"))
    return `${response.status} comes as ${type}, described is ${types.join()}`;
  const told = Object.keys(described.headers ?? {});
  for (const name of Object.keys(answerHeaders))
    if (response.headers.has(name) && !told.includes(name)) return `${response.status} comes with ${name}`;
  const schema = described.content?.["application/json"]?.schema;
  if (!schema) return null;
  const resolved = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"http://api/#/')) as object;
  const validate: ValidateFunction = ajv.compile(resolved);
  return validate(JSON.parse(text)) ? null : `${ajv.errorsText(validate.errors)}: ${text.slice(0, 300)}`;
}

function request(route: Route, values: Record<string, string>, init: RequestInit = {}, query = ""): Request {
  const path = route.path.replaceAll(/:(\w+)/g, (_, name: string) => values[name] ?? "none");
  return new Request(`http://server.test${path}${query}`, {
    method: route.method,
    ...init,
    headers: { authorization: "Bearer c", "x-openwork-host-token": "h", ...(init.headers as object) },
  });
}

const ask = (host: string): Promise<Response> => handler(new Request(`http://${host}/openapi.json`));

/** How long it takes to do something thirty times, milliseconds. */
async function timed(work: () => unknown): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < 30; i += 1) await work();
  return performance.now() - started;
}

describe("GET /openapi.json", () => {
  it("is valid OpenAPI 3.1", async () => {
    const { valid, errors } = await new Validator().validate(
      structuredClone(api) as unknown as Record<string, unknown>,
    );
    expect(valid, JSON.stringify(errors)?.slice(0, 2000)).toBe(true);
  });

  it("names the address by which its reader sees the server, and is made once for all", async () => {
    for (const host of ["other.test", "third.test:81"]) {
      const text = await (await ask(host)).text();
      expect(JSON.parse(text)).toMatchObject({ servers: [{ url: `http://${host}` }] });
      expect(text).toContain(`http://${host}/w/{mountId}`);
      expect(text).not.toContain("server.test");
      expect(text).not.toContain("server.invalid");
    }
    // Both in one run, so that a slow machine is slow for both.
    const { describeApi } = await import("../../lib/openapi/document.ts");
    const made = await timed(() =>
      JSON.stringify(describeApi({ routes, version: "1", serverUrl: "http://x" })),
    );
    const served = await timed(async () => (await ask("server.test")).text());
    expect(served).toBeLessThan(made / 2);
  });

  it("speaks to people who know neither the ids of our notes nor the contract", () => {
    expect(JSON.stringify(api)).not.toMatch(/\bI\d\d\b|contract/i);
    expect(helpText() + settingsMarkdown() + page("")).not.toMatch(/\bI\d\d\b|contract/i);
  });

  it("describes every route and names every operation once", () => {
    const names = Object.values(api.paths).flatMap((item) =>
      Object.values(item).flatMap((one) => (one.operationId ? [one.operationId] : [])),
    );
    expect(new Set(names).size).toBe(names.length);
    for (const route of own()) {
      const { responses, requestBody, security } = operation(route);
      expect(Object.keys(responses).length, route.path).toBeGreaterThan(1);
      expect(requestBody !== undefined, route.path).toBe(
        route.body !== undefined || route.accepts.length > 0,
      );
      expect(security.length, route.path).toBe({ public: 0, client: 1, host: 2 }[route.access]);
    }
  });

  it("says of every field of a body what is meant, and of every word that it is one", () => {
    const vague: string[] = [];
    const look = (at: string, value: unknown): void => {
      if (value === null || typeof value !== "object") return;
      const { type, enum: words, const: word } = value as Record<string, unknown>;
      if ((words !== undefined || typeof word === "string") && type === undefined) vague.push(at);
      for (const [key, inner] of Object.entries(value)) {
        const isField = at.endsWith("/properties") && at.includes("/requestBody/");
        if (isField && Object.keys(inner as object).length === 0) vague.push(`${at}/${key}`);
        look(`${at}/${key}`, inner);
      }
    };
    look("", api.paths);
    expect(vague).toEqual([]);
  });

  it("tells of the headers that callers go by", () => {
    const raw = api.paths["/workspace/{id}/files/raw"];
    const names = (method: string): string[] =>
      (raw?.[method]?.parameters ?? []).flatMap(({ $ref }) => $ref?.replace(/^.*\//, "") ?? []);
    expect(names("get")).toEqual(expect.arrayContaining(["Range", "If-None-Match", "X-OpenWork-Client-Id"]));
    expect(names("put")).toEqual(expect.arrayContaining(["If-Match", "If-None-Match", "Prefer"]));
    const stream = api.paths["/workspace/{id}/files/events"]?.["get"]?.parameters;
    expect(stream).toContainEqual({ $ref: "#/components/parameters/Last-Event-ID" });
  });

  it("tells every error code that the server has", () => {
    const described = JSON.stringify(api.paths);
    const told = new Set(Object.keys(errorStatus).filter((code) => described.includes(`"${code}"`)));
    // Answered before any route is found, or while nothing is served yet.
    const elsewhere = new Set(["invalid_request", "not_found", "method_not_allowed", "token_store_damaged"]);
    expect(Object.keys(errorStatus).filter((code) => !told.has(code) && !elsewhere.has(code))).toEqual([]);
  });
});

describe("live answers", () => {
  const bodies: Record<string, unknown> = {
    "POST /tokens": { scope: "viewer" },
    "PATCH /workspace/:id/config": { opencode: { model: "a/b" } },
    "POST /workspace/:id/mcp": { name: "m", config: { type: "local", command: ["m"] } },
    "POST /workspace/:id/plugins": { spec: "p" },
    "POST /workspace/:id/skills": { name: "s", content: "# S", description: "d" },
    "POST /workspace/:id/commands": { name: "c", template: "go" },
    "POST /workspace/:id/import": {},
    "POST /workspace/:id/files/content": { path: "a.md", content: "# A" },
    "POST /workspace/:id/files/search": { q: "notes" },
    "POST /workspace/:id/files/sessions": {},
  };
  const queries: Record<string, string> = {
    "GET /workspace/:id/files/content": "?path=notes.md",
    "GET /workspace/:id/files/raw": "?path=notes.md",
    "PUT /workspace/:id/files/raw": "?path=new.md",
    "DELETE /workspace/:id/files/raw": "?path=new.md",
    "GET /workspace/:id/files/stat": "?path=notes.md",
    "GET /workspace/:id/files/search": "?q=notes",
  };
  // What a browser alone is given.
  const accepts: Record<string, string> = { "GET /": "text/html" };
  // Their answers never end, or are not JSON of ours.
  const streams = new Set(["GET /workspace/:id/files/events"]);

  it("of good requests are as described", async () => {
    const problems: string[] = [];
    const succeeded = new Set<string>();
    for (const route of own().filter((one) => one.method !== "DELETE")) {
      const name = `${route.method} ${route.path}`;
      if (streams.has(name)) continue;
      const body = bodies[name] === undefined ? undefined : JSON.stringify(bodies[name]);
      const sent = body ?? (route.body ? "{}" : route.accepts.length > 0 ? "text" : undefined);
      const values = { id, name: "s" };
      const headers = { accept: accepts[name] ?? "*/*" };
      const response = await handler(
        request(route, values, { headers, ...(sent === undefined ? {} : { body: sent }) }, queries[name]),
      );
      if (route.success.includes(response.status)) succeeded.add(name);
      const problem = await problemOf(route, response);
      if (problem) problems.push(`${name}: ${problem}`);
    }
    expect(problems).toEqual([]);
    // Those that need an engine, a router, or an id that only an earlier answer tells.
    const others = own().filter(
      ({ method, path }) => method !== "DELETE" && !succeeded.has(`${method} ${path}`),
    );
    const needsMore = /\/engine|\/opencode-router|Id$|:sid|\/inbox$|events$/;
    expect(others.map(({ path }) => path).filter((path) => !needsMore.test(path))).toEqual([]);
  }, 20_000);

  it("of bad requests are as described", async () => {
    const problems: string[] = [];
    // Without a body to be wrong about, its bad requests are good ones, and those after it would find no workspace.
    for (const route of own().filter(
      ({ method, path }) => `${method} ${path}` !== "DELETE /workspaces/:id",
    )) {
      const name = `${route.method} ${route.path}`;
      if (streams.has(name)) continue;
      const broken = await problemOf(route, await handler(request(route, { id }, {}, "?since=%zz")));
      if (broken && route.query) problems.push(`${name}: ${broken}`);
      const tries: [Record<string, string>, RequestInit][] = [
        [{ id }, { headers: { authorization: "", "x-openwork-host-token": "" } }],
        [{ id: "ws_unknown" }, {}],
        [{ id, name: "%zz", sid: "%zz" }, {}],
        ...(route.body
          ? ([
              [{ id }, { body: "{" }],
              [{ id }, { body: "[]" }],
            ] as [Record<string, string>, RequestInit][])
          : []),
      ];
      for (const [values, init] of tries) {
        const withBody = route.body && !init.body ? { ...init, body: "{}" } : init;
        const problem = await problemOf(route, await handler(request(route, values, withBody)));
        if (problem) problems.push(`${name}: ${problem}`);
      }
    }
    expect(problems).toEqual([]);
  }, 20_000);

  it("of both proxies, where they are the server's own, are as described", async () => {
    const badUrl = { opencode: { baseUrl: "nowhere" } };
    const engine = { opencode: { baseUrl: "http://127.0.0.1:9", directory: "/workspace" } };
    const denied = { approval: { mode: "manual", timeoutMs: 1 } };
    const tries: [settings: object, path: string, code: string, body?: string][] = [
      [badUrl, "/opencode/session", "opencode_url_invalid"],
      [{ ...engine, readOnly: true }, "/opencode/session", "read_only"],
      [{ readOnly: true }, "/opencode-router/send", "read_only"],
      [{}, "/opencode-router/send", "opencodeRouter_unreachable"],
      [{ ...engine, ...denied }, "/opencode/config/x", "write_denied"],
      [{ ...engine, ...denied }, "/opencode/config/x", "body_too_large", "x".repeat(100_000)],
      [engine, "/opencode/api/session", "invalid_json", "{"],
      [engine, "/opencode/session", "opencode_unreachable"],
    ];
    const problems: string[] = [];
    for (const [settings, path, code, body = "{}"] of tries) {
      const { opencode = {}, ...rest } = settings as { opencode?: object };
      const workspaces = [{ path: "/workspace", ...opencode }];
      const other = await createHandler(
        createMemoryHost({
          settings: { token: "c", hostToken: "h", approval: { mode: "auto" }, workspaces, ...rest },
          env: { OPENCODE_ROUTER_HEALTH_PORT: "9" },
        }),
      );
      const prefix = /^\/[\w-]+\//.exec(path)?.[0] ?? "";
      const route = routes.find((one) => one.method === "ALL" && one.path === `${prefix}*`);
      if (!route) throw new Error(`${path} is nobody's`);
      const headers = { authorization: "Bearer c", "x-openwork-host-token": "h" };
      const response = await other(
        new Request(`http://server.test${path}`, { method: "POST", headers, body }),
      );
      await other.close();
      const responses: Operation["responses"] = api.paths[template(route)]?.["post"]?.responses ?? {};
      const told = (await response.json()) as { code: string };
      expect(told.code, path).toBe(code);
      const schema = responses[response.status]?.content?.["application/json"]?.schema;
      if (!JSON.stringify(schema ?? {}).includes(`"${code}"`)) problems.push(`${path}: ${code}`);
    }
    expect(problems).toEqual([]);
  }, 20_000);

  it("of writes that wait are 202 where the description says so, and nowhere else", async () => {
    const settings = { token: "c", hostToken: "h", approval: { mode: "manual", timeoutMs: 60_000 } };
    const opencode = { baseUrl: "http://127.0.0.1:9", directory: "/workspace" };
    const waiting = await createHandler(
      createMemoryHost({
        settings: { ...settings, workspaces: [{ path: "/workspace", ...opencode }] },
        files: {
          "opencode.jsonc": '{"plugin":["p"],"mcp":{"s":{}}}',
          "new.md": "# New",
          ".opencode/skills/s/SKILL.md": "x",
        },
      }),
    );
    const ask = (route: Route, values: Record<string, string>, sent?: BodyInit): Promise<Response> => {
      const headers = { prefer: "respond-async" };
      const query = queries[`${route.method} ${route.path}`];
      return waiting(
        request(route, values, { headers, ...(sent === undefined ? {} : { body: sent }) }, query),
      );
    };
    const opening = own().find(({ path }) => path === "/workspace/:id/files/sessions");
    if (!opening) throw new Error("no file sessions");
    const { session } = (await (await ask(opening, { id }, "{}")).json()) as {
      session: { id: string };
    };
    const form = new FormData();
    form.set("file", new Blob(["x"]), "x.txt");
    const sendings: Record<string, BodyInit> = {
      "POST /workspace/:id/inbox": form,
      "PUT /workspace/:id/files/raw": "text",
      "POST /files/sessions/:sid/write-batch": '{"writes":[{"path":"b.md","contentBase64":"YQ=="}]}',
      "POST /files/sessions/:sid/ops": '{"operations":[{"type":"mkdir","path":"made"}]}',
      "POST /workspace/:id/import": '{"openwork":{"a":1}}',
    };
    const waited: string[] = [];
    const problems: string[] = [];
    for (const route of own().filter((one) => one.writes && one.path !== "/workspaces/:id")) {
      const name = `${route.method} ${route.path}`;
      const body = bodies[name] === undefined ? undefined : JSON.stringify(bodies[name]);
      const values = { id, sid: session.id, name: route.path.includes("/plugins") ? "p" : "s" };
      const response = await ask(route, values, sendings[name] ?? body ?? (route.body ? "{}" : undefined));
      if (response.status === 202) waited.push(name);
      if (response.status === 202) expect(response.headers.get("location"), name).toMatch(/^\/requests\//);
      const problem = await problemOf(route, response);
      if (problem) problems.push(`${name}: ${problem}`);
    }
    expect(problems).toEqual([]);
    const described = own().filter((route) => operation(route).responses[202] && route.method !== "GET");
    const names = described.map(({ method, path }) => `${method} ${path}`);
    expect(waited.toSorted()).toEqual(names.toSorted());
    await waiting.close();
  }, 20_000);

  it("of streams and lines come as described", async () => {
    const tries: [path: string, accept: string, type: string][] = [
      ["/workspace/:id/events", "text/event-stream", "text/event-stream"],
      ["/workspace/:id/files/events", "*/*", "text/event-stream"],
      ["/workspace/:id/files/search", "application/x-ndjson", "application/x-ndjson"],
    ];
    for (const [path, accept, type] of tries) {
      const route = own().find((one) => one.method === "GET" && one.path === path);
      if (!route) throw new Error(path);
      const response = await handler(request(route, { id }, { headers: { accept } }, queries[`GET ${path}`]));
      await response.body?.cancel();
      expect([path, response.status, response.headers.get("content-type")?.split(";")[0]]).toEqual([
        path,
        200,
        type,
      ]);
      expect(Object.keys(operation(route).responses[200]?.content ?? {})).toContain(type);
    }
  });

  it("of removals are as described", async () => {
    const problems: string[] = [];
    const done: string[] = [];
    // The workspace itself goes last.
    const removals = own().filter((one) => one.method === "DELETE");
    for (const route of removals.toSorted((a, b) => b.path.length - a.path.length)) {
      const response = await handler(request(route, { id, name: "s" }, {}, queries[`DELETE ${route.path}`]));
      if (route.success.includes(response.status)) done.push(route.path);
      const problem = await problemOf(route, response);
      if (problem) problems.push(`DELETE ${route.path}: ${problem}`);
    }
    expect(problems).toEqual([]);
    expect(done).toEqual(
      expect.arrayContaining(["/workspace/:id/files/raw", "/workspace/:id/skills/:name", "/workspaces/:id"]),
    );
  }, 20_000);
});
