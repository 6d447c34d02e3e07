import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { version } from "../../lib/version.ts";
import { programs } from "../contract/subject.ts";
import { buildOnce } from "../support/build.ts";
import { startBrowser } from "../support/browser.ts";
import { bundleForWeb } from "../support/bundle.ts";
import { freshDirectory } from "../support/server.ts";
import { compatibilityDate } from "../support/worker.ts";

type Conditions = string | { [condition: string]: Conditions };
interface Manifest {
  name: string;
  version: string;
  exports: Record<string, Conditions>;
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
}

const repo = join(import.meta.dirname, "../..");
const tools = join(repo, "test/node_modules/.bin");
const manifest = JSON.parse(readFileSync(join(repo, "package.json"), "utf8")) as Manifest;
let dir: string;
let tarball: string;
/** An empty folder in which the packed package is installed. */
let installed: string;

function run(command: string, args: readonly string[], cwd: string): string {
  // Lifecycle scripts that are running would tell npm about another package.
  const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? cwd, NO_COLOR: "1" };
  return execFileSync(command, args, {
    cwd,
    env,
    encoding: "utf8",
    timeout: 120_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

beforeAll(async () => {
  await buildOnce();
  run(
    process.execPath,
    [join(repo, "node_modules/rolldown/bin/cli.mjs"), "-c", "--logLevel", "silent"],
    repo,
  );
  dir = await freshDirectory("package");
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", dir], repo)) as {
    filename: string;
  }[];
  tarball = join(dir, packed?.filename ?? "");
  installed = join(dir, "empty");
  mkdirSync(installed);
  writeFileSync(join(installed, "package.json"), "{}");
  run(
    "npm",
    ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", tarball],
    installed,
  );
}, 180_000);
afterAll(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));

/** What the compiler says of a module of a program that has this package installed. */
function complaintsAbout(name: string, source: string, options: object): string {
  const compilerOptions = {
    target: "es2022",
    module: "nodenext",
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    typeRoots: [join(repo, "node_modules/@types")],
    types: [],
    ...options,
  };
  writeFileSync(join(installed, `${name}.mts`), source);
  writeFileSync(join(installed, `${name}.json`), JSON.stringify({ compilerOptions, files: [`${name}.mts`] }));
  const tsc = join(repo, "node_modules/typescript/bin/tsc");
  const { stdout, stderr } = spawnSync(process.execPath, [tsc, "-p", `${name}.json`], {
    cwd: installed,
    encoding: "utf8",
  });
  return stdout + stderr;
}

const targets = (conditions: Conditions): string[] =>
  typeof conditions === "string" ? [conditions] : Object.values(conditions).flatMap(targets);

/** What the probe tells: everything loaded, the server answered, and the condition of the runtime picked its own adapter. */
function expectProbed(answer: unknown, own: string): void {
  const { keys, ok } = answer as { keys: Record<string, string[]>; ok: boolean };
  expect(ok).toBe(true);
  expect(Object.values(keys).every((names) => names.length > 0)).toBe(true);
  expect(keys["./runtime"]).toContain(own);
}

describe("package.json", () => {
  it("has the version that the code tells", () => expect(version).toBe(manifest.version));

  it("runs nothing when it is installed", () => {
    const hooks = Object.keys(manifest.scripts).filter((name) =>
      /install|prepare|prepack|postpack/.test(name),
    );
    expect(hooks).toEqual([]);
  });

  it("exports files that exist, with types", async () => {
    await buildOnce();
    for (const target of Object.values(manifest.exports).flatMap(targets)) {
      expect(statSync(join(repo, target)).isFile(), target).toBe(true);
    }
  });

  it("exports every adapter and storage by name", () => {
    const storages = readdirSync(join(repo, "adapters/storage")).filter((name) =>
      /^(disk|memory|durable-object)\.ts$/.test(name),
    );
    for (const name of storages) expect(manifest.exports).toHaveProperty([`./storage/${name.slice(0, -3)}`]);
    for (const name of ["node", "bun", "deno", "cloudflare", "host", "client"]) {
      expect(manifest.exports).toHaveProperty([`./${name}`]);
    }
  });
});

