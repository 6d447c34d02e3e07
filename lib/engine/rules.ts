import { decodeSegment } from "../paths.ts";

/**
 * What a call of the engine amounts to:
 * - `read`: shows something and changes nothing;
 * - `prompt`: holds a conversation; what its tools may do is up to the engine's permissions;
 * - `command`: runs a program on the host, without the engine asking anybody;
 * - `change`: changes how the engine works, what it may do, or files past its tools;
 * - `permission`: answers a question that the engine asks its owner.
 */
export type EngineClass = "read" | "prompt" | "command" | "change" | "permission";

/**
 * Every route of the engine (1.17) in its class, to be read beside the engine's own `/doc`. `:name` stands for
 * one segment, a last `*` for the rest. What is not here counts as `read` when it is a GET, else as `change`.
 */
export const engineRoutes: Readonly<Record<EngineClass, readonly string[]>> = {
  read: [
    "GET /global/health",
    "GET /global/event",
    "GET /global/config",
    "GET /event",
    "GET /config",
    "GET /config/providers",
    "GET /experimental/capabilities",
    "GET /experimental/console",
    "GET /experimental/console/orgs",
    "GET /experimental/tool",
    "GET /experimental/tool/ids",
    "GET /experimental/worktree",
    "GET /experimental/session",
    "GET /experimental/resource",
    "GET /experimental/workspace",
    "GET /experimental/workspace/adapter",
    "GET /experimental/workspace/status",
    "GET /find",
    "GET /find/file",
    "GET /find/symbol",
    "GET /file",
    "GET /file/content",
    "GET /file/status",
    "GET /path",
    "GET /vcs",
    "GET /vcs/status",
    "GET /vcs/diff",
    "GET /vcs/diff/raw",
    "GET /command",
    "GET /agent",
    "GET /skill",
    "GET /lsp",
    "GET /formatter",
    "GET /mcp",
    "GET /project",
    "GET /project/current",
    "GET /project/:project/directories",
    "GET /pty",
    "GET /pty/shells",
    "GET /pty/:pty",
    "GET /question",
    "GET /permission",
    "GET /provider",
    "GET /provider/auth",
    "GET /session",
    "GET /session/status",
    "GET /session/:session",
    "GET /session/:session/children",
    "GET /session/:session/todo",
    "GET /session/:session/diff",
    "GET /session/:session/message",
    "GET /session/:session/message/:message",
    "GET /api/health",
    "GET /api/location",
    "GET /api/agent",
    "GET /api/session",
    "GET /api/session/:session",
    "GET /api/session/:session/context",
    "GET /api/session/:session/message",
    "GET /api/session/:session/permission",
    "GET /api/session/:session/question",
    "GET /api/model",
    "GET /api/provider",
    "GET /api/provider/:provider",
    "GET /api/integration",
    "GET /api/integration/:integration",
    "GET /api/integration/attempt/:attempt",
    "GET /api/permission/request",
    "GET /api/permission/saved",
    "GET /api/fs/read/*",
    "GET /api/fs/list",
    "GET /api/fs/find",
    "GET /api/command",
    "GET /api/skill",
    "GET /api/event",
    "GET /api/pty",
    "GET /api/pty/:pty",
    "GET /api/question/request",
    "GET /api/reference",
  ],
  prompt: [
    "POST /log",
    "POST /session",
    "DELETE /session/:session",
    "PATCH /session/:session",
    "POST /session/:session/message",
    "DELETE /session/:session/message/:message",
    "DELETE /session/:session/message/:message/part/:part",
    "PATCH /session/:session/message/:message/part/:part",
    "POST /session/:session/prompt_async",
    "POST /session/:session/fork",
    "POST /session/:session/abort",
    "POST /session/:session/init",
    "POST /session/:session/summarize",
    "POST /session/:session/revert",
    "POST /session/:session/unrevert",
    "POST /question/:question/reply",
    "POST /question/:question/reject",
    "POST /experimental/session/:session/background",
    "POST /api/session",
    "POST /api/session/:session/agent",
    "POST /api/session/:session/model",
    "POST /api/session/:session/prompt",
    "POST /api/session/:session/compact",
    "POST /api/session/:session/wait",
    "POST /api/session/:session/revert/stage",
    "POST /api/session/:session/revert/clear",
    "POST /api/session/:session/revert/commit",
    "POST /api/session/:session/question/:question/reply",
    "POST /api/session/:session/question/:question/reject",
    // The terminal interface that shares the engine is steered by these; taking its next request takes it from others.
    "GET /tui/control/next",
    "POST /tui/control/response",
    "POST /tui/append-prompt",
    "POST /tui/clear-prompt",
    "POST /tui/open-help",
    "POST /tui/open-models",
    "POST /tui/open-sessions",
    "POST /tui/open-themes",
    "POST /tui/select-session",
    "POST /tui/show-toast",
    "POST /tui/submit-prompt",
  ],
  command: [
    // A command's template may run programs with the arguments of the call in their command line.
    "POST /session/:session/command",
    "POST /session/:session/shell",
    "POST /pty",
    "PUT /pty/:pty",
    "DELETE /pty/:pty",
    "POST /pty/:pty/connect-token",
    "GET /pty/:pty/connect",
    "POST /api/pty",
    "PUT /api/pty/:pty",
    "DELETE /api/pty/:pty",
    "POST /api/pty/:pty/connect-token",
    "GET /api/pty/:pty/connect",
    // Both can have the terminal interface run any of its commands.
    "POST /tui/execute-command",
    "POST /tui/publish",
  ],
  change: [
    "PUT /auth/:provider",
    "DELETE /auth/:provider",
    "PATCH /config",
    "PATCH /global/config",
    "POST /global/dispose",
    "POST /global/upgrade",
    "POST /instance/dispose",
    "POST /mcp",
    "POST /mcp/:name/auth",
    "DELETE /mcp/:name/auth",
    "POST /mcp/:name/auth/callback",
    "POST /mcp/:name/auth/authenticate",
    "POST /mcp/:name/connect",
    "POST /mcp/:name/disconnect",
    "POST /provider/:provider/oauth/authorize",
    "POST /provider/:provider/oauth/callback",
    "PATCH /project/:project",
    "POST /project/git/init",
    "POST /vcs/apply",
    // Sharing puts a conversation on a public site.
    "POST /session/:session/share",
    "DELETE /session/:session/share",
    "POST /sync/history",
    "POST /sync/replay",
    "POST /sync/start",
    "POST /sync/steal",
    "POST /experimental/console/switch",
    "POST /experimental/control-plane/move-session",
    "POST /experimental/project/:project/copy",
    "DELETE /experimental/project/:project/copy",
    "POST /experimental/project/:project/copy/generate-name",
    "POST /experimental/project/:project/copy/refresh",
    "POST /experimental/workspace",
    "DELETE /experimental/workspace/:workspace",
    "POST /experimental/workspace/sync-list",
    "POST /experimental/workspace/warp",
    "POST /experimental/worktree",
    "DELETE /experimental/worktree",
    "POST /experimental/worktree/reset",
    "POST /api/integration/:integration/connect/key",
    "POST /api/integration/:integration/connect/oauth",
    "DELETE /api/integration/attempt/:attempt",
    "POST /api/integration/attempt/:attempt/complete",
    "PATCH /api/credential/:credential",
    "DELETE /api/credential/:credential",
    "DELETE /api/permission/saved/:permission",
  ],
  permission: [
    "POST /permission/:request/reply",
    "POST /session/:session/permissions/:permission",
    "POST /api/session/:session/permission/:request/reply",
  ],
};

