import { toJsonSchema } from "@valibot/to-json-schema";
import { errorStatus } from "../errors.ts";
import { errorsOf } from "./errors.ts";
import {
  headerComponents,
  headerParameters,
  sentHeaders,
  withHeaders,
  type AnswerHeader,
} from "./headers.ts";
import type { Route, Schema } from "../route.ts";

/** A piece of JSON. */
export type Json = { [key: string]: unknown };

/** What a description is made of. */
export interface OpenapiInput {
  routes: readonly Route[];
  version: string;
  /** Absolute address of the server, without a slash at its end. */
  serverUrl: string;
}

const methods = ["get", "post", "put", "patch", "delete"] as const;

/** The description of a server in OpenAPI 3.1, derived from its table of routes. */
export function describeApi({ routes, version, serverUrl }: OpenapiInput): Json {
  return {
    openapi: "3.1.1",
    info: {
      title: "OpenWork Server",
      version,
      summary: "Filesystem-backed API for remote clients of a coding agent.",
      description:
        "Writes wait for the host's approval unless the server allows them by itself. With `Prefer: respond-async` a write that waits is answered 202 at once. HEAD works wherever GET does.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: serverUrl }],
    paths: pathsOf(routes, serverUrl),
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "The client token or an issued one." },
        basic: {
          type: "http",
          scheme: "basic",
          description: "The same token as the password, any user name; for programs, refused from browsers.",
        },
        hostToken: { type: "apiKey", in: "header", name: "X-OpenWork-Host-Token" },
      },
      parameters: headerParameters(),
      headers: headerComponents(),
      schemas: { Error: errorSchema, Pending: pendingSchema },
    },
  };
}

const errorSchema: Json = {
  type: "object",
  properties: {
    code: { type: "string", enum: Object.keys(errorStatus).toSorted() },
    message: { type: "string", description: "For people; says what was wrong and what would be right." },
    details: { description: "Depends on the code." },
  },
  required: ["code", "message"],
};

const pendingSchema: Json = {
  type: "object",
  properties: {
    status: { type: "string", const: "pending" },
    requestId: { type: "string" },
    location: { type: "string", description: "Where to poll for the answer." },
  },
  required: ["status", "requestId"],
};

function pathsOf(routes: readonly Route[], serverUrl: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = templateOf(route.path);
    const item = (paths[path] ??= { ...mountServers(route, serverUrl) });
    for (const method of route.method === "ALL" ? methods : [route.method.toLowerCase()]) {
      // A route of one method goes before one of all.
      if (route.method !== "ALL" || !(method in item)) item[method] = operationOf(route, method, path);
    }
  }
  return paths;
}

/** What is offered below `/w/:id` too says so by a second server. */
function mountServers(route: Route, serverUrl: string): Json {
  if (!route.mounted && !route.path.startsWith("/workspace/:id/")) return {};
  const variables = { mountId: { default: "ws_000000000000", description: "Id of the mounted workspace." } };
  return { servers: [{ url: serverUrl }, { url: `${serverUrl}/w/{mountId}`, variables }] };
}

function templateOf(path: string): string {
  return path.replaceAll(/:(\w+)/g, "{$1}").replace(/\*$/, "{rest}");
}

function operationOf(route: Route, method: string, path: string): Json {
  const words = path.split(/[^a-zA-Z]+/).filter(Boolean);
  const isSlashed = path.endsWith("/");
  const name = words.map((word) => word[0]?.toUpperCase() + word.slice(1)).join("");
  return {
    operationId: `${method}${name}${isSlashed ? "Slash" : ""}`,
    summary: route.summary,
    tags: [words[0] === "workspace" ? (words[2] ?? "workspace") : (words[0] ?? "server")],
    security: securityOf(route),
    ...nonEmpty("parameters", [...pathParameters(path), ...queryParameters(route), ...headersOf(route)]),
    ...requestBody(route, method),
    responses: responsesOf(route),
    ...(route.access === "client" ? { "x-scope": route.scope } : {}),
  };
}

function nonEmpty(name: string, list: readonly unknown[]): Json {
  return list.length === 0 ? {} : { [name]: list };
}

function securityOf(route: Route): Json[] {
  if (route.access === "public") return [];
  return route.access === "host"
    ? [{ hostToken: [] }, { bearer: [] }]
    : [{ bearer: [] }, ...(route.basic ? [{ basic: [] }] : [])];
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
    ...(name === "rest" ? { description: "The rest of the path, slashes included." } : {}),
  }));
}

function queryParameters(route: Route): Json[] {
  if (!route.query) return [];
  const { properties = {}, required = [] } = jsonSchemaOf(route.query, "input") as {
    properties?: Record<string, unknown>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    schema,
  }));
}

