import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigError, parseSettings, settingsTable } from "../../lib/config.ts";
import { flagNames } from "../../lib/settings/flags.ts";
import { resolve } from "./resolve.ts";

const word = fc.oneof(
  fc.string(),
  fc.constantFrom(
    "1",
    "0",
    "on",
    "off",
    "auto",
    "json",
    "~/x",
    ".",
    "..",
    "/",
    "[",
    '["a"]',
    "-1",
    "1e9",
    "*",
    "--",
    "-h",
  ),
);
const flag = fc.constantFrom(...flagNames).map((name) => `--${name}`);
const argument = fc.oneof(
  flag,
  word,
  fc.tuple(flag, word).map(([name, value]) => `${name}=${value}`),
  fc.string().map((s) => `--${s}`),
);
const variables = settingsTable.flatMap((row) => (row.variable ? [row.variable] : []));
const keys = settingsTable.flatMap((row) => (row.key ? [row.key.split(".")[0] ?? ""] : []));
const environment = fc.dictionary(fc.constantFrom(...variables), word);
const file = fc.oneof(
  fc.jsonValue(),
  fc.dictionary(
    fc.constantFrom(...keys, "__proto__", "other"),
    fc.oneof(word, fc.boolean(), fc.integer(), fc.jsonValue()),
  ),
  fc.record({
    workspaces: fc.array(
      fc.record({ path: word, directory: word, baseUrl: word }, { requiredKeys: ["path"] }),
    ),
  }),
);

/** Runs it; the only failure there may be is a ConfigError with a sentence of one line. */
function onlyConfigError<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toMatch(/^[^\n]+\.$/);
    return undefined;
  }
}

test("no command line, environment and file fails with anything but a ConfigError", () => {
  const seen = { resolved: 0 };
  fc.assert(
    fc.property(
      fc.array(argument, { maxLength: 8 }),
      environment,
      file,
      fc.constantFrom("/work", "/", "C:\\w"),
      (argv, env, file, cwd) => {
        const result = onlyConfigError(() => resolve({ argv, env, file, cwd }));
        if (!result) return;
        seen.resolved += 1;
        const { config } = result;
        expect(config.port).toBeGreaterThanOrEqual(0);
        expect(config.port).toBeLessThanOrEqual(65_535);
        expect(config.clientToken && config.hostToken).toBeTruthy();
        expect(Number.isFinite(config.approval.timeoutMs)).toBe(true);
        expect(config.inbox.maxBytes).toBeGreaterThan(0);
        const ids = config.workspaces.map((workspace) => workspace.id);
        expect(new Set(ids).size).toBe(ids.length);
      },
    ),
    { numRuns: 2000 },
  );
  expect(seen.resolved).toBeGreaterThan(50);
});

test("no text of a settings file fails with anything but a ConfigError", () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((json) => json.slice(1)),
    fc.constant("{").map((s) => s.repeat(9)),
  );
  fc.assert(fc.property(text, (source) => void onlyConfigError(() => parseSettings(source))));
});