/** Reads whose answers hold keys, headers or environments: viewers see them without (I04). */
const secretRoutes: readonly string[] = [
  "/config",
  "/config/providers",
  "/global/config",
  "/provider",
  "/agent",
  "/api/agent",
  "/api/model",
  "/api/provider",
  "/api/provider/:provider",
  "/api/integration",
  "/api/integration/:integration",
];

/**
 * Reads that show pieces of any file there is, in ways that no name can be picked out of: closed to viewers as
 * soon as some names are (I05). A conversation is not among them: what its tools read and wrote is part of it,
 * and the engine asks its owner before it reads such files.
 */
const contentRoutes: readonly string[] = ["/find", "/vcs/diff", "/vcs/diff/raw", "/session/:session/diff"];

/** What the rules know of a call. */
export interface Placed {
  class: EngineClass;
  /** Whether the table names the route. */
  known: boolean;
  /** The decoded path that was placed: single slashes, no slash at the end. */
  path: string;
  /** Whether the answer may hold secrets that viewers must not see. */
  secret: boolean;
  /** Whether the answer shows pieces of files that the call does not name. */
  showsFiles: boolean;
}

/** The later counts when a path can be read in two ways. */
const severity: readonly EngineClass[] = ["read", "prompt", "change", "command", "permission"];