function headersOf({ requestHeaders, asksHost, access }: Route): Json[] {
  return sentHeaders([
    ...requestHeaders,
    ...(asksHost ? (["Prefer"] as const) : []),
    ...(access === "client" ? (["X-OpenWork-Client-Id"] as const) : []),
  ]);
}

function requestBody(route: Route, method: string): Json {
  if (route.method === "ALL") {
    return method === "get" || method === "delete" ? {} : { requestBody: { content: { "*/*": {} } } };
  }
  if (route.accepts.length > 0) {
    const content = Object.fromEntries(route.accepts.map((type) => [type, formSchema(type)]));
    return { requestBody: { required: true, content } };
  }
  if (!route.body) return {};
  const schema = jsonSchemaOf(route.body, "input");
  const description = `At most ${route.bodyLimit} bytes.`;
  return { requestBody: { required: true, description, content: { "application/json": { schema } } } };
}

function formSchema(type: string): Json {
  if (type !== "multipart/form-data") return {};
  const file = { type: "string", contentMediaType: "application/octet-stream" };
  const properties = { file, path: { type: "string" } };
  return { schema: { type: "object", properties, required: ["file"] } };
}

function responsesOf(route: Route): Json {
  const responses: Json = {};
  for (const status of route.success) responses[status] = successOf(route, status);
  if (route.asksHost) {
    responses[202] = {
      description: "The host has not decided yet (`Prefer: respond-async`).",
      ...withHeaders(["Location", "Preference-Applied"]),
      ...pendingContent,
    };
  }
  for (const [status, codes] of errorsOf(route)) {
    const schema = {
      allOf: [
        { $ref: "#/components/schemas/Error" },
        { properties: { code: { type: "string", enum: codes } } },
      ],
    };
    const description = codes.map((code) => `\`${code}\``).join(", ");
    const content = { "application/json": { schema } };
    responses[status] = { description, ...withHeaders(errorHeaders[status] ?? []), content };
  }
  if (route.method === "ALL") responses["default"] = { description: "Whatever the target answers." };
  return responses;
}

const pendingContent: Json = {
  content: { "application/json": { schema: { $ref: "#/components/schemas/Pending" } } },
};

/** What errors say in their headers, by status. */
const errorHeaders: Readonly<Record<number, readonly AnswerHeader[]>> = {
  401: ["WWW-Authenticate"],
  412: ["ETag"],
  416: ["Content-Range"],
  429: ["Retry-After"],
};

const meanings: Readonly<Record<number, string>> = {
  201: "Created.",
  202: "Not decided yet.",
  206: "The asked range of bytes.",
  302: "It is elsewhere.",
  304: "What the caller has is current.",
};

function successOf(route: Route, status: number): Json {
  const description = meanings[status] ?? "Done.";
  if (status === 202) return { description, ...pendingContent };
  const described = { description, ...withHeaders(headersAt(route, status)) };
  if (status === 302 || status === 304) return described;
  return {
    ...described,
    content: Object.fromEntries(route.produces.map((type) => [type, contentOf(route, type)])),
  };
}

/** A part of a file says which; what the caller has is not sent, nor how. */
function headersAt({ answerHeaders }: Route, status: number): AnswerHeader[] {
  const ofBody = new Set<AnswerHeader>(["Content-Disposition", "Accept-Ranges"]);
  return answerHeaders.filter((name) => {
    if (name === "Content-Range") return status === 206;
    return status !== 304 || !ofBody.has(name);
  });
}

function contentOf(route: Route, type: string): Json {
  if (type === "application/json")
    return route.answer ? { schema: jsonSchemaOf(route.answer, "output") } : {};
  return /^text\/|ndjson$|\+xml$/.test(type) ? { schema: { type: "string" } } : {};
}

/** Words of a fixed set are texts, which generators want to be told. */
function withTypes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withTypes);
  if (value === null || typeof value !== "object") return value;
  const shape = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withTypes(inner)]));
  const { type, const: only, enum: several } = shape;
  const words = Array.isArray(several) ? several : [only];
  const isWords = type === undefined && words.every((word) => typeof word === "string");
  return isWords ? { type: "string", ...shape } : shape;
}

/** What valibot checks beyond shapes has no word in JSON Schema and is left out. */
export function jsonSchemaOf(schema: Schema, typeMode: "input" | "output"): Json {
  const { $schema: _, ...shape } = toJsonSchema(schema as never, {
    typeMode,
    errorMode: "ignore",
    target: "draft-2020-12",
  });
  return withTypes(shape) as Json;
}
