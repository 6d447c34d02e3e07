/** Script of the built-in page. Everything that comes from outside is put in as text, never as markup. */
export const script: string = `const stored = { client: "openwork.token", host: "openwork.hostToken" };
/** The root of the server, wherever it is mounted: this script lies two below it. */
const root = new URL("../../", import.meta.url).pathname;
const byId = (id) => document.getElementById(id);
const signedIn = () => Object.values(stored).some((key) => localStorage.getItem(key));

/** Tokens in the address (#token=…&hostToken=…) are kept and taken out of sight. */
function takeTokensFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.get("token") && !given.get("hostToken")) return;
  keep(given.get("token"), given.get("hostToken"));
  history.replaceState(null, "", location.pathname + location.search);
}

function keep(client, host) {
  forget();
  if (client) localStorage.setItem(stored.client, client);
  if (host) localStorage.setItem(stored.host, host);
}

function forget() {
  for (const key of Object.values(stored)) localStorage.removeItem(key);
}

/** One token alone is tried as both: an owner token is a client's and a host's. */
function tokenHeaders() {
  const client = localStorage.getItem(stored.client);
  const host = localStorage.getItem(stored.host);
  return { authorization: "Bearer " + (client ?? host), "x-openwork-host-token": host ?? client };
}

async function call(path, options = {}) {
  const response = await fetch(root + path, {
    ...options,
    headers: { ...tokenHeaders(), ...(options.body ? { "content-type": "application/json" } : {}) },
  });
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const error = new Error(body.message ?? "the server answered " + response.status);
  error.status = response.status;
  throw error;
}

/** What the kept tokens may do: answer approvals (host), look (client), both or nothing. */
async function rights() {
  const may = (path) => call(path).then((body) => body, (error) => {
    if (error.status === 401 || error.status === 403) return null;
    throw error;
  });
  const [approvals, status] = await Promise.all([may("approvals?wait=0"), may("status")]);
  return { approvals, status };
}

function connection(text, down = false) {
  byId("connection").textContent = text;
  byId("connection").classList.toggle("down", down);
}

function showSignIn(message) {
  for (const id of ["approvals", "status"]) byId(id).hidden = true;
  byId("sign-in").hidden = false;
  byId("sign-in-error").hidden = !message;
  byId("sign-in-error").textContent = message ?? "";
  connection("not signed in");
  byId("host-token").focus();
}

function fact(name, value) {
  const term = document.createElement("dt");
  const detail = document.createElement("dd");
  term.textContent = name;
  detail.textContent = value;
  byId("facts").append(term, detail);
}

function showStatus(status, health) {
  byId("facts").replaceChildren();
  fact("Version", health.version);
  if (status) {
    fact("Listening on", status.server.host + ":" + status.server.port);
    fact("Workspace", status.workspace ? status.workspace.name + " — " + status.workspace.path : "none");
    fact("Workspaces", String(status.workspaceCount));
    fact("Approval", status.approval.mode + ", " + status.approval.timeoutMs / 1000 + " s to answer");
    fact("Read-only", status.readOnly ? "yes" : "no");
    byId("auto").hidden = status.approval.mode !== "auto";
  } else {
    fact("Details", "need the client token too, or an owner token");
  }
  byId("status").hidden = false;
}

function diffLines(text) {
  return text.split("\\n").map((line) => {
    const span = document.createElement("span");
    span.textContent = line === "" ? " " : line;
    if (/^\\+(?!\\+\\+ )/.test(line)) span.className = "added";
    if (/^-(?!-- )/.test(line)) span.className = "removed";
    return span;
  });
}

function approvalItem(request) {
  const item = byId("approval").content.firstElementChild.cloneNode(true);
  item.dataset.id = request.id;
  item.dataset.expires = String(request.expiresAt);
  item.querySelector("h3").textContent = request.summary;
  const who = request.tokenLabel ?? request.actor.clientId ?? request.actor.tokenHash.slice(0, 8);
  item.querySelector(".by").textContent = request.action + " · asked by " + who + " (" + request.actor.scope + ")";
  item.querySelector(".paths").append(...request.paths.map((path) => {
    const line = document.createElement("li");
    line.textContent = path;
    return line;
  }));
  item.querySelector(".diff").append(...diffLines(request.diff.replace(/\\n$/, "")));
  for (const reply of ["allow", "deny"]) {
    item.querySelector("." + reply).addEventListener("click", () => answer(item, request.id, reply));
  }
  return item;
}

async function answer(item, id, reply) {
  const buttons = item.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await call("approvals/" + encodeURIComponent(id), { method: "POST", body: JSON.stringify({ reply }) });
    item.remove();
    count();
  } catch (error) {
    item.querySelector(".error").textContent = error.message;
    for (const button of buttons) button.disabled = false;
  }
}

function count() {
  const waiting = byId("list").children.length;
  byId("count").textContent = String(waiting);
  byId("count").classList.toggle("some", waiting > 0);
  byId("nothing").hidden = waiting > 0;
  document.title = (waiting > 0 ? "(" + waiting + ") " : "") + "OpenWork Server";
}

/** Adds what is new and drops what is gone; what stays keeps its place, its focus and its scroll. */
function showApprovals(items) {
  const ids = new Set(items.map((request) => request.id));
  for (const item of [...byId("list").children]) if (!ids.has(item.dataset.id)) item.remove();
  const shown = new Set([...byId("list").children].map((item) => item.dataset.id));
  byId("list").append(...items.filter((request) => !shown.has(request.id)).map(approvalItem));
  count();
}

function showTimeLeft() {
  for (const item of byId("list").children) {
    const seconds = Math.max(0, Math.round((Number(item.dataset.expires) - Date.now()) / 1000));
    item.querySelector(".left").textContent = seconds + " s left";
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Follows the approvals by long poll until the token is forgotten or refused. */
async function follow(first) {
  let cursor = first.cursor;
  showApprovals(first.items);
  while (signedIn()) {
    try {
      const page = await call("approvals?wait=50&since=" + cursor);
      cursor = page.cursor;
      showApprovals(page.items);
      connection("connected");
    } catch (error) {
      if (error.status === 401) return showSignIn("This token is not accepted any more.");
      connection("not reachable, trying again…", true);
      await pause(2000);
    }
  }
}

/** The contract's page at /ui goes on to the mounted one of the active workspace. */
async function goToMount(status) {
  if (location.pathname !== root + "ui" || !status?.activeWorkspaceId) return;
  history.replaceState(null, "", root + "w/" + encodeURIComponent(status.activeWorkspaceId) + "/ui");
}

async function start() {
  if (!signedIn()) return showSignIn();
  try {
    const [{ approvals, status }, health] = await Promise.all([rights(), call("health")]);
    if (!approvals && !status) {
      forget();
      return showSignIn("The server knows none of these tokens.");
    }
    await goToMount(status);
    byId("sign-in").hidden = true;
    byId("approvals").hidden = false;
    byId("not-host").hidden = approvals !== null;
    byId("nothing").hidden = approvals === null;
    showStatus(status, health);
    connection("connected");
    if (approvals) await follow(approvals);
  } catch (error) {
    connection("not reachable: " + error.message, true);
    await pause(3000);
    await start();
  }
}

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [client, host] = ["client-token", "host-token"].map((id) => byId(id).value.trim());
  if (!client && !host) return showSignIn("Paste at least one token.");
  keep(client, host);
  byId("sign-in-form").reset();
  void start();
});
byId("sign-out").addEventListener("click", () => {
  forget();
  byId("list").replaceChildren();
  showSignIn();
});
takeTokensFromAddress();
setInterval(showTimeLeft, 1000);
void start();
`;