interface Rule {
  readonly method: string;
  readonly segments: readonly string[];
  readonly class: EngineClass;
}

const rules: readonly Rule[] = severity.flatMap((name) =>
  engineRoutes[name].map((line): Rule => {
    const [method = "", path = ""] = line.split(" ", 2);
    return { method, segments: path.slice(1).split("/"), class: name };
  }),
);
const patternsOf = (paths: readonly string[]): readonly (readonly string[])[] =>
  paths.map((path) => path.slice(1).split("/"));
const secretPatterns = patternsOf(secretRoutes);
const contentPatterns = patternsOf(contentRoutes);

/**
 * The class of a call (I07, I08), by its path as sent, below the proxy. The engine decodes each segment, takes
 * several slashes for one, drops one at the end and does not mind capitals; a path whose escapes hold slashes is
 * placed in both of its readings and the graver one counts. A malformed escape is a 400 `invalid_path`.
 */
export function placeCall(method: string, rawPath: string): Placed {
  const segments = rawPath.split("/").map(decodeSegment);
  const placed = place(method, segments.filter(Boolean));
  if (!segments.some((segment) => /[/\\]/.test(segment))) return placed;
  const split = place(method, resolveDots(segments.join("/").replaceAll("\\", "/").split("/")));
  const graver = severity.indexOf(split.class) > severity.indexOf(placed.class) ? split : placed;
  return {
    ...graver,
    secret: placed.secret || split.secret,
    showsFiles: placed.showsFiles || split.showsFiles,
  };
}

function place(method: string, segments: readonly string[]): Placed {
  const verb = method === "HEAD" ? "GET" : method;
  const found = rules.find((rule) => rule.method === verb && matches(rule.segments, segments));
  const unlisted = verb === "GET" ? "read" : isReply(segments) ? "permission" : "change";
  return {
    class: found?.class ?? unlisted,
    known: found !== undefined,
    path: `/${segments.join("/")}`,
    secret: verb === "GET" && secretPatterns.some((pattern) => matches(pattern, segments)),
    showsFiles: verb === "GET" && contentPatterns.some((pattern) => matches(pattern, segments)),
  };
}

/** Whatever ends in `/permission/<one segment>/reply` answers for the owner, wherever an engine puts it (10.14). */
function isReply(segments: readonly string[]): boolean {
  const [first, , last] = segments.slice(-3).map((segment) => segment.toLowerCase());
  return segments.length >= 3 && first === "permission" && last === "reply";
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  const open = pattern.at(-1) === "*";
  if (open ? segments.length < pattern.length - 1 : segments.length !== pattern.length) return false;
  return pattern.every((part, index) => {
    if (part === "*" && open && index === pattern.length - 1) return true;
    return part.startsWith(":") || part === segments[index]?.toLowerCase();
  });
}

/** Segments of a path without `.`, `..` and empty ones; `..` above the first is dropped. */
export function resolveDots(segments: readonly string[]): string[] {
  const resolved: string[] = [];
  for (const segment of segments) {
    if (segment === "..") resolved.pop();
    else if (segment !== "" && segment !== ".") resolved.push(segment);
  }
  return resolved;
}
