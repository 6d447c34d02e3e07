import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { buildOnce } from "../support/build.ts";
import { startServer, type TestServer } from "../support/server.ts";
import { eventually, find, shape, type Event, type Item } from "./support.ts";

const limitFile = "/proc/sys/user/max_inotify_watches";
/** Later than the server tries again. */
const untilWatchedMs = 45_000;

/** Whether a process may have a namespace, and with it a watch limit, of its own. */
function canLimitWatches(): boolean {
  try {
    execFileSync("unshare", ["-Ur", "sh", "-c", `echo 9 > ${limitFile}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Starts a server that the system grants only so many watches. */
async function startLimited(watches: number): Promise<TestServer> {
  const limited = `echo ${watches} > ${limitFile}; exec "$0" "$@"`;
  const cli = join(await buildOnce(), "adapters/cli.js");
  return startServer({ command: ["unshare", "-Ur", "sh", "-c", limited, process.execPath, cli] });
}

/** Gives a running server another limit. */
function setLimit({ pid }: TestServer, watches: number): void {
  const enter = ["--user", "--preserve-credentials", "--target", String(pid)];
  execFileSync("nsenter", [...enter, "sh", "-c", `echo ${watches} > ${limitFile}`]);
}

/** How many watches the system has granted a process. */
function watchesOf({ pid }: TestServer): number {
  const dir = `/proc/${pid}/fdinfo`;
  let count = 0;
  for (const fd of readdirSync(dir))
    count += readFileSync(join(dir, fd), "utf8").split("inotify wd:").length - 1;
  return count;
}

/** Follows the catalog of a server as a client does. */
class Follower {
  readonly #server: TestServer;
  readonly #path: string;
  cursor = 0;

  private constructor(server: TestServer, path: string) {
    this.#server = server;
    this.#path = path;
  }

  static async open(server: TestServer): Promise<Follower> {
    const { json } = await server.request<{ session: { id: string } }>("POST", "~/files/sessions", {
      json: {},
    });
    const follower = new Follower(server, `/files/sessions/${json.session.id}/catalog`);
    follower.cursor = (await follower.#get<{ cursor: number }>("snapshot?limit=1")).cursor;
    return follower;
  }

  async #get<T>(query: string): Promise<T> {
    return (await this.#server.request<T>("GET", `${this.#path}/${query}`)).json;
  }

  /** The events until one of them is about a path; how long that took is bounded by the test's patience. */
  async until(path: string): Promise<Event[]> {
    const events: Event[] = [];
    const end = performance.now() + 10_000;
    while (!events.some((event) => event.path === path)) {
      if (performance.now() > end) throw new Error(`nothing was told of ${path}`);
      const page = await this.#get<{ items: Event[]; cursor: number; reset?: true }>(
        `events?since=${this.cursor}&wait=5`,
      );
      expect(page.reset).toBeUndefined();
      events.push(...page.items);
      this.cursor = page.cursor;
    }
    return events;
  }

  /** Compares the catalog with the tree. */
  async expectTrue(): Promise<void> {
    const { items } = await this.#get<{ items: Item[] }>("snapshot?limit=10000");
    expect([...shape(items)]).toEqual([...find(this.#server.workspace)]);
  }
}

/** Changes of every kind, made by another program, are told and served. */
async function expectRight(server: TestServer, follower: Follower, round: string): Promise<void> {
  const at = (path: string): string => join(server.workspace, path);
  mkdirSync(at(`new-${round}/below`), { recursive: true });
  writeFileSync(at(`new-${round}/below/file`), round);
  writeFileSync(at("dir-7/kept"), `changed in ${round}`);
  await follower.until(`new-${round}/below/file`);
  await follower.expectTrue();
  expect((await server.request("GET", "~/files/raw?path=dir-7/kept")).text).toBe(`changed in ${round}`);
  writeFileSync(at("opencode.json"), JSON.stringify({ plugin: [`plugin-${round}@1.0.0`] }));
  const { json } = await server.request<{ items: { spec: string }[] }>("GET", "~/plugins");
  expect(json.items.map(({ spec }) => spec)).toEqual([`plugin-${round}@1.0.0`]);
  renameSync(at(`new-${round}/below/file`), at(`moved-${round}`));
  rmSync(at(`new-${round}`), { recursive: true });
  const events = await follower.until(`moved-${round}`);
  if (!events.some(({ path }) => path === `new-${round}`)) await follower.until(`new-${round}`);
  await follower.expectTrue();
}

const warnings = (server: TestServer): number => server.log().split("Cannot watch").length - 1;

it.runIf(canLimitWatches())(
  "a server that is granted too few watches says so once, stays right, and watches again when it may",
  async () => {
    const server = await startLimited(20);
    try {
      for (let n = 0; n < 40; n += 1) mkdirSync(join(server.workspace, `dir-${n}`));
      writeFileSync(join(server.workspace, "dir-7/kept"), "at first");
      const follower = await Follower.open(server);
      await follower.expectTrue();
      await eventually(() => expect(warnings(server), server.log()).toBe(1));
      expect(watchesOf(server)).toBe(0);
      await expectRight(server, follower, "unwatched");
      await expectRight(server, follower, "still unwatched");
      expect(warnings(server)).toBe(1);

      setLimit(server, 50);
      await eventually(() => expect(watchesOf(server)).toBeGreaterThan(40), untilWatchedMs);
      await expectRight(server, follower, "watched");
      expect(warnings(server)).toBe(1);

      // More directories than it may watch: the watch is lost while it runs.
      for (let n = 0; n < 30; n += 1) mkdirSync(join(server.workspace, `more-${n}`));
      await eventually(() => expect(warnings(server), server.log()).toBe(2));
      await eventually(() => expect(watchesOf(server)).toBe(0));
      await expectRight(server, follower, "lost");
      expect(warnings(server)).toBe(2);
    } finally {
      await server.stop();
    }
  },
  120_000,
);
