import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ScopedAnswer, redact } from "../../lib/redaction.ts";
import { cleanText, isSecretName } from "../../lib/secrets.ts";
import { jsonObjectValue, jsonValue, objectOf } from "../jsonc/arbitrary.ts";
import { processorTime } from "../support/processor-time.ts";

const secret = "hunter2-SECRET-value";

describe("I04: names", () => {
  test.each([
    "apiKey",
    "API_KEY",
    "api-key",
    "apikey",
    "OPENAI_API_KEY",
    "key",
    "accessKeyId".slice(0, 9),
    "secret",
    "clientSecret",
    "password",
    "db_passwd",
    "token",
    "GITHUB_TOKEN",
    "x-auth-token",
    "authorization",
    "Authorization",
    "cookie",
    "private_key",
    "credentials",
    "passphrase",
    "refresh.token",
    "HTTPAuthToken",
    "pass",
    "SMTP_PASS",
    "dbPass",
  ])("%s is secret", (name) => {
    expect(isSecretName(name)).toBe(true);
  });

  test.each([
    "maxTokens",
    "passThrough",
    "bypass",
    "tokens",
    "keybinds",
    "leader_key",
    "publicKey",
    "name",
    "url",
    "model",
    "monkey",
    "author",
    "$schema",
    "theme",
    "",
    "tokenizer",
  ])("%s is not", (name) => {
    expect(isSecretName(name)).toBe(false);
  });
});

describe("I04: texts", () => {
  test.each([
    ["https://user:pa55@host/x?y=1", "https://***@host/x?y=1"],
    ["https://ghp-token@github.com/a/b", "https://***@github.com/a/b"],
    ["postgres://u:p%40@db:5432/x", "postgres://***@db:5432/x"],
    ["postgres://u:p@w@db/x", "postgres://***@db/x"],
    ["git+ssh://git@github.com/a/b", "git+ssh://git@github.com/a/b"],
    ["plugin@git+https://tok:x@host/r.git", "plugin@git+https://***@host/r.git"],
    ["https://host/sse?api_key=abc&x=1&token=def#frag", "https://host/sse?api_key=***&x=1&token=***#frag"],
    ["https://host/sse?api%5Fkey=abc", "https://host/sse?api%5Fkey=***"],
    ["https://host/a@b?x=1", "https://host/a@b?x=1"],
    ["https://hooks.slack.com/services/T01/B02/s3cr3t", "https://hooks.slack.com/services/***"],
    ["post to https://hooks.slack.com/workflows/T/A/1/x.", "post to https://hooks.slack.com/workflows/***"],
    ["https://discord.com/api/webhooks/123/s3cr3t?wait=1", "https://discord.com/api/webhooks/***?wait=1"],
    ["https://ptb.discordapp.com/api/v10/webhooks/1/x", "https://ptb.discordapp.com/api/v10/webhooks/***"],
    ["https://acme.webhook.office.com/webhookb2/a@b/x/y", "https://acme.webhook.office.com/webhookb2/***"],
    ["https://hooks.zapier.com/hooks/catch/1/abc/", "https://hooks.zapier.com/hooks/catch/***"],
    ["https://hook.eu1.make.com/abcdef", "https://hook.eu1.make.com/***"],
    ["https://api.telegram.org/bot123:AAE/sendMessage", "https://api.telegram.org/***"],
    ["https://hooks.slack.com/docs", "https://hooks.slack.com/docs"],
    ["https://discord.com/channels/1/2", "https://discord.com/channels/1/2"],
    ["--api-key=abc", "--api-key=***"],
    ["GITHUB_TOKEN=abc", "GITHUB_TOKEN=***"],
    ["npx server --token abc --port 3 --password=x", "npx server --token *** --port 3 --password=***"],
    ["env API_KEY='a b' npx", "env API_KEY=*** npx"],
    ["curl -H Authorization:abc", "curl -H Authorization:***"],
    ["Authorization: Bearer abc.def", "Authorization: ***"],
    ["use bearer abcdef123456 now", "use bearer *** now"],
    [`sk-${"a1-B".repeat(6)}`, "***"],
    [`owt_${"0123456789abcdef".repeat(2)}`, "***"],
    [
      "plain prose about a token and a key, e.g. --port 3",
      "plain prose about a token and a key, e.g. --port 3",
    ],
    ["bearer authentication", "bearer authentication"],
    ["***", "***"],
  ])("%j shows as %j", (text, shown) => {
    expect(cleanText(text)).toBe(shown);
  });

  test("hostile texts are looked through quickly", () => {
    const n = 100_000;
    const texts = [
      "a",
      "eyJ-",
      "://",
      "?a=",
      "sk-",
      "-",
      "x-",
      "bearer ",
      "--token ",
      "=",
      " ",
      "?",
      "&a",
      "cookie ",
      "@",
      "A_",
      "gh",
      'a="',
      "a='b",
      "eyJa.",
      "a.",
      "x-token:",
      "https://hooks.slack.com/services/",
      "https://a.webhook.office.com",
    ].flatMap((piece) => [
      piece.repeat(n / piece.length),
      `https://${piece.repeat(n / piece.length)}`,
      `--token=${piece.repeat(n / piece.length)} x`,
    ]);
    for (const text of texts) {
      const started = processorTime();
      cleanText(text);
      isSecretName(text);
      expect(processorTime() - started, text.slice(0, 20)).toBeLessThan(400);
    }
  });
});

