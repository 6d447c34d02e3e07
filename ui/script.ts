/** Script of the built-in page. Everything that comes from outside is put in as text, never as markup. */
export const script: string = String.raw`const stored = { client: "openwork.token", host: "openwork.hostToken" };
/** The root of the server, wherever it is mounted: this script lies two below it. */
const root = new URL("../../", import.meta.url).pathname;
const byId = (id) => document.getElementById(id);

/** The tokens of this session: those of the address or the form, or those kept from before. */
let tokens = keptTokens();

function keptTokens() {
  return { client: localStorage.getItem(stored.client), host: localStorage.getItem(stored.host) };
}

/** Tokens in the address: #token=…&hostToken=… */
function addressTokens() {
  const given = new URLSearchParams(location.hash.slice(1));
  return { client: given.get("token"), host: given.get("hostToken") };
}

const isAny = ({ client, host }) => Boolean(client || host);

/** Keeps the tokens, once the server knows them, and takes them out of the address. */
function keep() {
  for (const [name, key] of Object.entries(stored)) {
    if (tokens[name]) localStorage.setItem(key, tokens[name]);
    else localStorage.removeItem(key);
  }
  cleanAddress();
}

function cleanAddress() {
  if (isAny(addressTokens())) history.replaceState(null, "", location.pathname + location.search);
}

/** One token alone is tried as both: an owner token is a client's and a host's. */
function tokenHeaders() {
  const { client, host } = tokens;
  return { authorization: "Bearer " + (client || host), "x-openwork-host-token": host || client };
}

/** Characters that show nothing, or make others show elsewhere (CVE-2021-42574). */
const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** A text in which nothing hides: what has no picture is named by its code point. */
const visible = (text) => text.replace(unseen, (c) =>
  c < " " ? String.fromCodePoint(0x2400 + c.codePointAt(0)) : "\\u{" + c.codePointAt(0).toString(16) + "}");
/** The same for a text of one line. */
const visibleLine = (text) => visible(text).replace(/[\t\n]/g, (c) => c === "\t" ? "␉" : "␊");

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
async function rights(signal) {
  const may = (path) => call(path, { signal }).then((body) => body, (error) => {
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
  detail.textContent = visibleLine(value);
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

const classOf = (line) => (/^\+(?!\+\+ )/.test(line) ? "added" : /^-(?!-- )/.test(line) ? "removed" : "");

/** The diff in runs of lines of one kind: many lines are few elements. */
function diffRuns(text) {
  const runs = [];
  for (const line of text.replace(/\n$/, "").split("\n")) {
    const last = runs.at(-1);
    if (last?.kind === classOf(line)) last.lines.push(line);
    else runs.push({ kind: classOf(line), lines: [line] });
  }
  return runs.map(({ kind, lines }) => {
    const span = document.createElement("span");
    span.textContent = lines.map((line) => visible(line) || " ").join("\n");
    span.className = kind;
    return span;
  });
}

function approvalItem(request) {
  const item = byId("approval").content.firstElementChild.cloneNode(true);
  item.dataset.id = request.id;
  item.dataset.expires = String(request.expiresAt);
  const what = item.querySelector("h3");
  what.textContent = visibleLine(request.summary);
  what.id = "what-" + request.id;
  const who = request.tokenLabel ?? request.actor.clientId ?? request.actor.tokenHash.slice(0, 8);
  item.querySelector(".by").textContent = visibleLine(request.action + " · asked by " + who + " (" + request.actor.scope + ")");
  item.querySelector(".paths").append(...request.paths.map((path) => {
    const line = document.createElement("li");
    line.textContent = visibleLine(path);
    return line;
  }));
  item.querySelector(".diff").append(...diffRuns(request.diff));
  for (const reply of ["allow", "deny"]) {
    const button = item.querySelector("." + reply);
    button.setAttribute("aria-describedby", what.id);
    button.addEventListener("click", () => answer(item, request.id, reply));
  }
  return item;
}

async function answer(item, id, reply) {
  const buttons = item.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await call("approvals/" + encodeURIComponent(id), { method: "POST", body: JSON.stringify({ reply }) });
    drop(item);
    count();
  } catch (error) {
    item.querySelector(".error").textContent = visibleLine(error.message);
    for (const button of buttons) button.disabled = false;
  }
}

/** Takes a request away; a keyboard that was on it goes on at the heading, never at the buttons of another one. */
function drop(item) {
  const active = document.activeElement;
  if (active === document.body || item.contains(active)) byId("waiting").focus();
  item.remove();
}

function count() {
  const waiting = byId("list").children.length;
  byId("count").textContent = String(waiting);
  byId("count").classList.toggle("some", waiting > 0);
  byId("nothing").hidden = waiting > 0;
  byId("news").textContent = waiting > 0 ? waiting + (waiting === 1 ? " write waits" : " writes wait") + " for you" : "";
  document.title = (waiting > 0 ? "(" + waiting + ") " : "") + "OpenWork Server";
}

/** Adds what is new and drops what is gone; what stays keeps its place, its focus and its scroll. */
function showApprovals(items) {
  const ids = new Set(items.map((request) => request.id));
  for (const item of [...byId("list").children]) if (!ids.has(item.dataset.id)) drop(item);
  const shown = new Set([...byId("list").children].map((item) => item.dataset.id));
  byId("list").append(...items.filter((request) => !shown.has(request.id)).map(approvalItem));
  count();
  showTimeLeft();
}

function showTimeLeft() {
  for (const item of byId("list").children) {
    const seconds = Math.max(0, Math.round((Number(item.dataset.expires) - Date.now()) / 1000));
    item.querySelector(".left").textContent = seconds + " s left";
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Follows the approvals by long poll until the session ends or the token is refused. */
async function follow(first, signal) {
  let cursor = first.cursor;
  showApprovals(first.items);
  while (!signal.aborted) {
    try {
      const page = await call("approvals?wait=50&since=" + cursor, { signal });
      cursor = page.cursor;
      showApprovals(page.items);
      connection("connected");
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) return signOut("This token is not accepted any more.");
      connection("not reachable, trying again…", true);
      await pause(2000);
    }
  }
}

/** The contract's page at /ui goes on to the mounted one of the active workspace. */
function goToMount(status) {
  if (location.pathname !== root + "ui" || !status?.activeWorkspaceId) return;
  // It is fetched again from where the page seems to lie then.
  byId("icon").href = byId("icon").href;
  history.replaceState(null, "", root + "w/" + encodeURIComponent(status.activeWorkspaceId) + "/ui");
}

/** Ends what the last sign-in began; one session at a time. */
let session = new AbortController();
function newSession() {
  session.abort();
  session = new AbortController();
  return session.signal;
}

function signOut(message) {
  newSession();
  tokens = { client: null, host: null };
  keep();
  byId("list").replaceChildren();
  count();
  showSignIn(message);
}

/** Shows what the kept tokens open. */
async function open(signal) {
  const [{ approvals, status }, health] = await Promise.all([rights(signal), call("health", { signal })]);
  if (!approvals && !status) {
    // A link with tokens that nobody knows must not cost those that were kept.
    const isFromAddress = isAny(addressTokens());
    cleanAddress();
    tokens = keptTokens();
    if (isFromAddress && isAny(tokens)) return open(signal);
    return signOut("The server knows none of these tokens.");
  }
  keep();
  goToMount(status);
  byId("sign-in").hidden = true;
  byId("approvals").hidden = false;
  byId("not-host").hidden = approvals !== null;
  byId("nothing").hidden = approvals === null;
  showStatus(status, health);
  connection("connected");
  if (approvals) await follow(approvals, signal);
}

async function start() {
  const signal = newSession();
  if (!isAny(tokens)) return showSignIn();
  while (!signal.aborted) {
    try {
      return await open(signal);
    } catch (error) {
      if (signal.aborted) return;
      connection("not reachable: " + error.message, true);
      await pause(3000);
    }
  }
}

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [client, host] = ["client-token", "host-token"].map((id) => byId(id).value.trim());
  if (!client && !host) return showSignIn("Paste at least one token.");
  tokens = { client, host };
  byId("sign-in-form").reset();
  void start();
});
byId("sign-out").addEventListener("click", () => signOut());
if (isAny(addressTokens())) tokens = addressTokens();
setInterval(showTimeLeft, 1000);
void start();
`;
