// Made by `npm run client:types` from the table of routes.

/** Every error code of the server; `unreachable` and `invalid_answer` are the client's own. */
export type ErrorCode =
  | "approval_answered"
  | "approval_not_found"
  | "artifact_not_found"
  | "body_too_large"
  | "conflict"
  | "file_not_found"
  | "file_required"
  | "file_session_not_found"
  | "file_too_large"
  | "forbidden"
  | "host_not_allowed"
  | "inbox_disabled"
  | "inbox_item_not_found"
  | "insufficient_storage"
  | "internal_error"
  | "invalid_artifact"
  | "invalid_command"
  | "invalid_command_name"
  | "invalid_command_template"
  | "invalid_description"
  | "invalid_frontmatter"
  | "invalid_inbox_item"
  | "invalid_json"
  | "invalid_jsonc"
  | "invalid_mcp_config"
  | "invalid_mcp_name"
  | "invalid_path"
  | "invalid_payload"
  | "invalid_plugin_spec"
  | "invalid_query"
  | "invalid_request"
  | "invalid_scope"
  | "invalid_skill_content"
  | "invalid_skill_name"
  | "method_not_allowed"
  | "not_found"
  | "not_text"
  | "opencodeRouter_unconfigured"
  | "opencodeRouter_unreachable"
  | "opencode_reload_failed"
  | "opencode_request_failed"
  | "opencode_timeout"
  | "opencode_unconfigured"
  | "opencode_unreachable"
  | "opencode_url_invalid"
  | "outbox_disabled"
  | "precondition_failed"
  | "range_not_satisfiable"
  | "read_only"
  | "request_withdrawn"
  | "restart_required"
  | "server_config_read_failed"
  | "shutting_down"
  | "skill_not_found"
  | "storage_denied"
  | "storage_failed"
  | "token_not_found"
  | "token_store_damaged"
  | "too_many_requests"
  | "ui_disabled"
  | "unauthorized"
  | "unsupported_media_type"
  | "workspace_not_found"
  | "workspace_unauthorized"
  | "write_denied"
  | "unreachable"
  | "invalid_answer";

