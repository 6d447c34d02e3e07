/**
 * `npm run client:types`: writes client/api.ts, the types of every endpoint, from the built table of routes.
 * Run it after a build; `--print` writes to standard output instead.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const repo = join(import.meta.dirname, "..");
const { routes } = await import(join(repo, "dist/handlers/index.js"));
const { jsonSchemaOf } = await import(join(repo, "dist/lib/openapi/document.js"));
const { errorStatus } = await import(join(repo, "dist/lib/errors.js"));

const quoted = (text) => JSON.stringify(text);

/** A JSON Schema as a TypeScript type; what it cannot say is unknown. */
function typeOf(schema) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeOf))].join(" | ");
  if (schema.type === "array") return `(${typeOf(schema.items ?? {})})[]`;
  if (schema.type === "object") return objectOf(schema);
  return (
    { string: "string", number: "number", integer: "number", boolean: "boolean", null: "null" }[
      schema.type
    ] ?? "unknown"
  );
}

function objectOf({ properties, required = [], additionalProperties }) {
  const entries = Object.entries(properties ?? {});
  if (entries.length === 0) {
    return `Record<string, ${typeof additionalProperties === "object" ? typeOf(additionalProperties) : "unknown"}>`;
  }
  const fields = entries.map(([name, schema]) => {
    const isOptional = !required.includes(name);
    return `${/^\w+$/.test(name) ? name : quoted(name)}${isOptional ? "?" : ""}: ${typeOf(schema)}${isOptional ? " | undefined" : ""}`;
  });
  return `{ ${fields.join("; ")} }`;
}

function bodyOf(route) {
  if (route.body) return typeOf(jsonSchemaOf(route.body, "input"));
  if (route.accepts.includes("multipart/form-data")) return "FormData";
  // By this name the types of Node know it too.
  return route.accepts.length > 0 ? 'NonNullable<RequestInit["body"]>' : "undefined";
}

function endpoint(route) {
  const params = [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => `${name}: string`);
  const query = route.query ? jsonSchemaOf(route.query, "input") : null;
  const texts = Object.keys(query?.properties ?? {}).map(
    (name) => `${name}?: string | number | boolean | undefined`,
  );
  return `  ${quoted(`${route.method} ${route.path}`)}: {
    params: ${params.length > 0 ? `{ ${params.join("; ")} }` : "object"};
    query: ${texts.length > 0 ? `{ ${texts.join("; ")} }` : "object"};
    body: ${bodyOf(route)};
    answer: ${route.answer ? typeOf(jsonSchemaOf(route.answer, "output")) : "Response"};
  };`;
}

const own = routes.filter(
  (route) => route.method !== "ALL" && !route.path.startsWith("/ui") && !route.path.endsWith("/"),
);
const text = `// Made by \`npm run client:types\` from the table of routes.

/** Every error code of the server; \`unreachable\` and \`invalid_answer\` are the client's own. */
export type ErrorCode =
${[...Object.keys(errorStatus).toSorted(), "unreachable", "invalid_answer"].map((code) => `  | ${quoted(code)}`).join("\n")};

/** Every endpoint by method and path: what it takes and what it answers. */
export interface Api {
${own.map(endpoint).join("\n")}
}

/** Endpoints whose answer is bytes, a stream or another server's, and is given as a Response. */
export const responses: readonly (keyof Api)[] = [
${own
  .filter((route) => !route.answer)
  .map((route) => `  ${quoted(`${route.method} ${route.path}`)},`)
  .join("\n")}
];
`;
if (process.argv.includes("--print")) process.stdout.write(text);
else writeFileSync(join(repo, "client/api.ts"), text);
