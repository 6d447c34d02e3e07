import { byId, show } from "./elements.ts";
import type { Status } from "./server.ts";
import { visibleLine } from "./text.ts";

/** Says how the server is reached. */
export function showConnection(text: string, isDown = false): void {
  const connection = byId("connection", HTMLElement);
  connection.textContent = text;
  connection.classList.toggle("down", isDown);
}

/**
 * Shows what a client may know of the server; without a client's token the version alone. `isRefused`: a client token
 * was given, and the server does not accept it.
 */
export function showStatus(status: Status | null, version: string, isRefused: boolean): void {
  byId("facts", HTMLElement).replaceChildren();
  fact("Version", version);
  if (status) {
    const { server, workspace, approval } = status;
    fact("Listening on", `${server.host}:${server.port}`);
    fact("Workspace", workspace ? `${workspace.name} — ${workspace.path}` : "none");
    fact("Workspaces", String(status.workspaceCount));
    fact("Approval", `${approval.mode}, ${approval.timeoutMs / 1000} s to answer`);
    fact("Read-only", status.readOnly ? "yes" : "no");
    const isAuto = approval.mode === "auto";
    show(status.readOnly, "read-only");
    show(isAuto && !status.readOnly, "auto");
    show(!isAuto && !status.readOnly, "outlook");
  } else {
    fact(
      "Details",
      isRefused ? "the client token is not accepted" : "need the client token too, or an owner token",
    );
  }
  show(true, "status");
}

function fact(name: string, value: string): void {
  const term = document.createElement("dt");
  const detail = document.createElement("dd");
  term.textContent = name;
  detail.textContent = visibleLine(value);
  byId("facts", HTMLElement).append(term, detail);
}