/** Every endpoint by method and path: what it takes and what it answers. */
export interface Api {
  "GET /health": {
    params: object;
    query: object;
    body: undefined;
    answer: { ok: true; version: string; uptimeMs: number };
  };
  "GET /status": {
    params: object;
    query: object;
    body: undefined;
    answer: {
      ok: true;
      version: string;
      uptimeMs: number;
      readOnly: boolean;
      approval: { mode: "manual" | "auto"; timeoutMs: number };
      corsOrigins: string[];
      workspaceCount: number;
      activeWorkspaceId: string | null;
      workspace: {
        id: string;
        name: string;
        path: string;
        workspaceType: "local" | "remote";
        baseUrl?: string | undefined;
        directory?: string | undefined;
        problem?: { path: string; code: string; message: string } | undefined;
        opencode?:
          | {
              baseUrl?: string | undefined;
              directory?: string | undefined;
              username?: string | undefined;
              password?: string | undefined;
            }
          | undefined;
      } | null;
      authorizedRoots: string[];
      server: { host: string; port: number; configPath: string };
      tokenSource: { client: string; host: string };
    };
  };
  "GET /capabilities": {
    params: object;
    query: object;
    body: undefined;
    answer: {
      schemaVersion: 1;
      serverVersion: string;
      skills: { read: true; write: boolean; source: "openwork" };
      hub: { skills: { read: true; install: boolean; repo: Record<string, string> } };
      plugins: { read: true; write: boolean };
      mcp: { read: true; write: boolean };
      commands: { read: true; write: boolean };
      config: { read: true; write: boolean };
      approvals: { mode: "manual" | "auto"; timeoutMs: number };
      sandbox: { enabled: boolean; backend: string };
      ui: { toy: boolean };
      tokens: { scoped: true; scopes: string[] };
      proxy: { opencode: boolean; opencodeRouter: boolean };
      toolProviders: {
        files: {
          injection: boolean;
          outbox: boolean;
          inboxPath: string;
          outboxPath: string;
          maxBytes: number;
          raw: true;
          stat: true;
          search: true;
          events: true;
          sessions: true;
          catalog: true;
        };
      };
    };
  };
  "GET /whoami": {
    params: object;
    query: object;
    body: undefined;
    answer: {
      ok: true;
      actor: {
        type: "host" | "remote";
        clientId?: string | undefined;
        tokenHash: string;
        scope: "viewer" | "collaborator" | "owner";
      };
    };
  };
  "GET /workspaces": {
    params: object;
    query: object;
    body: undefined;
    answer: {
      items: {
        id: string;
        name: string;
        path: string;
        workspaceType: "local" | "remote";
        baseUrl?: string | undefined;
        directory?: string | undefined;
        problem?: { path: string; code: string; message: string } | undefined;
        opencode?:
          | {
              baseUrl?: string | undefined;
              directory?: string | undefined;
              username?: string | undefined;
              password?: string | undefined;
            }
          | undefined;
      }[];
      activeId: string | null;
    };
  };
  "POST /workspaces/:id/activate": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: {
      activeId: string;
      workspace: {
        id: string;
        name: string;
        path: string;
        workspaceType: "local" | "remote";
        baseUrl?: string | undefined;
        directory?: string | undefined;
        problem?: { path: string; code: string; message: string } | undefined;
        opencode?:
          | {
              baseUrl?: string | undefined;
              directory?: string | undefined;
              username?: string | undefined;
              password?: string | undefined;
            }
          | undefined;
      };
    };
  };
  "DELETE /workspaces/:id": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: {
      ok: true;
      deleted: true;
      persisted: boolean;
      activeId: string | null;
      items: {
        id: string;
        name: string;
        path: string;
        workspaceType: "local" | "remote";
        baseUrl?: string | undefined;
        directory?: string | undefined;
        problem?: { path: string; code: string; message: string } | undefined;
        opencode?:
          | {
              baseUrl?: string | undefined;
              directory?: string | undefined;
              username?: string | undefined;
              password?: string | undefined;
            }
          | undefined;
      }[];
    };
  };
  "GET /tokens": {
    params: object;
    query: object;
    body: undefined;
    answer: {
      items: {
        id: string;
        scope: "owner" | "collaborator" | "viewer";
        createdAt: number;
        label?: string | undefined;
      }[];
    };
  };
  "POST /tokens": {
    params: object;
    query: object;
    body: { scope?: "owner" | "collaborator" | "viewer" | undefined; label?: string | undefined };
    answer: {
      id: string;
      scope: "owner" | "collaborator" | "viewer";
      createdAt: number;
      label?: string | undefined;
      token: string;
    };
  };
  "DELETE /tokens/:tokenId": {
    params: { tokenId: string };
    query: object;
    body: undefined;
    answer: { ok: true };
  };
  "GET /approvals": {
    params: object;
    query: { wait?: string | number | boolean | undefined; since?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        id: string;
        workspaceId: string;
        action: string;
        summary: string;
        paths: string[];
        createdAt: number;
        expiresAt: number;
        actor: {
          type: "host" | "remote";
          clientId?: string | undefined;
          tokenHash: string;
          scope: "viewer" | "collaborator" | "owner";
        };
        tokenLabel?: string | undefined;
        diff: string;
      }[];
      cursor?: number | undefined;
    };
  };
  "POST /approvals/:approvalId": {
    params: { approvalId: string };
    query: object;
    body: { reply?: "allow" | "deny" | undefined };
    answer: { ok: true; allowed: boolean };
  };
  "GET /requests/:requestId": {
    params: { requestId: string };
    query: { wait?: string | number | boolean | undefined };
    body: undefined;
    answer: Response;
  };
  "GET /workspace/:id/events": {
    params: { id: string };
    query: { wait?: string | number | boolean | undefined; since?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        id: string;
        seq: number;
        workspaceId: string;
        reason: "plugins" | "skills" | "mcp" | "config" | "agents" | "commands";
        paths: string[];
        timestamp: number;
      }[];
      cursor: number;
      reset?: true | undefined;
      workspaceId: string;
      disabled: false;
      reloadRequired: boolean;
      reloadRequiredSince: number | null;
    };
  };
  "GET /workspace/:id/engine": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: {
      ok: boolean;
      reachable: boolean;
      baseUrl: string | null;
      directory: string | null;
      version: string | null;
      latencyMs: number | null;
      problem: { code: string; message: string } | null;
    };
  };
  "POST /workspace/:id/engine/reload": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: { ok: true; reloadedAt: number; tookMs: number };
  };
  "DELETE /workspace/:id/sessions/:sessionId": {
    params: { id: string; sessionId: string };
    query: object;
    body: undefined;
    answer: { ok: true };
  };
  "GET /workspace/:id/config": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: { opencode: unknown; openwork: unknown; updatedAt: number | null; redacted?: true | undefined };
  };
  "PATCH /workspace/:id/config": {
    params: { id: string };
    query: object;
    body: {
      opencode?: Record<string, unknown> | null | undefined;
      openwork?: Record<string, unknown> | null | undefined;
    };
    answer: { updatedAt: number };
  };
  "GET /workspace/:id/mcp": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: {
      items: {
        name: string;
        config: unknown;
        source: "config.global" | "config.project";
        disabledByTools?: true | undefined;
      }[];
      problems?: { path: string; code: string; message: string }[] | undefined;
      redacted?: true | undefined;
    };
  };
  "POST /workspace/:id/mcp": {
    params: { id: string };
    query: object;
    body: { name?: string | null | undefined; config: Record<string, unknown> };
    answer: {
      items: {
        name: string;
        config: unknown;
        source: "config.global" | "config.project";
        disabledByTools?: true | undefined;
      }[];
      problems?: { path: string; code: string; message: string }[] | undefined;
      redacted?: true | undefined;
    };
  };
  "DELETE /workspace/:id/mcp/:name": {
    params: { id: string; name: string };
    query: object;
    body: undefined;
    answer: {
      items: {
        name: string;
        config: unknown;
        source: "config.global" | "config.project";
        disabledByTools?: true | undefined;
      }[];
      problems?: { path: string; code: string; message: string }[] | undefined;
      redacted?: true | undefined;
    };
  };
  "DELETE /workspace/:id/mcp/:name/auth": {
    params: { id: string; name: string };
    query: object;
    body: undefined;
    answer: { ok: true };
  };
  "GET /workspace/:id/plugins": {
    params: { id: string };
    query: { includeGlobal?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        spec: string;
        source: "config" | "dir.project" | "dir.global";
        scope: "project" | "global";
        path?: string | undefined;
      }[];
      loadOrder: string[];
      redacted?: true | undefined;
    };
  };
  "POST /workspace/:id/plugins": {
    params: { id: string };
    query: object;
    body: { spec?: string | null | undefined };
    answer: {
      items: {
        spec: string;
        source: "config" | "dir.project" | "dir.global";
        scope: "project" | "global";
        path?: string | undefined;
      }[];
      loadOrder: string[];
      redacted?: true | undefined;
    };
  };
  "DELETE /workspace/:id/plugins/:name": {
    params: { id: string; name: string };
    query: object;
    body: undefined;
    answer: {
      items: {
        spec: string;
        source: "config" | "dir.project" | "dir.global";
        scope: "project" | "global";
        path?: string | undefined;
      }[];
      loadOrder: string[];
      redacted?: true | undefined;
    };
  };
  "GET /workspace/:id/skills": {
    params: { id: string };
    query: { includeGlobal?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        name: string;
        path: string;
        description: string;
        scope: "project" | "global";
        trigger?: string | undefined;
      }[];
      problems?: { path: string; code: string; message: string }[] | undefined;
    };
  };
  "GET /workspace/:id/skills/:name": {
    params: { id: string; name: string };
    query: { includeGlobal?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      item: {
        name: string;
        path: string;
        description: string;
        scope: "project" | "global";
        trigger?: string | undefined;
      };
      content: string;
    };
  };
  "POST /workspace/:id/skills": {
    params: { id: string };
    query: object;
    body: {
      name?: string | false | 0 | null | undefined;
      content?: string | false | 0 | null | undefined;
      description?: string | false | 0 | null | undefined;
    };
    answer: {
      name: string;
      path: string;
      description: string;
      scope: "project" | "global";
      trigger?: string | undefined;
    };
  };
  "DELETE /workspace/:id/skills/:name": {
    params: { id: string; name: string };
    query: object;
    body: undefined;
    answer: { ok: true; name: string; path: string };
  };
  "GET /workspace/:id/commands": {
    params: { id: string };
    query: { scope?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        name: string;
        description?: string | undefined;
        template: string;
        agent?: string | undefined;
        model: string | null;
        subtask?: boolean | undefined;
        scope: "workspace" | "global";
      }[];
      problems?: { path: string; code: string; message: string }[] | undefined;
    };
  };
  "POST /workspace/:id/commands": {
    params: { id: string };
    query: object;
    body: {
      name?: string | false | 0 | null | undefined;
      template?: string | false | 0 | null | undefined;
      description?: string | false | 0 | null | undefined;
      agent?: string | false | 0 | null | undefined;
      model?: string | false | 0 | null | undefined;
      subtask?: boolean | undefined;
    };
    answer: {
      items: {
        name: string;
        description?: string | undefined;
        template: string;
        agent?: string | undefined;
        model: string | null;
        subtask?: boolean | undefined;
        scope: "workspace" | "global";
      }[];
      problems?: { path: string; code: string; message: string }[] | undefined;
    };
  };
  "DELETE /workspace/:id/commands/:name": {
    params: { id: string; name: string };
    query: object;
    body: undefined;
    answer: { ok: true };
  };
  "GET /workspace/:id/export": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: {
      workspaceId: string;
      exportedAt: number;
      opencode: unknown;
      opencodePath?: string | undefined;
      opencodeText?: string | null | undefined;
      openwork: unknown;
      openworkText?: string | null | undefined;
      skills: {
        name: string;
        description: string;
        content: string;
        path: string;
        files?: { path: string; contentBase64: string }[] | undefined;
      }[];
      commands: {
        name: string;
        description?: string | undefined;
        template: string;
        agent?: string | undefined;
        model?: string | undefined;
        subtask?: boolean | undefined;
        path: string;
        content: string;
      }[];
      files?: { path: string; contentBase64: string }[] | undefined;
      problems?: { path: string; code: string; message: string }[] | undefined;
      redacted?: true | undefined;
    };
  };
  "POST /workspace/:id/import": {
    params: { id: string };
    query: object;
    body: {
      mode?:
        | {
            opencode?: "merge" | "replace" | undefined;
            openwork?: "merge" | "replace" | undefined;
            skills?: "merge" | "replace" | undefined;
            commands?: "merge" | "replace" | undefined;
          }
        | null
        | undefined;
      opencode?: Record<string, unknown> | null | undefined;
      opencodePath?: "opencode.jsonc" | "opencode.json" | null | undefined;
      opencodeText?: string | null | undefined;
      openwork?: Record<string, unknown> | null | undefined;
      openworkText?: string | null | undefined;
      skills?:
        | {
            name?: string | false | 0 | null | undefined;
            content?: string | false | 0 | null | undefined;
            description?: string | false | 0 | null | undefined;
            path?: string | null | undefined;
            files?: { path: string; contentBase64: string }[] | null | undefined;
          }[]
        | null
        | undefined;
      commands?:
        | {
            name?: string | false | 0 | null | undefined;
            content?: string | false | 0 | null | undefined;
            template?: string | false | 0 | null | undefined;
            description?: string | false | 0 | null | undefined;
            agent?: string | false | 0 | null | undefined;
            model?: string | false | 0 | null | undefined;
            subtask?: boolean | undefined;
            path?: string | null | undefined;
          }[]
        | null
        | undefined;
      files?: { path: string; contentBase64: string }[] | null | undefined;
      redacted?: boolean | undefined;
    };
    answer: { ok: true };
  };
  "GET /workspace/:id/inbox": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: { items: { id: string; path: string; size: number; updatedAt: number; name: string }[] };
  };
  "GET /workspace/:id/inbox/:inboxId": {
    params: { id: string; inboxId: string };
    query: object;
    body: undefined;
    answer: Response;
  };
  "POST /workspace/:id/inbox": {
    params: { id: string };
    query: { path?: string | number | boolean | undefined };
    body: FormData;
    answer: { ok: true; path: string; bytes: number };
  };
  "GET /workspace/:id/artifacts": {
    params: { id: string };
    query: object;
    body: undefined;
    answer: { items: { id: string; path: string; size: number; updatedAt: number }[] };
  };
  "GET /workspace/:id/artifacts/:artifactId": {
    params: { id: string; artifactId: string };
    query: object;
    body: undefined;
    answer: Response;
  };
  "GET /workspace/:id/files/content": {
    params: { id: string };
    query: { path?: string | number | boolean | undefined };
    body: undefined;
    answer: { path: string; content: string; bytes: number; updatedAt: number; revision: string };
  };
  "POST /workspace/:id/files/content": {
    params: { id: string };
    query: object;
    body: {
      path?: string | number | null | undefined;
      content: string;
      baseUpdatedAt?: number | null | undefined;
      ifMatchRevision?: string | null | undefined;
      force?: boolean | null | undefined;
    };
    answer: { ok: true; path: string; bytes: number; updatedAt: number; revision: string };
  };
  "GET /workspace/:id/files/raw": {
    params: { id: string };
    query: { path?: string | number | boolean | undefined };
    body: undefined;
    answer: Response;
  };
  "PUT /workspace/:id/files/raw": {
    params: { id: string };
    query: { path?: string | number | boolean | undefined };
    body: NonNullable<RequestInit["body"]>;
    answer: { ok: true; path: string; bytes: number; updatedAt: number; revision: string };
  };
  "DELETE /workspace/:id/files/raw": {
    params: { id: string };
    query: {
      path?: string | number | boolean | undefined;
      recursive?: string | number | boolean | undefined;
    };
    body: undefined;
    answer: { ok: true; path: string };
  };
  "GET /workspace/:id/files/stat": {
    params: { id: string };
    query: { path?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      path: string;
      kind: "file" | "dir" | "other";
      size: number;
      updatedAt: number;
      revision: string;
      mediaType?: string | undefined;
    };
  };
  "GET /workspace/:id/files/search": {
    params: { id: string };
    query: {
      q?: string | number | boolean | undefined;
      kind?: string | number | boolean | undefined;
      case?: string | number | boolean | undefined;
      ignore?: string | number | boolean | undefined;
      limit?: string | number | boolean | undefined;
    };
    body: undefined;
    answer: {
      items: (
        | { path: string; kind: "file" | "dir" }
        | { path: string; line: number; column: number; text: string }
      )[];
      truncated: boolean;
      engine: "catalog" | "ripgrep" | "scan";
    };
  };
  "POST /workspace/:id/files/search": {
    params: { id: string };
    query: object;
    body: {
      q: string;
      kind?: "name" | "content" | undefined;
      case?: "smart" | "sensitive" | "ignore" | undefined;
      ignore?: "default" | "none" | undefined;
      limit?: number | undefined;
    };
    answer: {
      items: (
        | { path: string; kind: "file" | "dir" }
        | { path: string; line: number; column: number; text: string }
      )[];
      truncated: boolean;
      engine: "catalog" | "ripgrep" | "scan";
    };
  };
  "POST /workspace/:id/files/sessions": {
    params: { id: string };
    query: object;
    body: { ttlSeconds?: number | undefined; write?: boolean | undefined };
    answer: {
      session: {
        id: string;
        workspaceId: string;
        createdAt: number;
        expiresAt: number;
        ttlMs: number;
        canWrite: boolean;
      };
    };
  };
  "POST /files/sessions/:sid/renew": {
    params: { sid: string };
    query: object;
    body: { ttlSeconds?: number | undefined; write?: boolean | undefined };
    answer: {
      session: {
        id: string;
        workspaceId: string;
        createdAt: number;
        expiresAt: number;
        ttlMs: number;
        canWrite: boolean;
      };
    };
  };
  "DELETE /files/sessions/:sid": {
    params: { sid: string };
    query: object;
    body: undefined;
    answer: { ok: true };
  };
  "GET /files/sessions/:sid/catalog/snapshot": {
    params: { sid: string };
    query: {
      prefix?: string | number | boolean | undefined;
      after?: string | number | boolean | undefined;
      includeDirs?: string | number | boolean | undefined;
      limit?: string | number | boolean | undefined;
      ignore?: string | number | boolean | undefined;
    };
    body: undefined;
    answer: {
      sessionId: string;
      workspaceId: string;
      generatedAt: number;
      cursor: number;
      total: number;
      truncated: boolean;
      nextAfter?: string | undefined;
      items: { path: string; kind: "file" | "dir"; size: number; mtimeMs: number; revision: string }[];
    };
  };
  "GET /files/sessions/:sid/catalog/events": {
    params: { sid: string };
    query: {
      wait?: string | number | boolean | undefined;
      since?: string | number | boolean | undefined;
      limit?: string | number | boolean | undefined;
      ignore?: string | number | boolean | undefined;
    };
    body: undefined;
    answer: {
      items: {
        id: string;
        seq: number;
        workspaceId: string;
        type: "write" | "delete" | "rename" | "mkdir";
        path: string;
        toPath?: string | undefined;
        revision?: string | undefined;
        timestamp: number;
      }[];
      cursor: number;
      reset?: true | undefined;
    };
  };
  "POST /files/sessions/:sid/read-batch": {
    params: { sid: string };
    query: object;
    body: { paths: (string | number | null)[] };
    answer: {
      items: (
        | {
            ok: true;
            path: string;
            kind: "file";
            bytes: number;
            updatedAt: number;
            revision: string;
            contentBase64: string;
          }
        | {
            ok: false;
            type?: string | undefined;
            path?: string | undefined;
            from?: string | undefined;
            to?: string | undefined;
            code: string;
            message: string;
            expectedRevision?: string | null | undefined;
            currentRevision?: string | null | undefined;
            maxBytes?: number | undefined;
            size?: number | undefined;
          }
      )[];
    };
  };
  "POST /files/sessions/:sid/write-batch": {
    params: { sid: string };
    query: object;
    body: {
      writes: {
        path?: string | number | null | undefined;
        contentBase64: string;
        ifMatchRevision?: string | null | undefined;
        force?: boolean | undefined;
      }[];
    };
    answer: {
      items: (
        | {
            ok: true;
            path: string;
            bytes: number;
            updatedAt: number;
            revision: string;
            previousRevision: string | null;
          }
        | {
            ok: false;
            type?: string | undefined;
            path?: string | undefined;
            from?: string | undefined;
            to?: string | undefined;
            code: string;
            message: string;
            expectedRevision?: string | null | undefined;
            currentRevision?: string | null | undefined;
            maxBytes?: number | undefined;
            size?: number | undefined;
          }
      )[];
      cursor: number;
    };
  };
  "POST /files/sessions/:sid/ops": {
    params: { sid: string };
    query: object;
    body: {
      operations: {
        type?: string | null | undefined;
        path?: string | null | undefined;
        from?: string | null | undefined;
        to?: string | null | undefined;
        recursive?: boolean | undefined;
      }[];
    };
    answer: {
      items: (
        | {
            ok: true;
            type: string;
            path?: string | undefined;
            from?: string | undefined;
            to?: string | undefined;
            revision?: string | undefined;
          }
        | {
            ok: false;
            type?: string | undefined;
            path?: string | undefined;
            from?: string | undefined;
            to?: string | undefined;
            code: string;
            message: string;
            expectedRevision?: string | null | undefined;
            currentRevision?: string | null | undefined;
            maxBytes?: number | undefined;
            size?: number | undefined;
          }
      )[];
      cursor: number;
    };
  };
  "GET /workspace/:id/files/events": {
    params: { id: string };
    query: { since?: string | number | boolean | undefined; ignore?: string | number | boolean | undefined };
    body: undefined;
    answer: Response;
  };
  "GET /workspace/:id/audit": {
    params: { id: string };
    query: { limit?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        id?: string | undefined;
        workspaceId?: string | undefined;
        actor?:
          | {
              type: "host" | "remote";
              clientId?: string | undefined;
              tokenHash: string;
              scope: "viewer" | "collaborator" | "owner";
            }
          | undefined;
        action?: string | undefined;
        target?: string | undefined;
        summary?: string | undefined;
        timestamp?: number | undefined;
        outcome?: string | undefined;
      }[];
    };
  };
  "GET /audit": {
    params: object;
    query: { limit?: string | number | boolean | undefined };
    body: undefined;
    answer: {
      items: {
        id?: string | undefined;
        workspaceId?: string | undefined;
        actor?:
          | {
              type: "host" | "remote";
              clientId?: string | undefined;
              tokenHash: string;
              scope: "viewer" | "collaborator" | "owner";
            }
          | undefined;
        action?: string | undefined;
        target?: string | undefined;
        summary?: string | undefined;
        timestamp?: number | undefined;
        outcome?: string | undefined;
      }[];
    };
  };
  "GET /opencode-router": {
    params: object;
    query: object;
    body: undefined;
    answer: Response;
  };
  "GET /opencode-router/health": {
    params: object;
    query: object;
    body: undefined;
    answer: Response;
  };
  "GET /opencode-router/bindings": {
    params: object;
    query: object;
    body: undefined;
    answer: Response;
  };
  "GET /opencode-router/identities/telegram": {
    params: object;
    query: object;
    body: undefined;
    answer: Response;
  };
  "GET /opencode-router/identities/slack": {
    params: object;
    query: object;
    body: undefined;
    answer: Response;
  };
  "GET /openapi.json": {
    params: object;
    query: object;
    body: undefined;
    answer: { openapi: "3.1.1"; info: Record<string, unknown>; paths: Record<string, unknown> };
  };
}

/** Endpoints whose answer is bytes, a stream or another server's, and is given as a Response. */
export const responses: readonly (keyof Api)[] = [
  "GET /requests/:requestId",
  "GET /workspace/:id/inbox/:inboxId",
  "GET /workspace/:id/artifacts/:artifactId",
  "GET /workspace/:id/files/raw",
  "GET /workspace/:id/files/events",
  "GET /opencode-router",
  "GET /opencode-router/health",
  "GET /opencode-router/bindings",
  "GET /opencode-router/identities/telegram",
  "GET /opencode-router/identities/slack",
];