describe("the packed package", () => {
  it("pleases publint and attw", () => {
    expect(run(join(tools, "publint"), ["run", tarball, "--strict"], repo)).toMatch(/All good|Suggestions/);
    run(join(tools, "attw"), [tarball, "--profile", "esm-only"], repo);
  }, 120_000);

  it("is small", () => expect(statSync(tarball).size).toBeLessThan(700_000));

  it("has types for programs of Node, which know nothing of browsers", () => {
    const source = `
      import { createServer } from "node:http";
      import { createHandler, type Handler } from "openwork-server";
      import { configure, createNodeHost, startServer, toNodeListener, toUpgradeListener } from "openwork-server/node";
      import { createClient } from "openwork-server/client";
      const host = createNodeHost(configure({ token: "t" }));
      export const inside: Handler<null> = await createHandler(host, { basePath: "/agent" });
      export const outside: Handler = await createHandler(host);
      export { startServer, toNodeListener };
      createServer(toNodeListener(inside)).on("upgrade", toUpgradeListener(inside));
      const client = createClient({ url: "http://127.0.0.1:8787", token: "t" });
      const upload = { params: { id: "w" }, query: { path: "a" } };
      const body = new Uint8Array(1);
      export const stored: { bytes: number } = await client.request("PUT /workspace/:id/files/raw", { ...upload, body });
      // @ts-expect-error A number is no body.
      await client.request("PUT /workspace/:id/files/raw", { ...upload, body: 1 });`;
    expect(complaintsAbout("node-program", source, { lib: ["es2022"], types: ["node"] })).toBe("");
  });

  it("has types for Workers that name their bindings in an interface", () => {
    const source = `
      import { createHandler } from "openwork-server";
      import worker, { createCloudflareHost, OpenWorkServer, withWebSockets } from "openwork-server/cloudflare";
      import type { DurableObjectStorage, ObjectNamespace } from "openwork-server/cloudflare";
      interface Env { OPENWORK_SERVER: ObjectNamespace; OPENWORK_TOKEN: string; LIMIT: number }
      interface Other { AGENT: ObjectNamespace }
      export class Server extends OpenWorkServer {
        constructor(context: { storage: DurableObjectStorage }, env: Env) { super(context, env); }
      }
      export const host = (storage: DurableObjectStorage, env: Other) => createCloudflareHost(storage, env);
      export default { fetch: (request: Request, env: Env): Promise<Response> => worker.fetch(request, env) };
      export const answer = async (storage: DurableObjectStorage, env: Env, request: Request): Promise<Response> => {
        const handler = await createHandler(createCloudflareHost(storage, env), { basePath: "/agent" });
        return (await withWebSockets(handler)(request)) ?? new Response();
      };
      // @ts-expect-error The kind of storage is a word.
      export const wrong = (storage: DurableObjectStorage) => createCloudflareHost(storage, { OPENWORK_STORAGE: 1 });`;
    expect(complaintsAbout("worker-program", source, { lib: ["es2022", "dom", "dom.iterable"] })).toBe("");
  });

  const bare = { lib: ["es2022", "dom", "dom.iterable", "dom.asynciterable"] };

  it("has types for programs of Bun, whose own types it does not need", () => {
    const source = `
      import { createHandler } from "openwork-server";
      import { configure, createBunHost, withWebSockets, type BunSocket } from "openwork-server/bun";
      declare const server: { upgrade(request: Request, options?: { headers?: HeadersInit; data?: undefined }): boolean };
      const host = createBunHost(configure({ token: "t" }));
      const composed = withWebSockets(await createHandler(host, { basePath: "/agent" }));
      export const maybe: Promise<Response | null> = composed(new Request("http://x"), server);
      export const message: (socket: BunSocket, data: string) => void = composed.websocket.message;
      const own = { data: { name: "" }, idleTimeout: 5, open(_socket: { data: { name: string } }) {} };
      const whole = withWebSockets(await createHandler(host), { websocket: own });
      export const sure: Promise<Response> = whole(new Request("http://x"), server);
      export const kept: typeof own = whole.websocket;
      // @ts-expect-error Only the server can make a WebSocket of a request.
      composed(new Request("http://x"));`;
    expect(complaintsAbout("bun-program", source, bare)).toBe("");
  });

  it("has types for programs of Deno, whose own types it does not need", () => {
    const source = `
      import { createHandler } from "openwork-server";
      import { configure, createDenoHost, withWebSockets } from "openwork-server/deno";
      const host = createDenoHost(configure({ token: "t" }));
      const composed = withWebSockets(await createHandler(host, { basePath: "/agent" }));
      export const serve: (request: Request, info: object) => Promise<Response> =
        async (request, info) => (await composed(request, info)) ?? new Response();
      export const whole: (request: Request) => Promise<Response> = withWebSockets(await createHandler(host));
      composed.close();`;
    expect(complaintsAbout("deno-program", source, bare)).toBe("");
  });

  const anywhere = [
    ".",
    "./host",
    "./storage/memory",
    "./storage/durable-object",
    "./client",
    "./cloudflare",
  ];
  const local = ["./storage/disk", "./runtime"];
  const loads: [keyof typeof programs, string[], string[]][] = [
    ["node20", ["--input-type=module", "-e"], [...anywhere, ...local, "./node"]],
    ["node22", ["--input-type=module", "-e"], [...anywhere, ...local, "./node"]],
    ["node24", ["--input-type=module", "-e"], [...anywhere, ...local, "./node"]],
    ["bun", ["-e"], [...anywhere, ...local, "./bun"]],
    ["deno", ["eval"], [...anywhere, ...local, "./deno"]],
  ];

  it("has a test for every export and every runtime that it names", () => {
    const tested = new Set([...loads.flatMap(([, , names]) => names), "./package.json"]);
    expect(Object.keys(manifest.exports).filter((name) => !tested.has(name))).toEqual([]);
  });

  it.each(loads)("loads on %s", (program, flags, names) => {
    const specifiers = names.map((name) => manifest.name + name.slice(1));
    const script = `for (const name of ${JSON.stringify(specifiers)}) {
      const keys = Object.keys(await import(name));
      if (keys.length === 0) throw new Error(name + " is empty");
      console.log(name, keys.join());
    }`;
    const output = run(programs[program], [...flags, script], installed);
    for (const specifier of specifiers) expect(output).toContain(`${specifier} `);
    // The condition of the runtime picks its own adapter.
    const own = program.startsWith("node")
      ? "createNodeHost"
      : program === "bun"
        ? "createBunHost"
        : "createDenoHost";
    expect(output).toMatch(new RegExp(`^openwork-server/runtime .*${own}`, "m"));
  });

  /** A module that loads every portable export by its bare name, and asks a server made of them. */
  const portable = [...anywhere, "./runtime"];
  function probe(name: string): string {
    const entry = join(installed, `${name}.mjs`);
    const imports = portable.map((path, n) => `import * as m${n} from "${manifest.name}${path.slice(1)}";`);
    writeFileSync(
      entry,
      `${imports.join("\n")}
      export async function probe() {
        const keys = Object.fromEntries([${portable.map((path, n) => `["${path}", Object.keys(m${n})]`).join()}]);
        const handler = await m0.createHandler(m1.createMemoryHost());
        const client = m4.createClient({ url: "http://x", fetch: (url, init) => handler(new Request(url, init)) });
        return { keys, ...(await client.request("GET /health")) };
      }
      export default { fetch: async () => Response.json(await probe()) };\n`,
    );
    return entry;
  }

  it("loads in workerd, by bare names and without a polyfill", async () => {
    const { code, imports } = await bundleForWeb(probe("workerd"));
    expect(imports).toEqual([]);
    const worker = new Miniflare({ modules: true, script: code, compatibilityDate, cf: false });
    try {
      expectProbed(await (await worker.dispatchFetch("http://x/")).json(), "OpenWorkServer");
    } finally {
      await worker.dispose();
    }
  });

  it("loads in a browser", async () => {
    const { code, imports } = await bundleForWeb(probe("browser"), { conditions: ["browser"] });
    expect(imports).toEqual([]);
    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      // Addresses of loopback are a secure context, which the platform's cryptography needs.
      await page.route("http://127.0.0.1/**", (route) =>
        route.request().url().endsWith(".mjs")
          ? route.fulfill({ contentType: "text/javascript", body: code })
          : route.fulfill({ contentType: "text/html", body: "<!doctype html>" }),
      );
      await page.goto("http://127.0.0.1/");
      const answer = await page.evaluate<unknown>('import("/probe.mjs").then(({ probe }) => probe())');
      expectProbed(answer, "createMemoryHost");
    } finally {
      await browser.close();
    }
  });

  it("starts by npx in an empty folder, and serves it", async () => {
    const child = spawn("npx", ["--no-install", "openwork-server", "--port", "0"], {
      cwd: installed,
      env: { PATH: process.env["PATH"] ?? "", HOME: installed },
      detached: true,
    });
    let output = "";
    child.stdout.on("data", (chunk) => (output += String(chunk)));
    child.stderr.on("data", (chunk) => (output += String(chunk)));
    try {
      for (let left = 300; !output.includes("Try next") && left > 0; left -= 1) {
        await new Promise((resolve) => {
          setTimeout(resolve, 100);
        });
      }
      const url = /listening on (\S+)/.exec(output)?.[1] ?? "";
      const token = /Client token: (\S+)/.exec(output)?.[1] ?? "";
      const status = await fetch(`${url}/status`, { headers: { authorization: `Bearer ${token}` } });
      expect(await status.json(), output).toMatchObject({ version, workspace: { path: installed } });
    } finally {
      // The group: npx, a shell, and the server.
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }
  }, 180_000);
});

describe("the bundled command", () => {
  it("is ASCII: one character that needs two bytes makes every character of the program take two", async () => {
    const dir = join(await buildOnce(), "bin");
    for (const file of readdirSync(dir))
      expect(readFileSync(join(dir, file), "utf8")).toMatch(/^[\0-\x7f]+$/);
  });
});

describe("handlers/ and lib/", () => {
  it("bundle for the web without anything of Node", async () => {
    const { code, imports } = await bundleForWeb("handlers/index.ts", { minify: true });
    expect(imports).toEqual([]);
    expect(code).not.toMatch(/\b(?:require\(["']|process\.env|Buffer\.from)/);
    expect(gzipSync(code).length).toBeLessThan(170_000);
  });
});