describe("I04: values", () => {
  test("what headers, environments and secret keys hold is hidden; names and the rest stay", () => {
    const config = {
      mcp: {
        search: {
          type: "remote",
          url: "https://h/s?key=abc",
          headers: { Authorization: `Bearer ${secret}`, "X-Org": secret },
        },
        files: {
          type: "local",
          command: ["npx", "files", "--api-key", secret, `--token=${secret}`, "-e", `A=${secret}`],
          environment: { HOME: secret, N: 5 },
        },
        auth: { type: "remote", url: "https://plain.test", enabled: true },
      },
      provider: {
        openai: {
          name: "OpenAI",
          options: { apiKey: secret, baseURL: "https://b", nested: { credentials: { a: [secret] } } },
        },
      },
      permission: { edit: "ask", bash: { "cat *token*": "deny" } },
      model: "a/b",
    };
    const { value, redacted } = redact(config);
    expect(redacted).toBe(true);
    expect(value).toEqual({
      mcp: {
        search: {
          type: "remote",
          url: "https://h/s?key=***",
          headers: { Authorization: "***", "X-Org": "***" },
        },
        files: {
          type: "local",
          command: ["npx", "files", "--api-key", "***", "--token=***", "-e", "A=***"],
          environment: { HOME: "***", N: "***" },
        },
        auth: { type: "remote", url: "https://plain.test", enabled: true },
      },
      provider: {
        openai: {
          name: "OpenAI",
          options: { apiKey: "***", baseURL: "https://b", nested: { credentials: { a: ["***"] } } },
        },
      },
      permission: { edit: "ask", bash: { "cat *token*": "deny" } },
      model: "a/b",
    });
    expect(JSON.stringify(value)).not.toContain(secret);
    expect(config.mcp.search.headers["X-Org"]).toBe(secret);
  });

  test("without secrets it is the very same value", () => {
    const config = { model: "a/b", plugin: ["a@1"], permission: { edit: "allow" } };
    expect(redact(config)).toEqual({ value: config, redacted: false });
    expect(redact(config).value).toBe(config);
  });

  test("a secret under any key of that kind, at any depth, is gone", () => {
    const secretKey = fc.constantFrom(
      "apiKey",
      "headers",
      "environment",
      "env",
      "token",
      "client_secret",
      "password",
      "authorization",
      "X-Headers",
    );
    const wrap = fc.array(
      fc.oneof(fc.constantFrom("a", "mcp", "provider", "__proto__", "constructor", "options"), fc.nat(1)),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(secretKey, wrap, jsonValue, (key, path, sibling) => {
        let value: unknown = { [key]: secret, deep: { [key]: { x: [{ y: secret }] } } };
        for (const step of path)
          value =
            typeof step === "number"
              ? [sibling, value]
              : objectOf([
                  ["s", sibling],
                  [step, value],
                ]);
        expect(JSON.stringify(redact(value).value)).not.toContain(secret);
      }),
      { numRuns: 1000 },
    );
  });

  test("keys, shapes and everything that is no text or number stay", () => {
    const shape = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map((element) => shape(element));
      if (value !== null && typeof value === "object")
        return Object.entries(value).map(([key, child]) => [key, shape(child)]);
      return typeof value === "boolean" || value === null ? value : "leaf";
    };
    fc.assert(
      fc.property(jsonObjectValue, (value) => {
        const { value: clean, redacted } = redact(value);
        expect(shape(clean)).toEqual(shape(value));
        expect(redacted).toBe(JSON.stringify(clean) !== JSON.stringify(value));
      }),
      { numRuns: 1000 },
    );
  });

  test("hostile nesting neither breaks it nor shows anything", () => {
    let deep: unknown = { token: secret, note: secret };
    for (let i = 0; i < 3000; i += 1) deep = i % 2 === 0 ? [deep] : { a: deep };
    expect(JSON.stringify(redact(deep).value)).not.toContain(secret);
    const hidden = redact({ headers: deep }).value;
    expect(JSON.stringify(hidden)).not.toContain(secret);
  });

  test("__proto__ keys are data", () => {
    const value = JSON.parse(
      `{"__proto__": {"token": "${secret}"}, "env": {"__proto__": "${secret}"}}`,
    ) as object;
    const clean = redact(value).value;
    expect(JSON.stringify(clean)).toBe('{"__proto__":{"token":"***"},"env":{"__proto__":"***"}}');
    expect(({} as { token?: unknown }).token).toBeUndefined();
  });
});

describe("I04: cached answers", () => {
  test("each scope has its text; uncached members are put in", () => {
    const answer = new ScopedAnswer({ opencode: { provider: { x: { options: { apiKey: secret } } } } });
    expect(answer.json("owner")).toContain(secret);
    expect(answer.json("collaborator")).toContain(secret);
    expect(answer.json("viewer", { updatedAt: 5 })).toBe(
      '{"opencode":{"provider":{"x":{"options":{"apiKey":"***"}}}},"redacted":true,"updatedAt":5}',
    );
    expect(new ScopedAnswer({ a: 1 }).json("viewer")).toBe('{"a":1}');
    expect(new ScopedAnswer({}).json("owner", { a: 1 })).toBe('{"a":1}');
    expect(new ScopedAnswer({ a: 1 }).json("owner", {})).toBe('{"a":1}');
  });
});
