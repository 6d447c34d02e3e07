import { diffRuns } from "./diff.ts";
import { byId, show, within } from "./elements.ts";
import { messageOf, type Approval, type Server } from "./server.ts";
import { visibleLine } from "./text.ts";

const list = (): HTMLElement => byId("list", HTMLElement);
const shownItems = (): HTMLElement[] => [...list().children].filter((item) => item instanceof HTMLElement);

/** Adds what is new and drops what is gone; what stays keeps its place, its focus and its scroll. */
export function showApprovals(server: Server, items: readonly Approval[]): void {
  const ids = new Set(items.map((request) => request.id));
  for (const item of shownItems()) if (!ids.has(item.dataset["id"] ?? "")) drop(item);
  const shown = new Set(shownItems().map((item) => item.dataset["id"]));
  const arrived = items.filter((request) => !shown.has(request.id));
  list().append(...arrived.map((request) => itemOf(server, request)));
  // Each answer tells the time of the server anew.
  const ends = new Map(items.map(({ id, expiresAt }) => [id, String(server.localTime(expiresAt))]));
  for (const item of shownItems()) item.dataset["expires"] = ends.get(item.dataset["id"] ?? "") ?? "";
  showCount();
  showTimeLeft();
}

/** Shows none. */
export function clearApprovals(): void {
  list().replaceChildren();
  showCount();
}

/** Says of each how long it still waits. */
export function showTimeLeft(): void {
  for (const item of shownItems()) {
    const left = Number(item.dataset["expires"]) - Date.now();
    within(item, ".left", HTMLElement).textContent = `${Math.max(0, Math.round(left / 1000))} s left`;
  }
}

function itemOf(server: Server, request: Approval): HTMLElement {
  const template = byId("approval", HTMLTemplateElement).content.cloneNode(true);
  if (!(template instanceof DocumentFragment)) throw new Error("the page has no template");
  const item = within(template, ".approval", HTMLElement);
  item.dataset["id"] = request.id;
  const heading = within(item, "h3", HTMLElement);
  heading.textContent = visibleLine(request.summary);
  heading.id = `what-${request.id}`;
  const who = request.tokenLabel ?? request.actor.clientId ?? request.actor.tokenHash.slice(0, 8);
  const by = `${request.action} · asked by ${who} (${request.actor.scope})`;
  within(item, ".by", HTMLElement).textContent = visibleLine(by);
  within(item, ".paths", HTMLElement).append(...request.paths.map(pathLine));
  within(item, ".diff", HTMLElement).append(...diffRuns(request.diff || "No line of a file changes."));
  for (const reply of ["allow", "deny"] as const) {
    const button = within(item, `.${reply}`, HTMLButtonElement);
    button.setAttribute("aria-describedby", heading.id);
    button.addEventListener("click", () => void answer(server, item, reply));
  }
  return item;
}

function pathLine(path: string): HTMLElement {
  const line = document.createElement("li");
  line.textContent = visibleLine(path);
  return line;
}

async function answer(server: Server, item: HTMLElement, reply: "allow" | "deny"): Promise<void> {
  const buttons = item.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await server.call("POST /approvals/:approvalId", { id: item.dataset["id"] ?? "", body: { reply } });
    drop(item);
    showCount();
  } catch (error) {
    within(item, ".error", HTMLElement).textContent = visibleLine(messageOf(error));
    for (const button of buttons) button.disabled = false;
  }
}

/** Takes a request away; a keyboard that was on it goes on at the heading, never at the buttons of another one. */
function drop(item: HTMLElement): void {
  const active = document.activeElement;
  if (active === document.body || item.contains(active)) byId("waiting", HTMLElement).focus();
  item.remove();
}

function showCount(): void {
  const waiting = shownItems().length;
  const counter = byId("count", HTMLElement);
  counter.textContent = String(waiting);
  counter.classList.toggle("some", waiting > 0);
  show(waiting === 0, "nothing");
  const writes = waiting === 1 ? "write waits" : "writes wait";
  byId("news", HTMLElement).textContent = waiting > 0 ? `${waiting} ${writes} for you` : "";
  document.title = `${waiting > 0 ? `(${waiting}) ` : ""}OpenWork Server`;
}
