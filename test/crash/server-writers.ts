import type { Answer, TestServer } from "../support/server.ts";

/** Something that a writer keeps writing, and what must be true of it after the server was killed. */
export interface Writer {
  readonly name: string;
  /** One write. Rejects when the server went away under it; the writer knows whether it was answered. */
  write(server: TestServer): Promise<void>;
  /** Compares what a restarted server says with what was answered; what was under way may be there or not. */
  check(server: TestServer): Promise<void>;
  /** Audit entries that the answered writes must have left, by action. */
  readonly audited: ReadonlyMap<string, number>;
}

function counted(counts: Map<string, number>, action: string): void {
  counts.set(action, (counts.get(action) ?? 0) + 1);
}

function insist(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

async function ok(answer: Promise<Answer<unknown>>, status = 200): Promise<void> {
  const { status: is, text } = await answer;
  insist(is === status, `answered ${is}: ${text}`);
}

/** What one kind of set operations does over HTTP. */
interface SetTraffic {
  actions: { add: string; remove: string };
  add(server: TestServer, name: string): Promise<void>;
  remove(server: TestServer, name: string): Promise<void>;
  list(server: TestServer): Promise<readonly string[]>;
}

/** A writer that adds names to a set, and removes one in three again. */
function setWriter(name: string, traffic: SetTraffic): Writer {
  const present = new Set<string>();
  const unsure = new Set<string>();
  const audited = new Map<string, number>();
  let next = 0;
  async function change(server: TestServer, item: string, kind: "add" | "remove"): Promise<void> {
    present.delete(item);
    unsure.add(item);
    await traffic[kind](server, item);
    unsure.delete(item);
    if (kind === "add") present.add(item);
    counted(audited, traffic.actions[kind]);
  }
  return {
    name,
    audited,
    async write(server) {
      next += 1;
      const oldest = next % 3 === 0 ? [...present][0] : undefined;
      await (oldest === undefined
        ? change(server, `${name}-${next}`, "add")
        : change(server, oldest, "remove"));
    },
    async check(server) {
      const listed = await traffic.list(server);
      const found = new Set(listed);
      insist(found.size === listed.length, `${name}: a name is listed twice: ${listed.join(" ")}`);
      for (const item of present) insist(found.has(item), `${name}: ${item} was answered and is gone`);
      for (const item of found) {
        insist(present.has(item) || unsure.has(item), `${name}: ${item} is there, and should not be`);
        present.add(item);
      }
      unsure.clear();
      // Lists that only grow would make each round slower than the one before.
      for (const item of [...present].slice(0, Math.max(0, present.size - 20)))
        await change(server, item, "remove");
    },
  };
}

/** Plugins and MCP entries: many writers of one file. */
export function pluginWriter(): Writer {
  return setWriter("plugin", {
    actions: { add: "plugins.add", remove: "plugins.remove" },
    add: (server, spec) => ok(server.request("POST", "~/plugins", { json: { spec } })),
    remove: (server, spec) => ok(server.request("DELETE", `~/plugins/${spec}`)),
    async list(server) {
      const { json } = await server.request<{ items: { spec: string }[] }>("GET", "~/plugins");
      return json.items.map(({ spec }) => spec);
    },
  });
}

/** See {@link pluginWriter}. */
export function mcpWriter(): Writer {
  return setWriter("mcp", {
    actions: { add: "mcp.add", remove: "mcp.remove" },
    add(server, name) {
      const config = { type: "remote", url: `https://mcp.example/${name}`, enabled: false };
      return ok(server.request("POST", "~/mcp", { json: { name, config } }));
    },
    remove: (server, name) => ok(server.request("DELETE", `~/mcp/${name}`)),
    async list(server) {
      const { json } = await server.request<{ items: { name: string; config: { url?: string } }[] }>(
        "GET",
        "~/mcp",
      );
      for (const { name, config } of json.items) {
        insist(config.url === `https://mcp.example/${name}`, `mcp: ${name} is not what was sent`);
      }
      return json.items.map(({ name }) => name);
    },
  });
}

/** Issued tokens: those answered work, those whose revocation was answered do not. */
export function tokenWriter(): Writer {
  const valid = new Map<string, string>();
  const revoked: string[] = [];
  let doubtful: string | null = null;
  let next = 0;
  async function create(server: TestServer): Promise<void> {
    const answer = await server.request<{ id: string; token: string }>("POST", "/tokens", {
      host: true,
      json: { scope: "viewer", label: `number ${next}` },
    });
    insist(answer.status === 201, `POST /tokens answered ${answer.status}: ${answer.text}`);
    valid.set(answer.json.id, answer.json.token);
  }
  async function revoke(server: TestServer, id: string, token: string): Promise<void> {
    valid.delete(id);
    doubtful = id;
    await ok(server.request("DELETE", `/tokens/${id}`, { host: true }));
    doubtful = null;
    revoked.push(token);
  }
  return {
    name: "tokens",
    audited: new Map(),
    async write(server) {
      next += 1;
      const [oldest] = valid;
      if (next % 2 === 0 && oldest) await revoke(server, ...oldest);
      else await create(server);
    },
    async check(server) {
      const { json } = await server.request<{ items: { id: string }[] }>("GET", "/tokens", { host: true });
      const listed = new Set(json.items.map(({ id }) => id));
      for (const id of valid.keys()) insist(listed.has(id), `tokens: ${id} was answered and is gone`);
      const statusOf = async (token: string): Promise<number> =>
        (await server.request("GET", "/whoami", { token })).status;
      for (const token of [...valid.values()].slice(-5)) {
        insist((await statusOf(token)) === 200, "tokens: an answered token does not work");
      }
      for (const token of revoked.slice(-5)) {
        insist((await statusOf(token)) === 401, "tokens: a revoked token works");
      }
      // Made but never answered: nobody knows the token, and lists must not grow without end.
      for (const id of listed) {
        if (!valid.has(id) || id === doubtful)
          await ok(server.request("DELETE", `/tokens/${id}`, { host: true }));
      }
      doubtful = null;
    },
  };
}

/** Whole versions of something: after a kill it is the last answered one or the one under way, and nothing between. */
interface VersionTraffic {
  action: string;
  put(server: TestServer, version: number): Promise<void>;
  /** The version found, read from every place it is in; throws when a place is not whole, or places disagree. */
  get(server: TestServer): Promise<number | null>;
}

function versionWriter(name: string, traffic: VersionTraffic): Writer {
  const audited = new Map<string, number>();
  let answered: number | null = null;
  let tried = 0;
  return {
    name,
    audited,
    async write(server) {
      tried += 1;
      await traffic.put(server, tried);
      answered = tried;
      counted(audited, traffic.action);
    },
    async check(server) {
      const found = await traffic.get(server);
      insist(found === answered || found === tried, `${name}: version ${found}, not ${answered} or ${tried}`);
      answered = found;
    },
  };
}

/** Long enough to take several pages of disk, and with an end that shows whether all of it is there. */
export function versionedText(version: number): string {
  return `Version ${version} begins.\n${`Line of version ${version}.\n`.repeat(200 + (version % 7) * 300)}Version ${version} ends.`;
}

/** The version of a text that holds a whole {@link versionedText}. */
export function wholeVersion(text: string, where: string): number {
  const version = Number(/^Version (\d+) begins\.$/m.exec(text)?.[1]);
  insist(text.trimEnd().endsWith(versionedText(version)), `${where} is not whole`);
  return version;
}

const skillContent = (name: string, version: number): string =>
  `---\nname: ${name}\ndescription: Version ${version}\n---\n\n${versionedText(version)}\n`;

/** A skill that is written again and again. */
export function skillWriter(name: string): Writer {
  return versionWriter(`skill ${name}`, {
    action: "skills.upsert",
    put: (server, version) =>
      ok(server.request("POST", "~/skills", { json: { name, content: skillContent(name, version) } })),
    async get(server) {
      const answer = await server.request<{ content: string }>("GET", `~/skills/${name}`);
      return answer.status === 404 ? null : wholeVersion(answer.json.content, `skill ${name}`);
    },
  });
}

/** A command that is written again and again. */
export function commandWriter(name: string): Writer {
  return versionWriter(`command ${name}`, {
    action: "commands.upsert",
    put: (server, version) =>
      ok(server.request("POST", "~/commands", { json: { name, template: versionedText(version) } })),
    async get(server) {
      const { json } = await server.request<{ items: { name: string; template: string }[] }>(
        "GET",
        "~/commands",
      );
      const item = json.items.find((command) => command.name === name);
      return item ? wholeVersion(item.template, `command ${name}`) : null;
    },
  });
}

/** A key of each configuration file, changed by one PATCH. */
export function configWriter(): Writer {
  return versionWriter("config", {
    action: "config.patch",
    put(server, version) {
      const json = { opencode: { username: `version ${version}` }, openwork: { "x-version": version } };
      return ok(server.request("PATCH", "~/config", { json }));
    },
    async get(server) {
      const { json } = await server.request<{
        opencode: { username?: string };
        openwork: { "x-version"?: number };
      }>("GET", "~/config");
      const version = json.openwork["x-version"] ?? null;
      insist(
        json.opencode.username === (version === null ? undefined : `version ${version}`),
        "config: one file is changed and the other is not",
      );
      return version;
    },
  });
}

/** An import that writes five files: all of them have one version, or the change is half done. */
export function importWriter(): Writer {
  const skills = ["bundle-one", "bundle-two"];
  const commands = ["bundle-three", "bundle-four"];
  return versionWriter("import", {
    action: "config.import",
    put: (server, version) =>
      ok(
        server.request("POST", "~/import", {
          json: {
            openwork: { "x-bundle": version },
            skills: skills.map((name) => ({ name, content: skillContent(name, version) })),
            commands: commands.map((name) => ({ name, template: versionedText(version) })),
          },
        }),
      ),
    async get(server) {
      const { json } = await server.request<{
        openwork: { "x-bundle"?: number };
        skills: { name: string; content: string }[];
        commands: { name: string; template: string }[];
      }>("GET", "~/export");
      const version = json.openwork["x-bundle"] ?? null;
      const found = [
        ...skills.map((name) => json.skills.find((skill) => skill.name === name)?.content),
        ...commands.map((name) => json.commands.find((command) => command.name === name)?.template),
      ].map((text) => (text === undefined ? null : wholeVersion(text, "a file of the import")));
      insist(
        found.every((one) => one === version),
        `import: half done, versions ${version} and ${found.join(", ")}`,
      );
      return version;
    },
  });
}
