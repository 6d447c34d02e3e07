import { errorStatus, type ErrorCode } from "../errors.ts";
import type { Route } from "../route.ts";

/** Codes that come with another status too: a broken file is not a broken request. */
const alsoStatus: Partial<Record<ErrorCode, number>> = { invalid_json: 422 };

const storageErrors: ErrorCode[] = ["invalid_path", "storage_denied", "storage_failed", "file_too_large"];

const approvalErrors: ErrorCode[] = [
  "write_denied",
  "conflict",
  "file_not_found",
  "request_withdrawn",
  "too_many_requests",
  "shutting_down",
];

function implied(route: Route): ErrorCode[] {
  const ofWorkspace = route.path.includes("/:id") || route.locate !== undefined;
  return [
    "internal_error",
    "restart_required",
    ...(route.access === "public" ? [] : (["unauthorized"] as const)),
    ...(route.access === "public" && !route.anyHost ? (["host_not_allowed"] as const) : []),
    ...(route.access === "client" && (route.scope !== "viewer" || route.guard || route.writes)
      ? (["forbidden"] as const)
      : []),
    ...(route.path.includes(":") ? (["invalid_path"] as const) : []),
    ...(ofWorkspace || route.mounted
      ? (["workspace_not_found", "workspace_unauthorized", "invalid_path"] as const)
      : []),
    ...(ofWorkspace || route.writes ? storageErrors : []),
    ...(route.query ? (["invalid_query", "invalid_path"] as const) : []),
    ...(route.body
      ? (["invalid_json", "invalid_payload", "body_too_large", "unsupported_media_type"] as const)
      : []),
    ...(route.writes ? (["read_only", "insufficient_storage"] as const) : []),
    ...(route.asksHost ? approvalErrors : []),
  ];
}

/** Every error code that a route can answer with, by status: those it names, and those its access, path, query and body imply. */
export function errorsOf(route: Route): Map<number, ErrorCode[]> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set([...implied(route), ...route.errors])) {
    const other = alsoStatus[code];
    for (const status of [errorStatus[code], ...(other === undefined ? [] : [other])]) {
      byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
    }
  }
  return new Map([...byStatus].toSorted(([a], [b]) => a - b));
}
